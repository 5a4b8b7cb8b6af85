"""A folder of images as a data set: what is read, what is left out, and what is refused."""

import argparse
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from resnet_jax import config as configs
from resnet_jax import rebuilt, train, versions
from resnet_jax import workdir as files
from resnet_jax.commands import evaluate, predict
from resnet_jax.data import cache, folder, picture, source, spec
from resnet_jax.data.listing import scan
from resnet_jax.errors import ConfigError, DataError

CLASSES = ("ant", "bee", "cow")


def write_image(path, value: int, size=(10, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(value)
    pixels = random.integers(0, 100, (size[1], size[0], 3)) + 50 * (value % 3)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Thirty images in three classes, no test directory; an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "my images"
    for label, name in enumerate(CLASSES):
        for number in range(10):
            suffix = (".png", ".JPG", ".jpeg")[number % 3]
            write_image(root / "train" / name / f"{number}{suffix}", 3 * number + label)
    return root


@pytest.fixture
def config(tiny_config, images):
    tiny_config.data.name = "folder"
    tiny_config.data.dir = str(images)
    tiny_config.data.image_size = 8
    tiny_config.num_steps = 2
    tiny_config.batch_size = 8
    return tiny_config


def refusal(config, error=DataError) -> str:
    with pytest.raises(error) as caught:
        configs.validate(config)
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    return text


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_share_of_each_class_is_for_testing(config):
    dataset = spec.of(config.data)
    assert dataset.classes == CLASSES
    assert dataset.image_shape == (8, 8, 3)
    assert dataset.splits == {"train": 24, "test": 6}
    for split, count in (("train", 8), ("test", 2)):
        examples = source.load(dataset, split, config.data.dir)
        assert np.bincount(examples.labels).tolist() == [count] * 3
    assert (dataset.left_out, dataset.notes) == ((), ())


def test_a_test_directory_is_used_whole_and_the_training_images_then_are_too(config, images):
    write_image(images / "test" / "bee" / "x.png", 1)
    dataset = spec.of(config.data)
    assert dataset.splits == {"train": 30, "test": 1}
    assert source.load(dataset, "test", None).labels.tolist() == [1]


def test_mean_and_deviation_are_those_of_the_training_images(config):
    dataset = spec.of(config.data)
    pixels = source.load(dataset, "train", None).images / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), atol=1e-6)


def test_another_image_moves_few_others_between_the_splits(images):
    def testing(root):
        return {file.name for file in scan(root, 0.2).files if file.split == "test"}

    before = testing(images)
    for number in range(10, 15):
        write_image(images / "train" / "bee" / f"{number}.png", number)
    after = testing(images)
    others = {name for name in before | after if "bee" not in name}
    assert others <= before & after
    # Fifteen images have three for testing instead of two; a new one may displace an old one each.
    assert len(after) == len(before) + 1
    known = {name for name in before if "bee" in name}
    assert len(known - after) <= 2


def test_a_class_of_two_images_has_one_in_each_split(images):
    shutil.rmtree(images / "train" / "cow")
    for number in range(2):
        write_image(images / "train" / "cow" / f"{number}.png", number)
    for fraction in (0.01, 0.99):
        own = [file for file in scan(images, fraction).files if "cow" in file.name]
        assert sorted(file.split for file in own) == ["test", "train"]


def test_images_are_decoded_once_and_again_when_a_file_changes(config, images, monkeypatch):
    decoded = []
    original = picture.picture
    monkeypatch.setattr(picture, "picture", lambda *a: decoded.append(a) or original(*a))
    spec.of(config.data)
    assert len(decoded) == 30
    folder.described.cache_clear()
    source.load(spec.of(config.data), "train", None)
    assert len(decoded) == 30
    path = images / "train" / "ant" / "0.png"
    write_image(path, 77)
    os.utime(path, ns=(1, 1))
    spec.of(config.data)
    assert len(decoded) == 60


def test_an_image_that_could_not_be_read_for_a_moment_is_tried_again(config, monkeypatch):
    def failing(path, size):
        raise OSError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(picture, "picture", failing)
        assert "30 of 30 images" in refusal(config)
    assert sum(spec.of(config.data).splits.values()) == 30


def test_a_cache_that_cannot_be_written_only_costs_time(config, monkeypatch):
    monkeypatch.setattr(cache, "directory", lambda: (_ for _ in ()).throw(OSError("no home")))
    assert len(source.load(spec.of(config.data), "test", None)) == 6


def test_broken_images_are_named_and_left_out_below_the_share_that_is_allowed(config, images):
    (images / "train" / "ant" / "broken.png").write_bytes(b"no image")
    half = (images / "train" / "bee" / "1.JPG").read_bytes()
    (images / "train" / "bee" / "1.JPG").write_bytes(half[: len(half) // 2])
    (images / "train" / "bee" / "notes.txt").write_text("x")
    (images / "train" / "list.csv").write_text("x")
    text = refusal(config)
    assert "2 of 31 images cannot be read: train/ant/broken.png (no image); " in text
    assert "data.broken=0.07" in text
    config.data.broken = 0.07
    dataset = spec.of(config.data)
    assert sum(dataset.splits.values()) == 29
    assert len(dataset.left_out) == 2
    assert dataset.notes[0].startswith(
        "2 of 31 images cannot be read and are left out: train/ant/broken.png (no image); "
    )
    assert dataset.notes[1].endswith("not read: train/list.csv; train/bee/notes.txt")
    total = sum(len(source.load(dataset, split, None)) for split in ("train", "test"))
    assert total == 29


def test_of_many_broken_images_five_are_named(config, images):
    for number in range(9):
        (images / "train" / "cow" / f"b{number}.png").write_bytes(b"")
    text = refusal(config)
    assert "9 of 39 images cannot be read" in text
    assert text.count(".png (") == 5
    assert "and 4 more" in text


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: shutil.rmtree(root), "is no directory"),
        (lambda root: shutil.rmtree(root / "train"), "has 0 class directories"),
        (lambda root: [shutil.rmtree(root / "train" / n) for n in CLASSES[1:]], "has 1 class"),
        (lambda root: (root / "train" / "dog").mkdir(), "has no images in"),
        (lambda root: (root / "test").mkdir(), "has no images for testing"),
        (lambda root: write_image(root / "test" / "dog" / "x.png", 0), "lacks: dog"),
    ],
)
def test_what_is_no_folder_of_classes_is_refused_with_what_is_expected(
    config, images, spoil, words
):
    spoil(images)
    assert words in refusal(config)


