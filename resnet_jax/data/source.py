"""Reading a data set into memory: from an installed package, or from a TFDS directory.

A TFDS directory is read with random access and without TensorFlow, and never downloaded: that is
`prepare`'s part. Its images are decompressed once and kept by `cache`; a start that finds them
there neither imports TFDS nor decodes anything.
"""

import dataclasses
import hashlib
import io
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from resnet_jax.data import cache, spec
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError, DataError

# Records read in one call: enough to make the call cheap, few enough to move the progress bar.
_CHUNK = 500

# Pillow's name for an image of so many channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# TFDS's file name of a shard; dataset_info.json may give another.
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


@dataclasses.dataclass(frozen=True)
class Examples:
    """One split in memory.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int32 [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def sha256(self) -> str:
        """Hexadecimal digest of pixels and labels, in order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.labels))
        return digest.hexdigest()


def data_dir(dir: str | None) -> Path:
    """The TFDS data directory: `dir`, else `$TFDS_DATA_DIR`, else TFDS's own default.

    Raises:
        DataError: it is a URL, or starts with a `~` that stands for no known home directory.
    """
    given = dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        if "://" in given:
            raise RuntimeError("random access needs a local disk: copy it there")
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(
            f"{given} cannot be used as data directory ({error}).\n"
            "Name a local directory with --config.data.dir=DIR."
        ) from error


def check(dataset: Dataset, dir: str | None) -> None:
    """Looks whether `load` will find its files, without reading a record; takes milliseconds.

    Raises:
        DataError: the directory is missing, incomplete, or holds something else.
    """
    if dataset.name == spec.NONE:
        raise DataError(
            f"data.name={spec.NONE}: the images of these weights are no data set here, so there is nothing "
            "to train or evaluate on;\nname one with --config.data.name to train, or convert the weights "
            "with --data NAME to evaluate them"
        )
    if dataset.load is None:
        for split in dataset.splits:
            _Directory(dataset, data_dir(dir)).shards(split)


