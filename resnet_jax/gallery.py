"""Images with what is said of them, as one picture."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax import figure as pictures

MOST = 200
"""Images in one picture: more than anybody looks at."""

_COLUMNS = 8

# Letters of a caption that fit below an image.
_LETTERS = 24

# Inches.
_SIDE, _GAP, _LINE, _TITLE, _TITLE_WIDTH = 1.5, 0.1, 0.16, 0.4, 4.5


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """An image with its caption.

    Attributes:
        pixels: uint8 [H, W, C].
        caption: a few lines, of which so much is drawn as fits below the image.
    """

    pixels: np.ndarray
    caption: str


def draw(exhibits: Sequence[Exhibit], title: str, out: Path) -> None:
    """Draws the images in rows, each above its caption.

    Raises:
        ConfigError: `out` is no png, svg or pdf.
        WorkdirError: `out` cannot be written.
    """
    pictures.check(out)
    pictures.save(_figure(exhibits, title), out)


def _figure(exhibits: Sequence[Exhibit], title: str) -> Any:
    from matplotlib.figure import Figure

    # Placed by hand: a layout engine takes seconds for a hundred cells.
    columns = min(_COLUMNS, len(exhibits))
    rows = math.ceil(len(exhibits) / columns)
    tall = max(exhibit.caption.count("\n") + 1 for exhibit in exhibits)
    across, down = _SIDE + _GAP, _SIDE + _GAP + tall * _LINE
    width, height = max(_GAP + columns * across, _TITLE_WIDTH), _TITLE + rows * down + _GAP
    figure = Figure(figsize=(width, height))
    title = pictures.plain(title, max(30, int(12 * width)))
    figure.text(0.5, 1 - _TITLE / 2 / height, title, ha="center", va="center", fontsize=11)
    left = (width - columns * across + _GAP) / 2
    for number, exhibit in enumerate(exhibits):
        row, column = divmod(number, columns)
        x, y = left + column * across, height - _TITLE - row * down - _SIDE
        axes = figure.add_axes((x / width, y / height, _SIDE / width, _SIDE / height))
        grey = exhibit.pixels.shape[-1] == 1
        pixels = exhibit.pixels[..., 0] if grey else exhibit.pixels
        colors = {"cmap": "gray", "vmin": 0, "vmax": 255} if grey else {}
        axes.imshow(pixels, interpolation="nearest", **colors)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(linewidth=0.3, color="0.5")  # a white image would have no end
        lines = [pictures.plain(line, _LETTERS) for line in exhibit.caption.splitlines()]
        axes.set_xlabel("\n".join(lines), fontsize=8)
    return figure
