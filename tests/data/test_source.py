import dataclasses
import json
import logging
import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from resnet_jax.data import source
from resnet_jax.errors import ConfigError, DataError


def load(prepared, split="train"):
    return source.load(prepared.dataset, split, str(prepared.root))


def flip(file: Path, position: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


def edit_info(prepared, **fields) -> None:
    file = prepared.path / "dataset_info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


# What `check` must find, each a way to spoil a directory and a word of the message.
INCOMPLETE = {
    "no info": (lambda p: (p.path / "dataset_info.json").unlink(), "no dataset_info.json"),
    "broken info": (lambda p: (p.path / "dataset_info.json").write_text("{"), "unreadable"),
    "list as info": (lambda p: (p.path / "dataset_info.json").write_text("[]"), "unreadable"),
    "odd splits": (lambda p: edit_info(p, splits=[7]), "unreadable"),
    "no features": (lambda p: (p.path / "features.json").unlink(), "no readable features.json"),
    "tfrecord": (lambda p: edit_info(p, fileFormat="tfrecord"), "as tfrecord"),
    "other name": (lambda p: edit_info(p, name="cifar100"), "holds cifar100"),
    "no splits": (lambda p: edit_info(p, splits=[]), "0 examples in 'train', not 23"),
    "wrong length": (
        lambda p: edit_info(
            p,
            splits=[
                {"name": "train", "shardLengths": ["12", "11"]},
                {"name": "test", "shardLengths": ["4", "2"]},
            ],
        ),
        "6 examples in 'test', not 7",
    ),
    "missing shard": (lambda p: p.shard("test", 1).unlink(), "00001-of-00002"),
    "empty shard": (lambda p: p.shard("train", 0).write_bytes(b""), "empty"),
}

# What only reading can find.
DAMAGED = {
    "truncated": lambda file: os.truncate(file, file.stat().st_size - 1),
    "half written": lambda file: os.truncate(file, file.stat().st_size // 2),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "other content": lambda file: file.write_bytes(b"<html>" * 20000),
    "flipped bit": lambda file: flip(file, file.read_bytes().rindex(b"IDAT") + 9),
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_record_is_read_in_order_and_unchanged(tiny, split):
    examples = load(tiny, split)
    images, labels = tiny.arrays[split]
    assert len(examples) == tiny.dataset.splits[split]
    assert (examples.images.dtype, examples.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(examples.images, images)
    np.testing.assert_array_equal(examples.labels, labels)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts_are_read(tmp_path, cache_home, write_directory, tiny, channels):
    dataset = dataclasses.replace(tiny.dataset, name="other", image_shape=(4, 4, channels))
    prepared = write_directory(tmp_path, dataset)
    np.testing.assert_array_equal(load(prepared).images, prepared.arrays["train"][0])


def test_more_records_than_one_chunk_are_read(tmp_path, cache_home, write_directory, tiny):
    dataset = dataclasses.replace(tiny.dataset, splits={"train": 1203})
    prepared = write_directory(tmp_path / "many", dataset, shards=3)
    np.testing.assert_array_equal(load(prepared).images, prepared.arrays["train"][0])
    np.testing.assert_array_equal(load(prepared).labels, prepared.arrays["train"][1])


def test_a_second_load_decodes_nothing(tiny, monkeypatch):
    first = load(tiny)
    monkeypatch.setattr(source, "_decode", lambda *_: pytest.fail("decoded again"))
    second = load(tiny)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    with pytest.raises(pytest.fail.Exception):  # the other split was not cached
        load(tiny, "test")


def test_damage_after_the_first_load_is_not_hidden_by_the_cache(tiny):
    load(tiny)
    DAMAGED["flipped bit"](tiny.shard("train", 0))
    with pytest.raises(DataError):
        load(tiny)


def test_a_complete_directory_passes_the_check(tiny):
    source.check(tiny.dataset, str(tiny.root))


@pytest.mark.parametrize("case", INCOMPLETE)
def test_check_and_load_refuse_an_incomplete_directory(tiny, case):
    spoil, problem = INCOMPLETE[case]
    spoil(tiny)
    with pytest.raises(DataError) as caught:
        source.check(tiny.dataset, str(tiny.root))
    text = str(caught.value)
    assert problem in text
    assert str(tiny.path) in text
    assert "Delete" in text  # `prepare` overwrites nothing
    assert f"prepare tiny --data-dir {shlex.quote(str(tiny.root))}" in text
    assert len(text.splitlines()) == 2


def test_a_missing_directory_is_refused_with_the_commands_that_mend_it(tiny, tmp_path):
    for read in (source.check, lambda dataset, dir: source.load(dataset, "train", dir)):
        with pytest.raises(DataError) as caught:
            read(tiny.dataset, str(tmp_path / "elsewhere"))
        text = str(caught.value)
        assert str(tmp_path / "elsewhere" / "tiny" / "1.0.0") in text
        assert f"`python -m resnet_jax prepare tiny --data-dir {tmp_path / 'elsewhere'}`" in text
        assert "--config.data.prepare=true" in text
        assert "--config.data.dir=DIR" in text
        assert "Delete" not in text
        assert len(text.splitlines()) == 2


def test_no_preparing_is_advised_where_there_is_nothing_to_prepare_from(tiny, tmp_path):
    dataset = dataclasses.replace(tiny.dataset, archive=None)
    with pytest.raises(DataError, match=r"--config\.data\.dir=DIR") as caught:
        source.check(dataset, str(tmp_path / "elsewhere"))
    assert "prepare" not in str(caught.value)


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_shard_is_refused_naming_split_file_and_command(tiny, case):
    shard = tiny.shard("train", 1)
    DAMAGED[case](shard)
    with pytest.raises(DataError) as caught:
        load(tiny)
    text = str(caught.value)
    assert f"split 'train', {shard.name}, record " in text
    assert str(tiny.path) in text
    assert (
        f"Delete that directory and run `python -m resnet_jax prepare {tiny.dataset.name}" in text
    )
    assert len(text.splitlines()) == 2
    assert len(load(tiny, "test")) == 7  # the other split is whole


@pytest.mark.parametrize("record", [0, 4, 10])
def test_the_damaged_record_is_counted_within_its_shard(tiny, record):
    shard = tiny.shard("train", 1)
    content, position = shard.read_bytes(), -1
    for _ in range(record + 1):
        position = content.index(b"\x89PNG", position + 1)
    flip(shard, position)
    with pytest.raises(DataError, match=rf"{shard.name}, record {record} "):
        load(tiny)


def test_an_error_that_does_not_come_back_is_reported_too(tiny):
    directory = source._Directory(tiny.dataset, tiny.root)
    records = directory.open("test")
    where, cause = source._damage(directory, "test", records, range(7), OSError("stale"))
    assert (where, str(cause)) == ("split 'test', among records 0 to 6", "stale")


def test_no_flipped_bit_ever_gives_wrong_examples(tiny):
    shard = tiny.shard("test", 0)
    whole, refused = shard.read_bytes(), 0
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))
    for number, position in enumerate(used[:: len(used) // 60]):
        shard.write_bytes(whole)
        flip(shard, position, number % 8)
        try:
            examples = load(tiny, "test")
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(examples.images, tiny.arrays["test"][0])
            np.testing.assert_array_equal(examples.labels, tiny.arrays["test"][1])
    assert refused > 30


def test_a_directory_of_other_images_or_classes_is_refused(tiny):
    bigger = dataclasses.replace(tiny.dataset, image_shape=(6, 6, 3))
    with pytest.raises(DataError, match=r"6, 5, 3, 'uint8', 3\).* not \(6, 6, 3, 'uint8', 3"):
        source.load(bigger, "train", str(tiny.root))
    more_classes = dataclasses.replace(tiny.dataset, classes=("ant", "bee"))
    with pytest.raises(DataError, match=r"features\.json"):
        source.load(more_classes, "train", str(tiny.root))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_shape": (5, 6, 3)}, r"shape \(5, 6, 3\), not \(6, 5, 3\)"),
        ({"classes": tuple("abcdefghijklmnop")}, r"its label is \d+, not 0\.\.2"),
    ],
)
def test_a_record_that_contradicts_features_json_is_refused(
    tiny, write_directory, tmp_path, change, problem
):
    other = write_directory(tmp_path / "other", dataclasses.replace(tiny.dataset, **change))
    (other.path / "features.json").write_bytes((tiny.path / "features.json").read_bytes())
    with pytest.raises(DataError, match=problem):
        source.load(tiny.dataset, "train", str(other.root))


def test_an_unknown_split_is_refused_with_the_known_ones(tiny):
    with pytest.raises(ConfigError, match="no split 'val'; choose one of: train, test"):
        load(tiny, "val")


def test_an_embedded_data_set_is_checked_against_its_description(tiny):
    images, labels = tiny.arrays["train"]
    embedded = dataclasses.replace(
        tiny.dataset, version=None, load=lambda split: (images, labels), splits={"train": 23}
    )
    source.check(embedded, None)
    assert len(source.load(embedded, "train", None)) == 23
    for wrong in ((images[1:], labels), (images / 255, labels), (images, labels.astype(np.int64))):
        broken = dataclasses.replace(embedded, load=lambda split, wrong=wrong: wrong)
        with pytest.raises(DataError, match=r"expected images uint8 \(23, 6, 5, 3\)"):
            source.load(broken, "train", None)
    for label in (-1, 3):
        broken = dataclasses.replace(
            embedded, load=lambda split, label=label: (images, np.full_like(labels, label))
        )
        with pytest.raises(DataError, match=rf"label {label},\nbut .* 0\.\.2"):
            source.load(broken, "train", None)


def test_the_data_directory_is_the_given_one_then_the_variable_then_tfds_default(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("TFDS_DATA_DIR", "~/variable")
    assert source.data_dir("~/given") == Path("/home/someone/given")
    assert source.data_dir(None) == Path("/home/someone/variable")
    assert source.data_dir("") == Path("/home/someone/variable")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert source.data_dir(None) == Path("/home/someone/tensorflow_datasets")
    assert source.data_dir("relative") == Path.cwd() / "relative"


@pytest.mark.parametrize("dir", ["gs://bucket/data", "~no_such_user_here/data"])
def test_a_data_directory_that_is_not_local_is_refused(dir):
    with pytest.raises(DataError, match=r"--config\.data\.dir=DIR"):
        source.data_dir(dir)


def test_reading_prints_and_logs_nothing(tiny, capfd, caplog):
    caplog.set_level(logging.WARNING)
    load(tiny)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_reading_needs_no_tensorflow_and_no_network(tiny, tmp_path):
    # A TensorFlow that is installed must stay unused too, so here is one that cannot be imported.
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise SystemExit('tensorflow imported')")
    first = run(tiny, tmp_path, "source.load(TINY, 'train', root)")
    assert "tensorflow_datasets" in first  # else this would show nothing
    second = run(tiny, tmp_path, "source.load(TINY, 'train', root)")
    check = run(tiny, tmp_path, "source.check(TINY, root)")
    for modules in (second, check):
        assert not {"tensorflow_datasets", "PIL", "tensorflow"} & modules


def run(prepared, packages: Path, statement: str) -> set[str]:
    """Runs a statement in a new process without a network; the modules imported by its end."""
    code = f"""
        import runpy, socket, sys

        def refuse(*_):
            raise SystemExit("network used")

        socket.socket.connect = socket.getaddrinfo = refuse
        _, conftest, root = sys.argv
        TINY = runpy.run_path(conftest)["TINY"]
        from resnet_jax.data import source
        {statement}
        print(*sys.modules)
    """
    conftest = Path(__file__).with_name("conftest.py")
    repository = Path(source.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(conftest), str(prepared.root)],
        env=os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{repository}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())
