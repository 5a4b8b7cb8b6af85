"""Which images a directory of classes holds, and which of them are for testing; none is opened."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from resnet_jax.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Of images, in lower or upper case."""

TRAIN, TEST = "train", "test"


@dataclasses.dataclass(frozen=True)
class File:
    """An image file: its name below the directory, where it belongs, and what shows a change."""

    name: str
    split: str
    label: int
    size: int
    modified: int  # nanoseconds


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a directory holds.

    Attributes:
        root: the directory.
        classes: names, sorted; a label is the place of one.
        files: the images, by split, class and name.
        others: names of what lies beside images and is none.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[File, ...]
    others: tuple[str, ...]


def scan(root: Path, test_fraction: float) -> Listing:
    """Lists the images of a directory, without opening them.

    Args:
        root: the directory.
        test_fraction: share of each class's images that are for testing, if there is no `test`: those
            whose names have the smallest hashes, so that more images move few of the others.

    Raises:
        DataError: it cannot be read, or has no classes, or one without images.
    """
    try:
        classes = tuple(sorted(_directories(root / TRAIN))) if (root / TRAIN).is_dir() else ()
        if len(classes) < 2:
            raise unlike(root, f"has {len(classes)} class directories in {root / TRAIN}")
        files, others = [], _strays(root, TRAIN)
        for label, name in enumerate(classes):
            found = _images(root, TRAIN, name, label, others)
            if not found:
                raise unlike(root, f"has no images in {root / TRAIN / name}")
            files += found
        if (root / TEST).is_dir():
            others += _strays(root, TEST)
            files += _test_files(root, classes, others)
        else:
            files = _split(files, test_fraction)
    except OSError as error:
        raise DataError(
            f"{root} cannot be read: {error.strerror};\nmend it, or name another directory in data.dir"
        ) from error
    if not any(file.split == TEST for file in files):
        raise DataError(
            f"{root} has no images for testing; put some into {root / TEST}/CLASS,\n"
            "or set a share of the training images aside: data.test_fraction=0.2"
        )
    files.sort(key=lambda file: (file.split, file.label, file.name))
    return Listing(root, classes, tuple(files), tuple(others))


def unlike(root: Path, problem: str) -> DataError:
    """An error about a directory that is no folder of classes."""
    expected = f"{TRAIN}/CLASS/*.png or *.jpg for two classes or more"
    if not root.is_dir():
        problem = "is no directory"
    return DataError(f"{root} {problem};\nexpected DIR/{expected}; name DIR in data.dir")


def _directories(path: Path) -> list[str]:
    return [e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith(".")]


def _strays(root: Path, split: str) -> list[str]:
    """What lies beside the class directories."""
    entries = (e for e in os.scandir(root / split) if not e.is_dir())
    return sorted(f"{split}/{e.name}" for e in entries if not e.name.startswith("."))


def _images(root: Path, split: str, name: str, label: int, others: list[str]) -> list[File]:
    """The images of a class; appends to `others` what is none."""
    found = []
    for entry in sorted(os.scandir(root / split / name), key=lambda e: e.name):
        below = f"{split}/{name}/{entry.name}"
        if entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            status = entry.stat()
            found.append(File(below, split, label, status.st_size, status.st_mtime_ns))
        elif not entry.name.startswith("."):
            others.append(below)
    return found


def _test_files(root: Path, classes: tuple[str, ...], others: list[str]) -> list[File]:
    names = sorted(_directories(root / TEST))
    if unknown := [name for name in names if name not in classes]:
        raise DataError(
            f"{root / TEST} has a class that {root / TRAIN} lacks: {shown(unknown[0])};\n"
            "give both the same class directories"
        )
    return [
        file for name in names for file in _images(root, TEST, name, classes.index(name), others)
    ]


def _split(files: list[File], fraction: float) -> list[File]:
    """Sets a share of each class aside for testing; at least one image stays on each side."""

    def rank(file: File) -> bytes:
        below = file.name.partition("/")[2]
        return hashlib.blake2b(os.fsencode(below), digest_size=8).digest()

    by_class: dict[int, list[File]] = {}
    for file in files:
        by_class.setdefault(file.label, []).append(file)
    parts = []
    for own in by_class.values():
        count = round(fraction * len(own)) if fraction else 0
        if fraction and len(own) > 1:
            count = min(max(count, 1), len(own) - 1)
        ranked = sorted(own, key=rank)
        parts += [dataclasses.replace(file, split=TEST) for file in ranked[:count]]
        parts += ranked[count:]
    return parts


SHOWN = 5
"""Of many names, as many are written."""


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more


def shown(name: str) -> str:
    """A file name that any terminal can print, on one line."""
    printable = name.encode(errors="backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in printable)
