"""What augmentation makes of training images: a grid of images by epochs, as a run would see them."""

import dataclasses
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from resnet_jax import atomic, sharding
from resnet_jax.data import pipeline, source, spec
from resnet_jax.data.colour import Colours
from resnet_jax.data.order import images_at_numpy
from resnet_jax.errors import ConfigError

MAX_CELLS = 1000
"""Of a picture: more than anybody looks at."""

_LEAST_SIDE, _GAP, _TITLE, _LINE, _NAME = 72, 6, 18, 12, 96


@dataclasses.dataclass(frozen=True)
class Grid:
    """Images by epochs.

    Attributes:
        originals: uint8 [images, H, W, C].
        draws: uint8 [images, epochs, H, W, C].
        names: of the classes of the originals.
        targets: the share of each class in each draw, float32 [images, epochs, classes].
        classes: all names.
    """

    originals: np.ndarray
    draws: np.ndarray
    names: tuple[str, ...]
    targets: np.ndarray
    classes: tuple[str, ...]


def draw(config: ConfigDict, images: int, epochs: int) -> Grid:
    """The first images that a run sees, in each of its first epochs.

    Args:
        config: validated.
        images: how many.
        epochs: how many.

    Raises:
        ConfigError: more than there are, or than a picture can hold.
        DataError: the data is missing or damaged.
    """
    dataset = spec.of(config.data)
    source.check(dataset, config.data.dir)
    examples = source.load(dataset, "train", config.data.dir)
    examples, _ = pipeline.hold_out(examples, config.data.validation)
    size = len(examples)
    if not 1 <= images <= size or epochs < 1 or images * epochs > MAX_CELLS:
        raise ConfigError(
            f"--images {images} --epochs {epochs}: expected at least 1 of each, at most the {size:,} "
            f"training images, and at most {MAX_CELLS} cells"
        )
    orders = [
        images_at_numpy(config.seed, np.arange(epoch * size, (epoch + 1) * size), size)
        for epoch in range(epochs)
    ]
    chosen = orders[0][:images]
    # An epoch shows every image once: where its order has it is the position that draws for it.
    positions = np.stack([np.argsort(order)[chosen] for order in orders], 1)
    positions += np.arange(epochs) * size
    mesh = sharding.make_mesh(sharding.all_devices()[:1])
    batches = pipeline.Batches.create(dataset, config.augment, mesh)
    placed = pipeline.place(examples, mesh)
    seen, labels = jax.jit(batches.train)(
        placed, jnp.uint32(config.seed), jnp.asarray(positions.ravel(), jnp.uint32)
    )
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, dataset.num_classes)
    pixels = jnp.clip(jnp.round(Colours(dataset.mean, dataset.std).of(seen)), 0, 255)
    grid = (images, epochs)
    return Grid(
        examples.images[chosen],
        np.asarray(pixels).astype(np.uint8).reshape(*grid, *dataset.image_shape),
        tuple(dataset.classes[label] for label in examples.labels[chosen]),
        np.asarray(labels).reshape(*grid, -1),
        dataset.classes,
    )


def caption(grid: Grid, image: int, epoch: int) -> str:
    """The classes of a draw with their shares in percent, the greatest first: `cat 70, dog 30`."""
    mixed = _mixed(grid, image, epoch)
    if len(mixed) == 1:
        return mixed[0][0]
    return ", ".join(f"{name} {percent}" for name, percent in mixed)


def _mixed(grid: Grid, image: int, epoch: int) -> list[tuple[str, int]]:
    """The classes of a draw with their shares in percent, the greatest first."""
    target = grid.targets[image, epoch]
    order = [label for label in np.argsort(-target, kind="stable") if target[label] >= 0.005]
    return [(grid.classes[label], round(100 * float(target[label]))) for label in order]


def png(grid: Grid) -> bytes:
    """The grid as a PNG: a row an image, the original first; small images enlarged."""
    from PIL import Image, ImageDraw, ImageFont

    images, epochs = grid.draws.shape[:2]
    height, width = grid.originals.shape[1:3]
    factor = max(1, -(-_LEAST_SIDE // min(height, width)))
    wide, tall = width * factor, height * factor
    cells = [(row, column) for row in range(images) for column in range(epochs)]
    lines = max(len(_mixed(grid, *cell)) for cell in cells)
    across, down = wide + _GAP, tall + _TITLE + (lines - 1) * _LINE
    size = (_NAME + across * (epochs + 1), _TITLE + down * images)
    canvas = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)

    def text(x: int, y: int, words: str, room: int) -> None:
        while words and pen.textlength(words, font) > room:
            words = words[:-1]
        pen.text((x, y), words, "black", font)

    for column in range(epochs + 1):
        title = "as it is" if column == 0 else f"epoch {column}"
        text(_NAME + across * column, 2, title, across - 2)
    for row in range(images):
        top = _TITLE + down * row
        text(4, top + tall // 2 - 6, grid.names[row], _NAME - 8)
        for column in range(epochs + 1):
            pixels = grid.originals[row] if column == 0 else grid.draws[row, column - 1]
            cell = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
            cell = cell.convert("RGB").resize((wide, tall), Image.Resampling.NEAREST)
            left = _NAME + across * column
            canvas.paste(cell, (left, top))
            mixed = _mixed(grid, row, column - 1) if column else []
            # The share first: what is too long is cut at its end.
            own = [name for name, _ in mixed] == [grid.names[row]]
            for line, (name, percent) in enumerate([] if own else mixed):
                text(left, top + tall + 1 + line * _LINE, f"{percent} {name}", across - 2)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def write(grid: Grid, path: Path) -> None:
    """Writes the PNG.

    Raises:
        WorkdirError: it cannot be written.
    """
    atomic.write(path, png(grid), "--out")
