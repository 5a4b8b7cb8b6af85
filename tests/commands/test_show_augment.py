import argparse
import json

import numpy as np
import pytest
from PIL import Image

from resnet_jax.commands import show_augment as command
from resnet_jax.errors import ConfigError

DIGITS = ("--set", "data.name=digits", "--images", "3", "--epochs", "4")


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_the_picture_is_written_where_asked(tmp_path, capsys):
    path = tmp_path / "new" / "x.png"
    assert run(*DIGITS, "--augment", "crop(1) rotate", "--out", path) == 0
    assert capsys.readouterr().out == f"{path}: 3 images in 4 epochs, augment 'crop(1) rotate'\n"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 5 * 72  # a column for the image as it is and each epoch
    assert np.ptp(pixels) == 255


def test_json_has_the_classes_of_every_draw(tmp_path, capsys):
    path = tmp_path / "x.png"
    arguments = ("--augment", "mixup(1)", "--out", path, "--json")
    assert run(*DIGITS, *arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["path"], answer["augment"]) == (str(path), "mixup(1)")
    assert len(answer["classes"]) == 3
    assert [len(row) for row in answer["draws"]] == [4, 4, 4]
    for name, row in zip(answer["classes"], answer["draws"], strict=True):
        for words in row:
            assert name in words.replace(",", "").split() or words.count(" ") > 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "x.jpg"], r"ends in \.png"),
        ([*DIGITS, "--augment", "flop"], "did you mean 'flip'"),
        ([*DIGITS, "--epochs", "0"], "at least 1 of each"),
        ([*DIGITS, "--images", "1438"], "1,437"),
        ([*DIGITS, "--set", "augmnt=x"], "did you mean augment"),
    ],
)
def test_wrong_arguments_write_nothing(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        run(*arguments)
    assert list(tmp_path.iterdir()) == []
