import dataclasses
import hashlib
import io
import os
import resource
import shutil
import socket
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resnet_jax.data import spec
from resnet_jax.data.prepare import is_prepared, prepare
from resnet_jax.errors import ConfigError, DataError

CIFAR10 = spec.get("cifar10")
BATCH = 8
TRAIN, TEST = 5 * BATCH, 10

# Where train_00000 to train_00039 come in TFDS's own cifar10 3.0.2, read with tfds.data_source.
TFDS_ORDER = (
    "39 28 6 33 16 19 12 14 25 18 5 27 34 26 36 13 35 15 32 31 21 4 29 10 22 17 0 8 "
    "23 3 1 30 24 20 9 7 38 11 2 37 "
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def random_split(count, seed):
    """(images uint8 [N, 32, 32, 3], labels [N])"""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)


def binary(images, labels):
    """The records of the binary archive: a label and three planes of pixels each."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1).tobytes()


def pack(path, members):
    """Writes a .tar.gz and returns the CIFAR-10 that is published in it."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return published(path)


def published(path, train=TRAIN, test=TEST, **changes):
    content = path.read_bytes()
    archive = dataclasses.replace(
        CIFAR10.archive, sha256=hashlib.sha256(content).hexdigest(), size=len(content), **changes
    )
    return dataclasses.replace(CIFAR10, splits={"train": train, "test": test}, archive=archive)


def members(train, test):
    batch = len(train[1]) // 5
    parts = [slice(i * batch, (i + 1) * batch) for i in range(5)]
    files = {
        f"data_batch_{i}.bin": binary(train[0][part], train[1][part])
        for i, part in enumerate(parts, 1)
    }
    return files | {"test_batch.bin": binary(*test)}


@pytest.fixture(scope="module")
def splits():
    return {"train": random_split(TRAIN, 0), "test": random_split(TEST, 1)}


@pytest.fixture
def archive(tmp_path, splits):
    return tmp_path / "archive.tar.gz"


@pytest.fixture
def dataset(archive, splits):
    return pack(archive, members(splits["train"], splits["test"]))


def records(data_dir, split):
    return list(tfds.data_source("cifar10", split=split, data_dir=data_dir, download=False))


def ids(examples):
    return [example["id"].decode() for example in examples]


def run_python(script, dataset, archive, tmp_path, *paths):
    """Runs a script in its own process, with the fixtures' data set; returns its exit status."""
    size, digest = dataset.archive.size, dataset.archive.sha256
    prelude = f"""
        import dataclasses, pathlib
        from resnet_jax.data import prepare, spec
        dataset = spec.get("cifar10")
        small = dataclasses.replace(dataset.archive, size={size}, sha256={digest!r})
        dataset = dataclasses.replace(dataset, splits={dict(dataset.splits)}, archive=small)
        archive_file = pathlib.Path({str(archive)!r})
        data_dir = pathlib.Path({str(tmp_path / "data")!r})
    """
    root = Path(spec.__file__).parents[2]
    path = os.pathsep.join(str(path) for path in (*paths, root))
    program = textwrap.dedent(prelude) + textwrap.dedent(script)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    return subprocess.run([sys.executable, "-c", program], env=environment).returncode


