"""A confusion matrix as a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax import figure as pictures
from resnet_jax.confusion import Confusion

MOST_NUMBERS, MOST_NAMES = 25, 100
"""Classes up to which there is room for counts, and for names."""

_LETTERS = 20


def draw(confusion: Confusion, title: str, out: Path) -> None:
    """Draws a row for each class, whose cells are shares of its images, with their counts.

    Args:
        confusion: classes without images and predictions are left out.
        title: above the picture.
        out: picture to write.

    Raises:
        ConfigError: `out` is no png, svg or pdf.
        WorkdirError: `out` cannot be written.
    """
    pictures.check(out)
    used = np.flatnonzero(confusion.counts.sum(0) + confusion.counts.sum(1))
    counts = confusion.counts[np.ix_(used, used)]
    pictures.save(_figure(counts, [confusion.classes[label] for label in used], title), out)


def _figure(counts: np.ndarray, names: list[str], title: str) -> Any:
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    classes = len(names)
    # Room for each class's name or number, from as little as a picture needs up to a sheet of paper.
    side = min(4 + 0.45 * classes, 18)
    figure = Figure(figsize=(side + 1.6, side), layout="compressed")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # On a linear scale what is confused would be white beside the diagonal.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="Blues", norm=norm)
    axes.set(xlabel="taken for", ylabel="class", title=pictures.plain(title, int(9 * side)))
    if classes > MOST_NAMES:
        axes.set(xlabel="taken for, by number from 0", ylabel="class, by number from 0")
    else:
        size = 10 if classes <= MOST_NUMBERS else 10 * MOST_NUMBERS / classes
        names = [pictures.plain(name, _LETTERS) for name in names]
        longest = max(map(len, names))
        upright = longest > 8 or (classes > 6 and longest > 3)
        axes.set_xticks(range(classes), names, rotation=90 if upright else 0, fontsize=size)
        axes.set_yticks(range(classes), names, fontsize=size)
    if classes <= MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if norm(shares[row, column]) > 0.6 else "black"
                axes.text(
                    column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=8
                )
    bar = figure.colorbar(image, ax=axes, shrink=0.7, label="share of the class's images")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return figure
