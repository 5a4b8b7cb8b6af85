"""A user's own images as a data set: `data.name=folder data.dir=DIR`.

    DIR/train/CLASS/*.png, *.jpg, *.jpeg
    DIR/test/CLASS/...                     without it, a share of the training images is for testing

Images become RGB squares of `data.image_size` pixels once, and are cached. One that cannot be read is
named and left out; too many are an error.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np
import tqdm
from ml_collections import ConfigDict

from resnet_jax.data import cache, spec
from resnet_jax.data.listing import SHOWN, TEST, TRAIN, Listing, scan, shown, some, unlike
from resnet_jax.data.picture import problem
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError, DataError

_BROKEN_LABEL = -1

# Part of the cache's key; raise it when a picture is made in another way.
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Choices:
    """How a directory becomes a data set: the fields `data.*` of these names."""

    image_size: int
    test_fraction: float
    broken: float


def dataset(data: ConfigDict) -> Dataset:
    """The data set of a directory; the first time, its images are decoded.

    Args:
        data: `config.data`.

    Raises:
        ConfigError: `data.dir` or `data.image_size` is unset.
        DataError: the directory is no folder of classes, or too many images are broken.
    """
    for field, example in (("dir", "DIR"), ("image_size", "32")):
        if data[field] is None:
            raise ConfigError(
                f"config.data.name='{spec.FOLDER}' needs config.data.{field}; "
                f"add --config.data.{field}={example}"
            )
    choices = Choices(data.image_size, data.test_fraction, data.broken)
    return described(scan(Path(data.dir).expanduser().absolute(), choices.test_fraction), choices)


def of_run(run: Dataset, data: ConfigDict, dir: str | None) -> Dataset:
    """The images that are there now, preprocessed as a run did.

    Args:
        run: the data set as the run recorded it.
        data: `config.data` of the run.
        dir: the directory; None: that of the run.

    Raises:
        DataError: as for `dataset`; or the classes are others than the run's.
    """
    data = ConfigDict(data.to_dict())
    data.dir = dir or data.dir
    found = dataset(data)
    if found.classes != run.classes:
        wrong = sorted(set(found.classes) ^ set(run.classes))[:SHOWN]
        raise DataError(
            f"{data.dir} has other classes than the run was trained on ({', '.join(wrong)});\n"
            "name a directory with the same class directories"
        )
    return dataclasses.replace(found, mean=run.mean, std=run.std)


@functools.lru_cache(maxsize=4)
def described(listing: Listing, choices: Choices) -> Dataset:
    """The data set of a listing; decodes its images where the cache has none.

    Remembered within a process, which asks for it whenever it checks a config; what it depends on is
    all in the arguments.

    Raises:
        DataError: too many images are broken, or all of a class.
    """
    images, labels = _arrays(listing, choices.image_size)
    left_out = _left_out(listing, labels, choices)
    splits = np.asarray([file.split for file in listing.files])
    counts = {split: int((labels[splits == split] >= 0).sum()) for split in (TRAIN, TEST)}
    present = np.unique(labels[splits == TRAIN])
    for label, name in enumerate(listing.classes):
        if label not in present:
            raise unlike(listing.root, f"has no readable training image of class {shown(name)}")
    if not counts[TEST]:
        raise unlike(listing.root, "has no readable image for testing")
    mean, std = _statistics(images[(splits == TRAIN) & (labels >= 0)])
    size = choices.image_size
    return Dataset(
        name=spec.FOLDER,
        image_shape=(size, size, 3),
        classes=listing.classes,
        mean=mean,
        std=std,
        splits=counts,
        load=functools.partial(_load, listing, size),
        left_out=left_out,
        notes=_notes(listing, left_out, labels[splits == TEST]),
        names=functools.partial(_names, listing, size),
    )


def _load(listing: Listing, size: int, split: str) -> cache.Arrays:
    """One split, without what is broken."""
    images, labels = _arrays(listing, size)
    chosen = np.asarray([file.split == split for file in listing.files]) & (labels >= 0)
    return images[chosen], labels[chosen]


def _names(listing: Listing, size: int, split: str) -> list[str]:
    """The files of one split, without what is broken."""
    labels = _arrays(listing, size)[1]
    return [
        file.name
        for file, label in zip(listing.files, labels, strict=True)
        if file.split == split and label != _BROKEN_LABEL
    ]


def _arrays(listing: Listing, size: int) -> cache.Arrays:
    """All images in the order of the listing; the label of a broken one is -1.

    The cache knows them as broken too, but they are tried again: a disk may have failed for a moment.
    """
    files = [(f.name, f.split, f.label, f.size, f.modified) for f in listing.files]
    text = repr((_FORMAT, listing.classes, files, size))
    key = hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=16).hexdigest()
    shape = (len(files), size, size, 3)
    images, labels = cache.fetch(f"{spec.FOLDER}-{key}", shape, lambda: _decode(listing, size))
    for number in np.flatnonzero(labels == _BROKEN_LABEL):
        file = listing.files[number]
        if problem(listing.root / file.name, size, images[number]) is None:
            labels[number] = file.label
    return images, labels


def _decode(listing: Listing, size: int) -> cache.Arrays:
    """Decodes all images, in threads: Pillow's decoders do not hold the interpreter."""
    images = np.zeros((len(listing.files), size, size, 3), np.uint8)
    labels = np.full(len(listing.files), _BROKEN_LABEL, np.int32)

    def one(number: int) -> None:
        file = listing.files[number]
        if problem(listing.root / file.name, size, images[number]) is None:
            labels[number] = file.label

    numbers = range(len(listing.files))
    title = f"decoding {listing.root.name}, once"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = pool.map(one, numbers)
        for _ in tqdm.tqdm(done, title, len(numbers), unit=" images", leave=False, disable=None):
            pass
    return images, labels