def test_the_layout_is_that_of_tfds(dataset, archive, tmp_path):
    directory = prepare(dataset, tmp_path / "data", archive)
    assert directory == tmp_path / "data" / "cifar10" / "3.0.2"
    assert sorted(path.name for path in directory.iterdir()) == [
        "cifar10-test.array_record-00000-of-00001",
        "cifar10-train.array_record-00000-of-00001",
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
    ]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar10"]
    assert [path.name for path in directory.parent.iterdir()] == ["3.0.2"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_tfds_reads_back_pixels_labels_and_ids(dataset, archive, tmp_path, splits, split):
    prepare(dataset, tmp_path / "data", archive)
    images, labels = splits[split]
    examples = records(tmp_path / "data", split)
    assert sorted(ids(examples)) == [f"{split}_{i:05d}" for i in range(len(labels))]
    for example in examples:
        i = int(example["id"].decode().removeprefix(f"{split}_"))
        np.testing.assert_array_equal(example["image"], images[i])
        assert example["label"] == labels[i]


def test_tfds_finds_its_own_description(dataset, archive, tmp_path):
    info = tfds.builder_from_directory(prepare(dataset, tmp_path / "data", archive)).info
    assert info.full_name == "cifar10/3.0.2"
    assert info.supervised_keys == ("image", "label")
    assert info.features["label"].names == list(CIFAR10.classes)
    assert info.features["image"].shape == (32, 32, 3)
    assert {name: split.num_examples for name, split in info.splits.items()} == dataset.splits


def test_records_come_in_the_order_of_tfds(dataset, archive, tmp_path):
    prepare(dataset, tmp_path / "data", archive)
    expected = [f"train_{int(position):05d}" for position in TFDS_ORDER.split()]
    assert ids(records(tmp_path / "data", "train")) == expected


def test_preparing_real_images_repeats_the_real_records(tmp_path, splits):
    real_dir = Path(os.environ.get("TFDS_DATA_DIR", "")).absolute()
    if not (real_dir / "cifar10" / "3.0.2" / "dataset_info.json").exists():
        pytest.skip("TFDS_DATA_DIR holds no cifar10")
    undecoded = {"image": tfds.decode.SkipDecoding()}
    source = tfds.data_source(
        "cifar10", split="test", data_dir=real_dir, download=False, decoders=undecoded
    )
    names = {f"test_{i:05d}" for i in range(200)}
    positions = [i for i, name in enumerate(ids(source)) if name in names]
    decoded = tfds.data_source("cifar10", split="test", data_dir=real_dir, download=False)
    expected = [decoded[i] for i in positions]
    by_id = sorted(expected, key=lambda example: example["id"])
    images = np.stack([example["image"] for example in by_id])
    labels = np.array([example["label"] for example in by_id])

    path = tmp_path / "archive.tar.gz"
    pack(path, members(splits["train"], (images, labels)))
    prepare(published(path, test=len(names)), tmp_path / "data", path)
    found = records(tmp_path / "data", "test")
    assert ids(found) == ids(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        assert ours["label"] == theirs["label"]


def test_tensorflow_is_neither_needed_nor_imported(dataset, archive, tmp_path):
    stub = tmp_path / "stub" / "tensorflow"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise AssertionError('tensorflow was imported')")
    script = """
        import sys
        prepare.prepare(dataset, data_dir, archive_file)
        assert prepare.is_prepared(dataset, data_dir)
        assert "tensorflow" not in sys.modules
    """
    assert run_python(script, dataset, archive, tmp_path, stub.parent) == 0


def test_a_prepared_directory_is_left_alone(dataset, archive, tmp_path, capsys):
    directory = prepare(dataset, tmp_path / "data", archive)
    before = {path: path.stat().st_mtime_ns for path in (directory, *directory.iterdir())}
    assert prepare(dataset, tmp_path / "data", tmp_path / "no such file") == directory
    assert {path: path.stat().st_mtime_ns for path in (directory, *directory.iterdir())} == before
    assert "already prepared" in capsys.readouterr().err


def test_nothing_is_printed_on_stdout(dataset, archive, tmp_path, capfd):
    prepare(dataset, tmp_path / "data", archive)
    assert capfd.readouterr().out == ""


def test_a_verified_archive_in_downloads_is_used(dataset, archive, tmp_path):
    downloads = tmp_path / "data" / "downloads"
    downloads.mkdir(parents=True)
    shutil.copy(archive, downloads / "cifar-10-binary.tar.gz")
    prepare(dataset, tmp_path / "data")
    assert is_prepared(dataset, tmp_path / "data")


def not_gzip(path):
    path.write_bytes(b"<html>not found</html>")
    return published(path)


def truncated(path):
    pack(path, members(random_split(TRAIN, 0), random_split(TEST, 1)))
    path.write_bytes(path.read_bytes()[:-5000])
    return published(path)


def python_version(path):
    return pack(path, {f"data_batch_{i}": b"pickle" for i in range(1, 6)} | {"test_batch": b""})


def cut_record(path):
    files = members(random_split(TRAIN, 0), random_split(TEST, 1))
    return pack(path, files | {"data_batch_2.bin": files["data_batch_2.bin"][:-1]})


def too_few(path):
    files = members(random_split(TRAIN, 0), random_split(TEST, 1))
    return pack(path, files | {"test_batch.bin": files["test_batch.bin"][:3073]})


def wrong_checksum(path):
    dataset = too_few(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return dataset


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (not_gzip, "cannot be read"),
        (truncated, "cannot be read"),
        (python_version, "binary version"),
        (cut_record, "cannot be read"),
        (too_few, "1 test examples instead of 10"),
        (wrong_checksum, "SHA-256"),
    ],
)
def test_a_bad_archive_is_a_data_error_and_leaves_nothing(archive, tmp_path, make, message):
    dataset = make(archive)
    with pytest.raises(DataError, match=message) as error:
        prepare(dataset, tmp_path / "data", archive)
    assert len(str(error.value).splitlines()) <= 2
    assert not is_prepared(dataset, tmp_path / "data")
    assert list((tmp_path / "data").rglob("*")) == []


def test_a_killed_preparation_does_not_look_finished(dataset, archive, tmp_path):
    script = f"""
        import os
        def examples(path):
            for i, example in enumerate(spec.get("cifar10").archive.examples(path)):
                if i == {TRAIN + 1}:
                    os._exit(9)
                yield example
        dying = dataclasses.replace(dataset.archive, examples=examples)
        prepare.prepare(dataclasses.replace(dataset, archive=dying), data_dir, archive_file)
    """
    assert run_python(script, dataset, archive, tmp_path) == 9
    assert list((tmp_path / "data" / "cifar10").iterdir()) != []
    assert not is_prepared(dataset, tmp_path / "data")
    prepare(dataset, tmp_path / "data", archive)
    assert is_prepared(dataset, tmp_path / "data")


@pytest.mark.parametrize("missing", ["dataset_info.json", "features.json", "cifar10-train.array"])
def test_an_incomplete_directory_is_refused(dataset, archive, tmp_path, missing):
    directory = prepare(dataset, tmp_path / "data", archive)
    next(path for path in directory.iterdir() if path.name.startswith(missing)).unlink()
    with pytest.raises(DataError, match=missing):
        prepare(dataset, tmp_path / "data", archive)


def test_a_path_that_is_no_directory_is_a_data_error(dataset, archive, tmp_path):
    with pytest.raises(DataError, match="--data-dir DIR"):
        prepare(dataset, archive / "data", archive)


def test_too_little_space_is_said_beforehand(dataset, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DataError, match="0 MB are free"):
        prepare(dataset, tmp_path / "data", archive)


def test_a_failing_write_is_a_data_error_and_leaves_nothing(dataset, archive, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, hard))  # as a full disk: bytes a file
        with pytest.raises(DataError, match="cannot prepare in") as error:
            prepare(dataset, tmp_path / "data", archive)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(str(error.value).splitlines()) == 2
    assert list((tmp_path / "data").rglob("*")) == []


def test_images_of_one_channel_keep_their_shape(archive, tmp_path):
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    archive.write_bytes(b"anything")
    small = published(
        archive,
        train=1,
        test=1,
        examples=lambda _: iter([("train", "a", image, 3), ("test", "b", image, 4)]),
    )
    small = dataclasses.replace(small, name="grey", version="1.0.0", image_shape=(8, 8, 1))
    directory = prepare(small, tmp_path / "data", archive)
    (example,) = tfds.builder_from_directory(directory).as_data_source("train")
    np.testing.assert_array_equal(example["image"], image)


def test_an_embedded_data_set_has_nothing_to_prepare(tmp_path):
    embedded = dataclasses.replace(CIFAR10, name="digits", version=None, archive=None)
    with pytest.raises(ConfigError, match=r"digits .* nothing to prepare"):
        prepare(embedded, tmp_path)
