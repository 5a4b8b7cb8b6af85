import argparse
import json

import pytest

from resnet_jax import workdir as files
from resnet_jax.commands import curves as command
from resnet_jax.errors import WorkdirError


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def workdirs(tmp_path):
    row = {"step": 1, "epoch": 0.5, "split": "train", "loss": 1.0, "accuracy": 0.5}
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / files.METRICS).write_text(json.dumps(row) + "\n")
    return folders


def test_the_picture_lies_in_the_first_workdir_and_its_path_is_printed(workdirs, capsys):
    assert run(*workdirs) == 0
    picture = workdirs[0] / "curves.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"picture   {picture}\n"
    assert not (workdirs[1] / "curves.png").exists()


def test_out_is_where_it_is_written_instead(workdirs, tmp_path, capsys):
    assert run(workdirs[0], "--out", tmp_path / "x.svg") == 0
    assert capsys.readouterr().out == f"picture   {tmp_path / 'x.svg'}\n"
    assert (tmp_path / "x.svg").exists()
    assert not (workdirs[0] / "curves.png").exists()


def test_a_workdir_that_does_not_exist_is_not_made(tmp_path):
    with pytest.raises(WorkdirError, match="nothing"):
        run(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