def load(dataset: Dataset, split: str, dir: str | None) -> Examples:
    """Reads one split into memory.

    Args:
        dataset: what to read.
        split: one of `dataset.splits`.
        dir: the TFDS data directory, which contains `<name>/<version>`; see `data_dir`.

    Raises:
        ConfigError: the data set has no such split.
        DataError: the files are missing, damaged, or do not match the data set's description.
    """
    if split not in dataset.splits:
        known = ", ".join(dataset.splits)
        raise ConfigError(f"{dataset.name} has no split {split!r}; choose one of: {known}")
    if dataset.load is not None:
        images, labels = dataset.load(split)
    else:
        images, labels = _Directory(dataset, data_dir(dir)).load(split)
    shape = (dataset.splits[split], *dataset.image_shape)
    found = images.dtype, images.shape, labels.dtype, labels.shape
    if found != (np.uint8, shape, np.int32, shape[:1]):
        raise DataError(
            f"{dataset.name} {split!r}: expected images uint8 {shape} and labels int32"
            f" {shape[:1]},\nfound images {found[0]} {found[1]} and labels {found[2]} {found[3]}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= dataset.num_classes))
    if wrong.size:
        raise DataError(
            f"{dataset.name} {split!r}: record {wrong[0]} has label {labels[wrong[0]]},\n"
            f"but the labels of {dataset.num_classes} classes are 0..{dataset.num_classes - 1}"
        )
    return Examples(images, labels)


@dataclasses.dataclass(frozen=True)
class _Directory:
    """The TFDS directory `<root>/<name>/<version>` of a data set."""

    dataset: Dataset
    root: Path

    @property
    def path(self) -> Path:
        return self.root / self.dataset.name / str(self.dataset.version)

    def load(self, split: str) -> cache.Arrays:
        """(images uint8 [N, H, W, C], labels int32 [N]) from the decoded cache or the records."""
        shards = self.shards(split)
        try:  # the shards and, in features.json, how to read them
            key = cache.key([*shards, self.path / "features.json"])
        except OSError as error:
            raise self.error(f"cannot be read: {error}") from error
        name = f"{self.dataset.name}-{self.dataset.version}-{split}-{key}"
        shape = (self.dataset.splits[split], *self.dataset.image_shape)
        return cache.fetch(name, shape, lambda: _decode(self, split))

    def shards(self, split: str) -> dict[Path, int]:
        """The files of a split, each with the number of its records; see `check` for errors."""
        if not self.path.is_dir():
            raise self.error("does not exist")
        try:
            info = json.loads((self.path / "dataset_info.json").read_text("utf-8"))
            found = f"{info['name']} {info['version']} as {info['fileFormat']}"
            entry = next((entry for entry in info["splits"] if entry["name"] == split), {})
            lengths = [int(length) for length in entry.get("shardLengths", ())]
            template = entry.get("filepathTemplate") or _TEMPLATE
        except FileNotFoundError as error:
            raise self.error("has no dataset_info.json: it was never finished") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.error(f"has an unreadable dataset_info.json ({error!r})") from error
        if found != (wanted := f"{self.dataset.name} {self.dataset.version} as array_record"):
            raise self.error(f"holds {found}, not {wanted}")
        if sum(lengths) != (count := self.dataset.splits[split]):
            raise self.error(f"has {sum(lengths)} examples in {split!r}, not {count}")
        files = [self._shard(template, split, i, len(lengths)) for i in range(len(lengths))]
        for file in (self.path / "features.json", *files):
            if not file.is_file() or not os.access(file, os.R_OK):
                raise self.error(f"has no readable {file.name}")
            if file.stat().st_size == 0:
                raise self.error(f"has an empty {file.name}")
        return dict(zip(files, lengths, strict=True))

    def _shard(self, template: str, split: str, index: int, count: int) -> Path:
        values = {
            "DATASET": self.dataset.name,
            "SPLIT": split,
            "FILEFORMAT": "array_record",
            "SHARD_INDEX": f"{index:05d}",
            "NUM_SHARDS": f"{count:05d}",
            "SHARD_X_OF_Y": f"{index:05d}-of-{count:05d}",
        }
        for field, value in values.items():
            template = template.replace(f"{{{field}}}", value)
        return self.path / template

    def open(self, split: str) -> Sequence[dict[str, Any]]:
        """TFDS's random access to a split, its images still compressed.

        TFDS's own image decoder is passed by: it prefers OpenCV, and warns where there is none.

        Raises:
            DataError: TFDS cannot open it, or features.json describes other images or classes.
        """
        import tensorflow_datasets as tfds  # slow to import, and needed for the first decoding only

        try:
            builder = tfds.builder_from_directory(self.path)
            image, label = builder.info.features["image"], builder.info.features["label"]
            found = (*image.shape, np.dtype(image.np_dtype).name, label.num_classes)
            decoders = {"image": tfds.decode.SkipDecoding()}
            source = builder.as_data_source(split, decoders=decoders)
        except Exception as error:  # TFDS raises what its parsers raise
            raise self.error(f"cannot be opened ({_first_line(error)})") from error
        wanted = (*self.dataset.image_shape, "uint8", self.dataset.num_classes)
        if found != wanted:
            raise self.error(
                f"has in features.json (height, width, channels, type, classes) {found},"
                f" not {wanted}"
            )
        return source

    def error(self, problem: str) -> DataError:
        """An error about this directory, with the commands that mend it."""
        text = f"{self.dataset.name}: {self.path} {problem}.\n"
        if self.dataset.archive is None:
            return DataError(f"{text}Name a directory that holds it with --config.data.dir=DIR.")
        command = f"python -m resnet_jax prepare {self.dataset.name} --data-dir"
        command = f"`{command} {shlex.quote(str(self.root))}`"
        if self.path.exists():  # `prepare` overwrites nothing
            command = f"Delete that directory and run {command}"
        else:
            command = f"Run {command} (or add --config.data.prepare=true)"
        return DataError(
            f"{text}{command}; if the data is elsewhere, --config.data.dir=DIR, "
            "or TFDS_DATA_DIR=DIR for any command."
        )


def _decode(directory: _Directory, split: str) -> cache.Arrays:
    """Reads and decompresses a split: 0.1 ms an image, so 5 s for 50,000.

    Serial on purpose. Threads make it slower (they wait for the interpreter), and two processes
    save less than two seconds of the one time that this runs.
    """
    dataset, source = directory.dataset, directory.open(split)
    count = dataset.splits[split]
    images = np.empty((count, *dataset.image_shape), np.uint8)
    labels = np.empty(count, np.int32)
    title = f"decoding {dataset.name} {split}, once"
    with tqdm.tqdm(total=count, desc=title, unit=" images", leave=False, disable=None) as progress:
        for first in range(0, count, _CHUNK):
            chunk = range(first, min(first + _CHUNK, count))
            try:
                for i, record in zip(chunk, source.__getitems__(chunk), strict=True):
                    images[i], labels[i] = _example(record, dataset)
            except MemoryError:
                raise
            except Exception as error:  # the libraries underneath raise what they like
                where, cause = _damage(directory, split, source, chunk, error)
                raise directory.error(f"is damaged: {where} ({_first_line(cause)})") from cause
            progress.update(len(chunk))
    return images, labels


def _example(record: dict[str, Any], dataset: Dataset) -> tuple[np.ndarray, int]:
    """Decompresses one record to (uint8 [H, W, C], label), or raises an error of any kind."""
    import PIL.Image  # only the first decoding needs it

    picture = PIL.Image.open(io.BytesIO(record["image"]))
    mode = _MODES[dataset.image_shape[-1]]
    image = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    image = image.reshape(*image.shape[:2], -1)
    if image.shape != dataset.image_shape:
        raise ValueError(f"its image has shape {image.shape}, not {dataset.image_shape}")
    if not 0 <= record["label"] < dataset.num_classes:
        raise ValueError(f"its label is {record['label']}, not 0..{dataset.num_classes - 1}")
    return image, record["label"]


def _damage(
    directory: _Directory,
    split: str,
    source: Sequence[dict[str, Any]],
    chunk: range,
    error: Exception,
) -> tuple[str, Exception]:
    """Finds the first record of `chunk` that cannot be decoded: where it lies, and its error."""
    for position in chunk:
        try:
            _example(source[position], directory.dataset)
        except Exception as cause:
            error = cause
            break
    else:  # reading the chunk failed, but did not fail again
        return f"split {split!r}, among records {chunk[0]} to {chunk[-1]}", error
    shards = directory.shards(split)
    ends = np.cumsum(list(shards.values()))
    shard = int(np.searchsorted(ends, position, side="right"))
    file, length = list(shards.items())[shard]
    return f"split {split!r}, {file.name}, record {position - int(ends[shard]) + length}", error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
