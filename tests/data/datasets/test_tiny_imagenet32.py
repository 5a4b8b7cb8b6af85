import dataclasses
import hashlib
import io
import zipfile

import jax
import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from configs import default
from resnet_jax import config as configs
from resnet_jax import console
from resnet_jax.data import source
from resnet_jax.data.datasets import tiny_imagenet32
from resnet_jax.data.datasets.tiny_imagenet32 import DATASET, read_archive
from resnet_jax.data.prepare import prepare
from resnet_jax.errors import DataError

NAMES = DATASET.classes[:2]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two classes, of which three images each are taken."""
    monkeypatch.setattr(tiny_imagenet32, "_CLASSES", NAMES)
    monkeypatch.setattr(tiny_imagenet32, "TRAIN_IMAGES", 3)


def jpeg(image) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_archive(path, images=4, leave_out=(), **changes):
    """An archive in the published layout; returns its members."""
    random = np.random.default_rng(0)
    root, members = "tiny-imagenet-200", {}
    # 10 stands before 2 in the alphabet.
    numbers = [0, 1, 10, 2, 3][:images]
    for name in NAMES:
        for number in reversed(numbers):
            image = random.integers(0, 256, (64, 64, 3), np.uint8)
            members[f"{root}/train/{name}/images/{name}_{number}.JPEG"] = jpeg(image)
    # Some images of the archive are grey.
    for number in range(2):
        image = random.integers(0, 256, (64, 64), np.uint8)
        members[f"{root}/val/images/val_{number}.JPEG"] = jpeg(image)
    lines = [f"val_{number}.JPEG\t{NAMES[1 - number]}\t0\t32\t44\t62" for number in range(2)]
    members[f"{root}/val/val_annotations.txt"] = ("\n".join(lines) + "\n").encode()
    members = {name: text for name, text in (members | changes).items() if name not in leave_out}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return members


def published(path):
    """The data set that is published in the file."""
    content = path.read_bytes()
    archive = dataclasses.replace(
        DATASET.archive, sha256=hashlib.sha256(content).hexdigest(), size=len(content)
    )
    splits = {"train": 6, "validation": 2}
    return dataclasses.replace(DATASET, splits=splits, archive=archive, classes=NAMES)


def test_the_first_images_in_alphabetical_order_are_taken_and_averaged(tmp_path):
    members = write_archive(tmp_path / "a.zip")
    examples = list(read_archive(tmp_path / "a.zip"))
    assert [(split, identifier, label) for split, identifier, _, label in examples] == [
        *(("train", f"{NAMES[0]}_{number}", 0) for number in (0, 1, 10)),
        *(("train", f"{NAMES[1]}_{number}", 1) for number in (0, 1, 10)),
        ("validation", "val_0", 1),
        ("validation", "val_1", 0),
    ]
    content = members[f"tiny-imagenet-200/train/{NAMES[1]}/images/{NAMES[1]}_10.JPEG"]
    whole = np.asarray(PIL.Image.open(io.BytesIO(content)), np.float64)
    means = whole.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(examples[5][2] - means).max() <= 1  # Pillow rounds after rows and after columns
    grey = examples[6][2]
    assert grey.shape == (32, 32, 3)
    assert (grey[..., :1] == grey).all()


def test_a_prepared_directory_has_the_order_and_encoding_of_the_published_one(tmp_path):
    path = tmp_path / "a.zip"
    write_archive(path)
    dataset = published(path)
    directory = prepare(dataset, tmp_path / "data", path)
    info = tfds.builder_from_directory(directory)
    raw = info.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    records = list(raw)
    assert all(PIL.Image.open(io.BytesIO(r["image"])).format == "JPEG" for r in records)
    hasher = tfds.core.hashing.Hasher("train")
    ids = [record["id"].decode() for record in records]
    assert ids == sorted(ids, key=hasher.hash_key)
    examples = source.load(dataset, "validation", str(tmp_path / "data"))
    assert sorted(examples.labels.tolist()) == [0, 1]


ANNOTATIONS = "tiny-imagenet-200/val/val_annotations.txt"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": 2}, f"2 images in .*{NAMES[0]}"),
        ({"leave_out": (ANNOTATIONS,)}, "no tiny.*val_annotations"),
        ({"leave_out": ("tiny-imagenet-200/val/images/val_1.JPEG",)}, r"no .*val_1\.JPEG"),
        ({ANNOTATIONS: b"val_0.JPEG\tn000\t0\n"}, "line 1 names no class"),
        ({f"tiny-imagenet-200/train/{NAMES[0]}/images/{NAMES[0]}_0.JPEG": b"x"}, "cannot be read"),
    ],
)
def test_an_archive_that_is_not_whole_is_refused(tmp_path, changes, words):
    path = tmp_path / "a.zip"
    write_archive(path, **changes)
    with pytest.raises(DataError, match=words):
        prepare(published(path), tmp_path / "data", path)
    assert not (tmp_path / "data" / "tiny_imagenet32").exists()


@pytest.mark.parametrize("keep", [0, 100, -500])
def test_a_truncated_archive_is_refused(tmp_path, keep):
    path = tmp_path / "a.zip"
    write_archive(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged, or no ZIP"):
        prepare(published(path), tmp_path / "data", path)


def test_another_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "a.zip"
    write_archive(path)
    with pytest.raises(DataError, match="instead of 248,100,043"):
        prepare(DATASET, tmp_path / "data", path)


def test_a_run_says_which_split_is_evaluated():
    config = default.get_config()
    config.data.name = DATASET.name
    assert configs.train_examples(config) == 60_000
    config.data.validation = 100
    lines = console.describe(config, DATASET, 1, jax.devices()[:1])
    (line,) = [line for line in lines if line.startswith("data")]
    assert "59,900 training images, 100 held out, tested on 'validation'" in line


@pytest.fixture(scope="module")
def splits():
    """The real data set, where it is prepared."""
    try:
        source.check(DATASET, None)
    except DataError as error:
        pytest.skip(f"needs the data set: {error}")
    return {split: source.load(DATASET, split, None) for split in DATASET.splits}


def test_the_prepared_splits_have_equal_classes(splits):
    assert np.bincount(splits["train"].labels).tolist() == [300] * 200
    assert np.bincount(splits["validation"].labels).tolist() == [50] * 200


def test_mean_and_std_are_those_of_the_training_images(splits):
    levels = np.arange(256) / 255
    for channel in range(3):
        counts = np.bincount(splits["train"].images[..., channel].ravel(), minlength=256)
        mean = np.average(levels, weights=counts)
        std = np.sqrt(np.average((levels - mean) ** 2, weights=counts))
        assert round(mean, 4) == DATASET.mean[channel]
        assert round(std, 4) == DATASET.std[channel]
