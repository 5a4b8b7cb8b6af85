"""One image file as a square of pixels."""

from pathlib import Path
from typing import Any

import numpy as np


def problem(path: Path, size: int, into: np.ndarray | None = None) -> str | None:
    """Decodes an image as `picture` does, and says in words why that is not possible.

    Args:
        path: of the image.
        size: pixels.
        into: uint8 [size, size, 3], or of one channel, which the luminance then fills.

    Returns:
        None if it is possible.
    """
    try:
        image = picture(path, size)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises what its decoders raise
        words = (str(error) or type(error).__name__).splitlines()[0]
        return "no image" if words.startswith("cannot identify") else words
    if into is not None:
        into[:] = grey(image) if into.shape[-1] == 1 else image
    return None


def picture(path: Path, size: int) -> np.ndarray:
    """An image as uint8 [size, size, 3]: the largest square in its middle, resized (bicubic).

    Cameras' orientation is applied, transparency is laid on white, grey becomes RGB, and of 16 bits
    the upper 8 are kept. An image of that size stays as it is.

    Raises:
        Exception: of any kind, Pillow's.
    """
    from PIL import Image, ImageOps  # only the first decoding of a data set needs it

    with Image.open(path) as opened:
        opened.load()
        image: Any = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("it has 32 bits a pixel")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    return np.asarray(ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC))


def grey(pixels: np.ndarray) -> np.ndarray:
    """The luminance of RGB, uint8 [H, W, 1] of [H, W, 3] (ITU-R BT.601, as Pillow weighs the channels)."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
