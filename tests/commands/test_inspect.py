import argparse
import json

import numpy as np
import pytest

from resnet_jax import workdir as files
from resnet_jax.commands import inspect as command
from resnet_jax.convert import safetensors_file
from resnet_jax.errors import ConfigError, DataError, WorkdirError


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_a_workdir_is_shown_part_by_part(trained, capfd):
    assert run(trained) == 0
    lines = capfd.readouterr().out.splitlines()
    parameters = files.read_result(trained)["parameters"]
    assert f"{parameters:,} parameters, images of 8x8x1" in lines[0]
    rows = {words[0]: words[1:] for line in lines if (words := line.split())}
    assert rows["stem"][0] == "8x8x4"
    assert rows["head"][0] == "10"
    assert rows["total"] == [f"{parameters:,}"]
    assert "GFLOP" in lines[-1]


def test_arrays_of_a_workdir_have_mean_and_deviation(trained, capfd):
    assert run(trained, "--match", "head") == 0
    text = capfd.readouterr().out
    assert text.count("head/") == 2
    assert "stem" not in text
    assert "Std" in text


def test_a_config_needs_no_weights(capfd):
    fields = ("--set", "model.depth=8", "--set", "data.name=digits", "--match", "stem")
    assert run(*fields, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["image_shape"] == [8, 8, 1]
    assert found["arrays"]["stem/conv/kernel"] == [3, 3, 1, 16]
    assert sum(part["parameters"] for part in found["parts"]) == found["parameters"]
    assert run(*fields) == 0
    assert "Std" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["WORKDIR", "--config", "configs/default.py"], ConfigError, "its own config"),
        (["WORKDIR", "--match", "stem7"], ConfigError, "--match: 'stem7' matches no"),
        (["WORKDIR", "--step", "5"], WorkdirError, "the steps saved are"),
        (["--step", "5"], ConfigError, "is of a workdir"),
        (["nothing"], WorkdirError, r"no config\.json"),
        (["--set", "model.depht=8"], ConfigError, "did you mean model.depth"),
    ],
)
def test_mistakes_are_refused_with_what_there_is(trained, arguments, error, words):
    with pytest.raises(error, match=words):
        run(*(trained if word == "WORKDIR" else word for word in arguments))


def test_a_file_of_other_weights_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_file.encode({"a.weight": np.zeros((2, 2), np.float32)}, {}))
    with pytest.raises(DataError, match=r"x\.safetensors"):
        run(path)
