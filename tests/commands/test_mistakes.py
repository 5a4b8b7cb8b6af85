import argparse
import json

import numpy as np
import pytest

from resnet_jax import workdir as files
from resnet_jax.commands import mistakes as command
from resnet_jax.errors import ConfigError


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def answer(trained, tmp_path, capfd):
    """What the command prints as JSON."""

    def ask(*arguments) -> dict:
        assert run(trained, "--out", tmp_path / "x.png", "--json", *arguments) == 0
        return json.loads(capfd.readouterr().out)

    return ask


def test_mistakes_are_the_images_that_the_run_got_wrong(trained, answer):
    wrong = np.flatnonzero(~files.read_correct(trained))
    found = answer("--count", 40)
    assert found["count"] == len(wrong)
    assert {each["image"] for each in found["mistakes"]} <= set(wrong.tolist())
    assert len(found["mistakes"]) == min(40, len(wrong))
    sure = [each["probability"] for each in found["mistakes"]]
    assert sure == sorted(sure, reverse=True)


def test_those_of_a_class_that_are_taken_for_another(answer, tmp_path):
    all_of_them = answer("--count", 40)["mistakes"]
    first = all_of_them[0]
    found = answer("--of", first["label"], "--as", first["predicted"])["mistakes"]
    pairs = {(each["label"], each["predicted"]) for each in found}
    assert pairs == {(first["label"], first["predicted"])}
    assert found[0] == first
    assert (tmp_path / "x.png").stat().st_size > 2000


def test_where_there_is_none_no_picture_is_written(answer, tmp_path):
    found = next(
        found
        for digit in range(1, 10)
        if not (found := answer("--of", "0", "--as", digit))["mistakes"]
    )
    assert (found["mistakes"], found["count"], found["picture"]) == ([], 0, None)


def test_people_read_a_list(trained, tmp_path, capfd):
    path = tmp_path / "x.png"
    assert run(trained, "--out", path, "--count", 3) == 0
    wrong = (~files.read_correct(trained)).sum()
    first, *listed, last = capfd.readouterr().out.splitlines()
    assert first == f"{trained} at step 6, test: {wrong} of 360 images taken for another class"
    assert len(listed) == 3
    assert "taken for" in listed[0]
    assert last == f"picture   {path}: the 3 surest of {wrong} mistakes"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", "0"], "from 1 to 200"),
        (["--count", "201"], "from 1 to 200"),
        (["--of", "nine"], "--of nine: no such class; the classes are 0, 1"),
        (["--as", "nine"], "--as nine"),
        (["--of", "3", "--as", "3"], "no mistake"),
        (["--out", "x.jpg"], r"\.png"),
    ],
)
def test_wrong_arguments_write_nothing(trained, tmp_path, monkeypatch, contents, arguments, words):
    monkeypatch.chdir(tmp_path)
    before = contents(trained)
    with pytest.raises(ConfigError, match=words):
        run(trained, *arguments)
    assert contents(trained) == before
    assert list(tmp_path.iterdir()) == []