def _left_out(listing: Listing, labels: np.ndarray, choices: Choices) -> tuple[str, ...]:
    """Every broken image with its reason.

    Raises:
        DataError: they are more than the share that is allowed.
    """
    broken = [listing.files[i].name for i in np.flatnonzero(labels == _BROKEN_LABEL)]
    count, total = len(broken), len(listing.files)
    if count > choices.broken * total:
        first = _named(listing.root, broken[:SHOWN], choices.image_size)
        more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
        raise DataError(
            f"{listing.root}: {count:,} of {total:,} images cannot be read: {'; '.join(first)}{more};\n"
            "mend or remove them, or allow for them: --config.data.broken="
            f"{min(0.99, count / total + 0.01):.2f} (for `prepare`, --broken)"
        )
    return _named(listing.root, broken, choices.image_size)


def _named(root: Path, names: list[str], size: int) -> tuple[str, ...]:
    return tuple(f"{shown(name)} ({problem(root / name, size)})" for name in names)


def _notes(listing: Listing, left_out: tuple[str, ...], test_labels: np.ndarray) -> tuple[str, ...]:
    """What a person should know, a line each."""
    others = tuple(map(shown, listing.others))
    notes = []
    if left_out:
        what = f"{len(left_out):,} of {len(listing.files):,} images cannot be read and are left out"
        notes.append(f"{what}: {some(left_out)}")
    if others:
        notes.append(f"no .png, .jpg or .jpeg and not read: {some(others)}")
    untested = set(range(len(listing.classes))) - set(test_labels.tolist())
    if untested:
        names = tuple(shown(listing.classes[label]) for label in sorted(untested))
        notes.append(f"no image for testing of the class {some(names)}")
    return tuple(notes)


def _statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images scaled to 0..1, exact to 6 digits."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., 0].size
        mean = float((share * values).sum())
        deviation = float(np.sqrt((share * (values - mean) ** 2).sum()))
        means.append(round(mean, 6))
        deviations.append(round(max(deviation, 1 / 255), 6))  # a channel may be constant
    return tuple(means), tuple(deviations)
