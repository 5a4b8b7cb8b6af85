"""One image file as a square of pixels."""

from pathlib import Path
from typing import Any

import numpy as np


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
