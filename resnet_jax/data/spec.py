"""What the code needs to know about a data set: one `Dataset` per file of `datasets/`."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

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
    if name not in names():
        raise ConfigError(f"data.name={name!r} is no data set; choose one of: {', '.join(names())}")
    return importlib.import_module(f"resnet_jax.data.datasets.{name}").DATASET
