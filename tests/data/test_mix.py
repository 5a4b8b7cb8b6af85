"""Images of a second data set are learnt beside those of the first, with classes of their own."""

import json

import numpy as np
import pytest

from resnet_jax import checkpoint, train
from resnet_jax import config as configs
from resnet_jax.commands.evaluate import evaluate
from resnet_jax.data import mix, source, spec
from resnet_jax.errors import ConfigError


@pytest.fixture
def mixing_config(tiny_config):
    """Digits among digits: the second ones are classes 10 to 19."""
    tiny_config.data.fraction = 0.1
    tiny_config.data.mix = "digits"
    tiny_config.data.mix_fraction = 0.2
    return tiny_config


def test_the_second_images_stand_behind_the_first_with_labels_that_follow_on(mixing_config):
    own = source.load(spec.get("digits"), "train", None)
    both = mix.add(own, mixing_config)
    assert len(both) == len(own) + round(0.2 * len(own)) == len(own) + mix.size(mixing_config)
    np.testing.assert_array_equal(both.images[: len(own)], own.images)
    np.testing.assert_array_equal(both.labels[: len(own)], own.labels)
    assert set(both.labels[len(own) :]) == set(range(10, 20))
    assert both.labels.dtype == np.int32


def test_a_run_has_the_classes_of_both_and_is_tested_on_its_own(
    mixing_config, one_device, tmp_path, capsys
):
    result = train.train_and_evaluate(mixing_config, tmp_path / "run", one_device)
    assert "431 training images, 0.1 of the rest used" in (shown := capsys.readouterr().out)
    assert "287 of them of digits" in shown
    assert configs.train_examples(mixing_config) == 144 + 287
    head = checkpoint.read_variables(tmp_path / "run", 8)["params"]["head"]
    assert head["bias"].shape == (20,)
    assert result["test_examples"] == 360
    assert evaluate(tmp_path / "run")["accuracy"] == result["test_accuracy"]
    stored = json.loads((tmp_path / "run/versions.json").read_text())["data"]
    assert (stored["mix"]["name"], stored["mix"]["images"]) == ("digits", 287)
    assert stored["fraction"]["images"] == 144


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"data.mix": "cifar10"}, "images of 32x32x3, .*of 8x8x1"),
        ({"data.mix_fraction": 0.001}, "leaves 1 images for 10 classes"),
    ],
    ids=str,
)
def test_images_that_do_not_fit_are_an_error(mixing_config, fields, words):
    mixing_config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=words) as caught:
        configs.validate(mixing_config)
    assert len(str(caught.value).splitlines()) <= 2
