import json

import pytest

from configs import default
from resnet_jax import atomic, config, earlier, train
from resnet_jax import workdir as files
from resnet_jax.errors import WorkdirError
from resnet_jax.rules import RULES


def test_each_field_that_came_later_has_its_default_as_its_meaning():
    defaults = config.flatten(default.get_config())
    assert {field: defaults[field] for field in earlier.config_fields()} == earlier.config_fields()


def test_a_config_of_the_first_version_is_completed():
    complete = config.flatten(default.get_config())
    first = {f: v for f, v in complete.items() if f not in earlier.config_fields()}
    assert len(first) == 57
    read = earlier.completed_config(config.from_json(json.dumps(_nested(first))))
    assert config.flatten(read) == complete
    assert set(config.flatten(read)) == set(RULES)


def test_what_is_there_stays():
    stored = default.get_config()
    stored.model.head = "dense(8) act"
    stored.finetune.freeze = ("stem",)
    assert earlier.completed_config(stored) == stored


def test_a_run_of_an_earlier_version_goes_on(tiny_config, one_device, tmp_path):
    whole = train.train_and_evaluate(tiny_config, tmp_path / "whole", one_device)
    train.train_and_evaluate(tiny_config, tmp_path / "run", one_device)
    stored = json.loads((tmp_path / "run" / files.CONFIG).read_text())
    del stored["finetune"], stored["probe"], stored["model"]["head"], stored["early_stopping"]
    atomic.write_json(tmp_path / "run" / files.CONFIG, stored)
    (tmp_path / "run" / files.RESULT).unlink()
    again = train.train_and_evaluate(tiny_config, tmp_path / "run", one_device)
    assert again["state_sha256"] == whole["state_sha256"]


@pytest.mark.parametrize("section", ["model", "optimizer"])
def test_a_section_that_is_no_section_is_damage(tiny_config, tmp_path, section):
    stored = tiny_config.to_dict() | {section: 5}
    atomic.write_json(tmp_path / files.CONFIG, stored)
    with pytest.raises(WorkdirError, match="damaged"):
        files.read_config(tmp_path)


def _nested(flat: dict) -> dict:
    nested = {}
    for field, value in flat.items():
        *sections, leaf = field.split(".")
        section = nested
        for name in sections:
            section = section.setdefault(name, {})
        section[leaf] = value
    return nested
