"""Image files that a user names, as the pixels that a network was trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnet_jax.data.listing import SUFFIXES, shown, some
from resnet_jax.data.picture import problem
from resnet_jax.errors import DataError


def find(names: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files that are named, and those with an image's suffix below directories, sorted.

    Returns:
        the files, and the names of others below the directories.

    Raises:
        DataError: one does not exist, or a directory has no images.
    """
    files, others = [], []
    for name in names:
        if name.is_dir():
            everything = sorted(path for path in name.rglob("*") if path.is_file())
            below = [path for path in everything if path.suffix.lower() in SUFFIXES]
            if not below:
                raise DataError(f"{name} has no images; expected {', '.join(SUFFIXES)}")
            files += below
            others += [shown(str(p)) for p in everything if p.suffix.lower() not in SUFFIXES]
        elif name.exists():
            files.append(name)
        else:
            raise DataError(f"no image {shown(str(name))}; name a file or a directory")
    return files, others


def read(files: Sequence[Path], image_shape: tuple[int, int, int]) -> np.ndarray:
    """Images as uint8 [N, H, W, C]: the largest square in the middle of each, resized.

    Args:
        files: of any format that Pillow reads.
        image_shape: (height, width, channels) of the images that the network was trained on.

    Raises:
        DataError: some cannot be read, which it names; or the network's images are no squares.
    """
    height, width, _ = image_shape
    if height != width:
        raise DataError(
            f"the network was trained on images of {height}x{width} pixels, which image files cannot "
            "become: they are cut to squares"
        )
    images = np.zeros((len(files), *image_shape), np.uint8)
    broken = [
        f"{shown(str(file))} ({reason})"
        for file, image in zip(files, images, strict=True)
        if (reason := problem(file, height, image)) is not None
    ]
    if broken:
        raise DataError(
            f"{len(broken):,} of {len(files):,} images cannot be read: "
            f"{some(broken)};\nleave them out, or mend them"
        )
    return images
