"""Preparing a TFDS directory from a data set's archive, without TensorFlow.

Name, version, features, example keys and files are those of TFDS's own builder, so the records
are in TFDS's order, and what either of the two has prepared serves both.
"""

import contextlib
import io
import math
import os
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tqdm import tqdm

from resnet_jax.data import source
from resnet_jax.data.download import download, verify
from resnet_jax.data.spec import Archive, Dataset
from resnet_jax.errors import ConfigError, DataError

_FORMAT = "array_record"  # the file format of TFDS with random access that needs no TensorFlow


def prepare(dataset: Dataset, data_dir: Path, archive_file: Path | None = None) -> Path:
    """Prepares `dataset` in `data_dir`, unless that has been done.

    Args:
        dataset: what to prepare.
        data_dir: the TFDS data directory; made if it does not exist.
        archive_file: a local copy of the archive, read instead of
            `data_dir/downloads/<file name>`, to which the archive is downloaded otherwise.

    Returns:
        `data_dir/<name>/<version>`, which exists only when it is complete.

    Raises:
        ConfigError: the data set is embedded in an installed package.
        DataError: the archive cannot be downloaded, is another file or is damaged; `data_dir`
            cannot be written, is full, or holds an unusable copy of the data set.
    """
    directory = _directory(dataset, data_dir)
    if is_prepared(dataset, data_dir):
        print(f"{dataset.name} is already prepared in {directory}", file=sys.stderr)
        return directory
    if archive_file is not None:
        verify(dataset.archive, archive_file)
    downloaded = data_dir / "downloads" / Path(dataset.archive.url).name
    needed = dataset.archive.size if archive_file is None and not downloaded.exists() else 0
    write(dataset, data_dir, lambda: archive_file or download(dataset.archive, downloaded), needed)
    return directory


def write(
    dataset: Dataset, data_dir: Path, archive_file: Callable[[], Path], needed: int = 0
) -> None:
    """Writes `data_dir/<name>/<version>`, which then exists only as a whole.

    Args:
        dataset: what to write; the examples are those of its archive.
        data_dir: made if it does not exist.
        archive_file: returns the file, or whatever the archive's `examples` take.
        needed: bytes, beyond the decoded size, that must be free.

    Raises:
        DataError: `data_dir` cannot be written or is full; or what `archive_file` raises.
    """
    directory = _directory(dataset, data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _check_space(dataset, data_dir, needed)
        _write(dataset, data_dir, archive_file())
    except OSError as error:
        # Another process may have prepared the same directory meanwhile.
        if not is_prepared(dataset, data_dir):
            raise _unwritable(data_dir, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            directory.parent.rmdir()  # succeeds only where nothing was prepared


def is_prepared(dataset: Dataset, data_dir: Path) -> bool:
    """Whether `prepare` has nothing to do.

    Raises:
        ConfigError: the data set is embedded in an installed package.
        DataError: the directory exists but is not what `prepare` would write; see `source.check`.
    """
    if dataset.archive is None:
        raise ConfigError(
            f"{dataset.name} is embedded in an installed package: there is nothing to prepare"
        )
    if not os.path.exists(_directory(dataset, data_dir)):  # False also where it may not be seen
        return False
    source.check(dataset, str(data_dir))
    return True


def _directory(dataset: Dataset, data_dir: Path) -> Path:
    return data_dir / dataset.name / str(dataset.version)


def _unwritable(data_dir: Path, reason: str) -> DataError:
    return DataError(
        f"cannot prepare in {data_dir}: {reason}\n"
        "free some space or choose another directory with --data-dir DIR"
    )


def _check_space(dataset: Dataset, data_dir: Path, needed: int) -> None:
    """Asks for the decoded size, of which PNG records take three quarters, and `needed` bytes."""
    needed += sum(dataset.splits.values()) * math.prod(dataset.image_shape)
    free = shutil.disk_usage(data_dir).free
    if free < needed:
        reason = f"{free / 1e6:,.0f} MB are free, about {needed / 1e6:,.0f} MB are needed"
        raise _unwritable(data_dir, reason)


def _write(dataset: Dataset, data_dir: Path, archive_file: Path) -> None:
    """Lets TFDS write the directory: under another name, which it changes at the end."""
    builder = _builder_class(dataset, archive_file)(data_dir=data_dir, file_format=_FORMAT)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    # Left to itself, TFDS makes a directory for the downloads that it is not asked to do.
    with tempfile.TemporaryDirectory() as unused, _quiet():
        try:
            builder.download_and_prepare(download_dir=unused, download_config=config)
        except RuntimeError as error:  # array_record's for a disk that is full
            raise OSError(str(error).split(";")[0]) from error


class _Info(tfds.core.DatasetInfo):
    """Never asks the network what is known of the data set: without one, that takes minutes."""

    def initialize_from_bucket(self) -> None:
        return


def _builder_class(dataset: Dataset, archive_file: Path) -> type[tfds.core.GeneratorBasedBuilder]:
    # Not registered: TFDS has a builder of the same name.
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset.name
        VERSION = tfds.core.Version(dataset.version)

        def _info(self) -> tfds.core.DatasetInfo:
            return _Info(
                builder=self,
                description=dataset.description,
                features=tfds.features.FeaturesDict(
                    {
                        "id": tfds.features.Text(),
                        "image": _image_feature(dataset),
                        "label": tfds.features.ClassLabel(names=dataset.classes),
                    }
                ),
                supervised_keys=("image", "label"),
                homepage=dataset.homepage,
                citation=dataset.citation,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in dataset.splits}

        def _generate_examples(self, split):
            return _examples(dataset, archive_file, split)

    return Builder


def _image_feature(dataset: Dataset) -> tfds.features.Image:
    # TFDS's own cifar10 names no encoding.
    named = {} if dataset.archive.encoding == "png" else {"encoding_format": "jpeg"}
    return tfds.features.Image(shape=dataset.image_shape, **named)


def _examples(dataset: Dataset, path: Path, split: str) -> Iterator[tuple[int | str, dict]]:
    """The examples of one split with their keys: TFDS sorts records by a hash of the key."""
    expected, archive = dataset.splits[split], dataset.archive
    position = 0
    with tqdm(
        desc=f"{dataset.name} {split}", total=expected, unit=" images", disable=None
    ) as progress:
        for name, identifier, image, label in _read(archive, path):
            if name == split:
                key = identifier if archive.keys == "id" else position
                stored = _encoded(image, archive.encoding)
                yield key, {"id": identifier, "image": stored, "label": label}
                position += 1
                progress.update()
    if position != expected:
        raise DataError(f"{path} has {position:,} {split} examples instead of {expected:,}")


def _read(archive: Archive, path: Path) -> Iterator[tuple[str, str, np.ndarray, int]]:
    """`archive.examples`, with a damaged file as a `DataError`."""
    try:
        yield from archive.examples(path)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {error}\nexpected the file published as {archive.url}"
        ) from error


def _encoded(image: np.ndarray, encoding: str) -> io.BytesIO:
    """TFDS needs TensorFlow to encode pixels, not to store an encoded file."""
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, encoding)
    buffer.seek(0)
    return buffer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS prints to stdout, which belongs to the command's answer, and draws its own bars."""
    tfds.display_progress_bar(enable=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(enable=True)
