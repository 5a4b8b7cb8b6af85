import argparse
import json
import shutil

import pytest

from resnet_jax import workdir as files
from resnet_jax.commands import confusion as command
from resnet_jax.errors import ConfigError, WorkdirError


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_json_has_all_counts_and_agrees_with_the_result_of_the_run(trained, tmp_path, capfd):
    path = tmp_path / "x.svg"
    assert run(trained, "--out", path, "--json") == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    result = files.read_result(trained)
    assert found["accuracy"] == pytest.approx(result["test_accuracy"], abs=1e-6)
    assert (found["examples"], found["step"], found["split"]) == (360, 6, "test")
    assert sum(map(sum, found["counts"])) == 360
    assert found["classes"] == [str(digit) for digit in range(10)]
    assert [len(found[name]) for name in ("recall", "precision", "f1")] == [10, 10, 10]
    assert path.read_bytes().startswith(b"<?xml")


def test_people_read_a_line_a_class_and_where_the_picture_is(trained, tmp_path, capfd):
    shutil.copytree(trained, tmp_path / "run")
    assert run(tmp_path / "run", "--split", "validation", "--eval-augment", "flip") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'run'} at step 6, views 'flip', validation: accuracy ")
    assert lines[0].endswith(" of 37)")
    assert [line.split()[0] for line in lines[3:13]] == [str(digit) for digit in range(10)]
    assert lines[-1] == f"picture   {tmp_path / 'run' / 'confusion.png'}"
    assert (tmp_path / "run" / "confusion.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--out", "x.bmp"], ConfigError, r"\.png"),
        (["--split", "tset"], ConfigError, "there are train, test, validation"),
        (["--step", "5"], WorkdirError, "the steps saved are: "),
    ],
)
def test_mistakes_write_nothing(trained, tmp_path, monkeypatch, contents, arguments, error, words):
    monkeypatch.chdir(tmp_path)
    before = contents(trained)
    with pytest.raises(error, match=words):
        run(trained, *arguments)
    assert contents(trained) == before
    assert list(tmp_path.iterdir()) == []
