"""From a user's images to a TFDS directory that a file of a few lines describes."""

import argparse
import json

import numpy as np
import pytest
from PIL import Image

from resnet_jax.commands import prepare as command
from resnet_jax.data import source
from resnet_jax.errors import ConfigError, DataError


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for name in ("ant", "it's"):
        folder = tmp_path / "images" / "train" / name
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "images"


def prepare(images, tmp_path, *more) -> int:
    given = ("--from", images, "--to", tmp_path / "tfds", "--name", "mine", "--image-size", 8)
    return run("folder", *given, *more)


def test_the_directory_is_read_by_the_spec_that_is_printed(images, tmp_path, capsys):
    assert prepare(images, tmp_path, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(tmp_path / "tfds" / "mine" / "1.0.0")
    assert (answer["splits"], answer["already_prepared"]) == ({"train": 10, "test": 2}, False)
    names = {}
    exec(answer["spec"], names)
    dataset = names["DATASET"]
    assert dataset.classes == ("ant", "it's")
    seen = set()
    for split, count in dataset.splits.items():
        examples = source.load(dataset, split, str(tmp_path / "tfds"))
        assert len(examples) == count
        seen |= {
            (image.tobytes(), int(label))
            for image, label in zip(examples.images, examples.labels, strict=True)
        }
    expected = {
        (np.asarray(Image.open(path)).tobytes(), label)
        for label, name in enumerate(dataset.classes)
        for path in (images / "train" / name).iterdir()
    }
    assert seen == expected


def test_people_read_where_it_is_and_the_spec(images, tmp_path, capsys):
    assert prepare(images, tmp_path) == 0
    text = capsys.readouterr().out
    assert "mine/1.0.0: 10 train, 2 test examples, prepared in" in text
    assert "resnet_jax/data/datasets/mine.py" in text
    assert "DATASET = Dataset(" in text
    assert prepare(images, tmp_path) == 0
    assert "was there already" in capsys.readouterr().out


def test_a_directory_of_other_images_is_left_alone(images, tmp_path, capsys):
    prepare(images, tmp_path)
    (images / "train" / "ant" / "0.png").unlink()
    with pytest.raises(DataError, match="choose another --name") as caught:
        prepare(images, tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_broken_images_are_named(images, tmp_path, capsys):
    (images / "train" / "ant" / "x.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 of 13 images cannot be read: train/ant/x\.jpg"):
        prepare(images, tmp_path)
    assert not (tmp_path / "tfds").exists()
    assert prepare(images, tmp_path, "--broken", "0.1", "--json") == 0
    captured = capsys.readouterr()
    assert "train/ant/x.jpg (no image)" in captured.err
    assert sum(json.loads(captured.out)["splits"].values()) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["folder"], "--from is missing"),
        (["folder", "--from", "x", "--to", "y"], "--name is missing"),
        (["folder", "--from", "x", "--to", "y", "--name", "n"], "--image-size None: expected"),
        (["folder", "--from", "x", "--to", "y", "--name", "N", "--image-size", "8"], "lower-case"),
        (["folder", "--from", "x", "--to", "y", "--name", "digits", "--image-size", "8"], "taken"),
        (["folder", "--archive", "x"], "--archive is for a published"),
        (["cifar10", "--name", "x"], "--name is for folder"),
        (["cifar10", "--from", "x"], "--from is for folder"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(
    arguments, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        run(*arguments)
    assert list(tmp_path.iterdir()) == []
