"""What the code needs to know about a data set: one `Dataset` per file of `datasets/`."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from resnet_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Archive:
    """The published file that a data set is prepared from.

    Attributes:
        url: where it is downloaded.
        sha256: hexadecimal digest of the file.
        size: its length in bytes.
        examples: `path -> iterator of (split, id, image uint8 [H, W, C], label)`, in the archive's order.
        encoding: of the images as they are stored: png, which loses nothing, or jpeg.
        keys: by whose hash TFDS sorts the records: the example's `position` in its split, or its `id`.
    """

    url: str
    sha256: str
    size: int
    examples: Callable[[Path], Iterator[tuple[str, str, np.ndarray, int]]]
    encoding: str = "png"
    keys: str = "position"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A labelled image data set.

    Attributes:
        name: its name in configs and, where it has a `version`, in TFDS.
        image_shape: (height, width, channels).
        classes: class names in label order.
        mean, std: per channel, of the training images scaled to 0..1.
        splits: number of examples by split; `train` and the split `test_split` are among them.
        test_split: the split that is evaluated once, at the end of a run; results call it test,
            whatever its name. Images that `data.validation` holds out are of `train`.
        version: TFDS version; `None` for a data set that is embedded in an installed package.
        homepage, description, citation: written into TFDS's `dataset_info.json`.
        archive: what `prepare` reads; `None` where there is nothing to prepare.
        load: for embedded data sets, `split -> (uint8 [N, H, W, C], int32 [N])`.
        left_out: images that cannot be read, each with the reason.
        notes: what a person should know before a run, a line each.
        names: of a folder, `split -> the file of each image`.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: Mapping[str, int]
    test_split: str = "test"
    version: str | None = None
    homepage: str = ""
    description: str = ""
    citation: str = ""
    archive: Archive | None = None
    load: Callable[[str], tuple[np.ndarray, np.ndarray]] | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    names: Callable[[str], list[str]] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.classes)


NONE = "none"
"""What `data.name` is in a workdir of converted weights whose data set is none of `datasets/`."""


def _weights_only() -> Dataset:
    """Stands for that data set; size, classes and statistics are ImageNet's unless a workdir says."""
    return Dataset(
        name=NONE,
        image_shape=(224, 224, 3),
        classes=tuple(map(str, range(1000))),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        splits={"train": 1, "test": 1},
    )


FOLDER = "folder"
"""What `data.name` is for a user's own images in `data.dir`."""


def of(data: ConfigDict) -> Dataset:
    """The data set that `config.data` describes.

    Raises:
        ConfigError: there is none of that name.
        DataError: a folder is none; see `folder.dataset`.
    """
    if data.name != FOLDER:
        return get(data.name)
    from resnet_jax.data import folder  # imports this module

    return folder.dataset(data)


def recorded(versions: Mapping[str, Any], data: ConfigDict) -> Dataset | None:
    """The data set of a folder as a run recorded it, whatever the directory holds now.

    Args:
        versions: the part `data` of the run's `versions.json`.
        data: `config.data` of the run.

    Returns:
        None if the run has no folder, or has not begun.
    """
    known = {"image_shape", "class_names", "mean", "std", "splits", "left_out"}
    if data.name != FOLDER or not known <= versions.keys():
        return None
    return Dataset(
        name=FOLDER,
        image_shape=tuple(versions["image_shape"]),
        classes=tuple(versions["class_names"]),
        mean=tuple(versions["mean"]),
        std=tuple(versions["std"]),
        splits=versions["splits"],
        load=lambda split: of(data).load(split),
        left_out=tuple(versions["left_out"]),
    )


def names() -> list[str]:
    """The data sets that `data.name` may name: the files of `datasets/`."""
    package = importlib.import_module("resnet_jax.data.datasets")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def get(name: str) -> Dataset:
    """The data set called `name`.

    Raises:
        ConfigError: no file of `datasets/` has that name.
    """
    if name == NONE:
        return _weights_only()
    if name == FOLDER:
        raise ConfigError(f"data.name={name!r} stands for a directory of images; name data.dir too")
    if name not in names():
        raise ConfigError(f"data.name={name!r} is no data set; choose one of: {', '.join(names())}")
    return importlib.import_module(f"resnet_jax.data.datasets.{name}").DATASET