def test_a_class_without_an_image_for_testing_is_named(config, images):
    for name in ("ant", "cow"):
        write_image(images / "test" / name / "0.png", 0)
    assert spec.of(config.data).notes == ("no image for testing of the class bee",)
    write_image(images / "test" / "bee" / "0.png", 0)
    assert spec.of(config.data).notes == ()


def test_the_file_of_each_image_is_known_without_what_is_broken(config, images):
    (images / "train" / "ant" / "broken.png").write_bytes(b"no image")
    config.data.broken = 0.05
    found = spec.of(config.data)
    for split in ("train", "test"):
        pixels, labels = found.load(split)
        names = found.names(split)
        assert len(names) == len(labels)
        assert "train/ant/broken.png" not in names
        assert [name.split("/")[1] for name in names] == [CLASSES[label] for label in labels]
        np.testing.assert_array_equal(picture.picture(images / names[0], 8), pixels[0])


def test_a_class_of_broken_images_alone_is_refused(config, images):
    for path in (images / "train" / "cow").iterdir():
        path.write_bytes(b"x")
    config.data.broken = 0.9
    assert "no readable training image of class cow" in refusal(config)


def test_no_share_for_testing_without_a_test_directory_is_refused(config):
    config.data.test_fraction = 0.0
    assert "data.test_fraction=0.2" in refusal(config)


def test_a_missing_field_is_the_configs_fault(config):
    config.data.image_size = None
    assert "--config.data.image_size=32" in refusal(config, ConfigError)


class TestRun:
    @pytest.fixture
    def trained(self, config, images, tmp_path, capsys):
        (images / "train" / "ant" / "broken.png").write_bytes(b"no image")
        config.data.broken = 0.05
        result = train.train_and_evaluate(config, tmp_path / "run", jax.devices()[:1])
        return result, capsys.readouterr().out

    def test_trains_and_says_what_is_left_out(self, trained, config, tmp_path):
        result, text = trained
        assert result["test_examples"] == spec.of(config.data).splits["test"]
        assert (
            "note      1 of 31 images cannot be read and are left out: train/ant/broken.png" in text
        )
        recorded = versions.read(tmp_path / "run")["data"]
        assert recorded["class_names"] == list(CLASSES)
        assert recorded["left_out"] == ["train/ant/broken.png (no image)"]
        json.dumps(recorded)

    def test_is_evaluated_with_its_own_statistics_also_elsewhere(self, trained, images, tmp_path):
        result, _ = trained
        found = evaluate.evaluate(tmp_path / "run")
        assert found["accuracy"] == result["test_accuracy"]
        assert found["loss"] == pytest.approx(result["test_loss"], rel=1e-5)
        images.rename(tmp_path / "moved")
        with pytest.raises(DataError, match="is no directory"):
            evaluate.evaluate(tmp_path / "run")
        arguments = argparse.ArgumentParser()
        predict.add_arguments(arguments)
        mine = [tmp_path / "run", tmp_path / "moved" / "train" / "bee", "--out", tmp_path / "x.png"]
        assert predict.run(arguments.parse_args(list(map(str, mine)))) == 0  # needs no folder
        moved = rebuilt.rebuild(tmp_path / "run", str(tmp_path / "moved"))
        assert len(moved.names("test")) == len(moved.examples("test"))
        again = evaluate.evaluate(tmp_path / "run", data_dir=str(tmp_path / "moved"))
        assert again == found
        # Other test images of the same classes, and other training images, change no statistics.
        write_image(tmp_path / "moved" / "test" / "bee" / "new.png", 5)
        other = evaluate.evaluate(tmp_path / "run", data_dir=str(tmp_path / "moved"))
        assert other["examples"] == 1
        stored = versions.dataset(tmp_path / "run", files.read_config(tmp_path / "run"))
        assert stored.mean == tuple(versions.read(tmp_path / "run")["data"]["mean"])

    def test_is_not_evaluated_on_other_classes(self, trained, images, tmp_path):
        (images / "train" / "cow").rename(images / "train" / "dog")
        with pytest.raises(DataError, match=r"other classes .*\(cow, dog\)"):
            evaluate.evaluate(tmp_path / "run")

    def test_is_not_continued_on_other_images(self, trained, config, images, tmp_path):
        write_image(images / "train" / "ant" / "more.png", 1)
        (tmp_path / "run" / "result.json").unlink()
        with pytest.raises(Exception, match="trained on other images"):
            train.train_and_evaluate(config, tmp_path / "run", jax.devices()[:1])

    def test_a_refused_folder_writes_nothing(self, config, images, tmp_path):
        (images / "train" / "ant" / "broken.png").write_bytes(b"no image")
        before = contents(images)
        with pytest.raises(DataError, match="1 of 31 images"):
            train.train_and_evaluate(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        assert contents(images) == before
