"""A part of the training images that has every class in its proportion."""

import numpy as np

from resnet_jax.data.order import images_at_numpy
from resnet_jax.data.source import Examples
from resnet_jax.errors import ConfigError


def size(images: int, fraction: float) -> int:
    """Images in a fraction of `images`; `take` takes so many."""
    return images if fraction == 1 else round(images * fraction)


def take(examples: Examples, fraction: float, seed: int) -> Examples:
    """Draws a fraction of the images, stratified by class, the same ones for the same seed.

    The images of each class are put in a random order, and the one at place r of n stands at
    (r + 1/2) / n, the first at 0; what stands furthest in front is taken. So each class has its share
    but for an image, none goes empty, and a smaller fraction is a part of a larger one.

    Args:
        examples: without those held out.
        fraction: above 0, at most 1.
        seed: of the draw; not that of the run.

    Returns:
        the part, in the original order.

    Raises:
        ConfigError: it has fewer images than there are classes.
    """
    if fraction == 1:
        return examples
    count, classes = size(len(examples), fraction), len(np.unique(examples.labels))
    if count < classes:
        raise ConfigError(too_few(fraction, count, classes))
    order = images_at_numpy(seed, np.arange(len(examples)), len(examples))
    place = np.empty(len(examples))
    for label in np.unique(examples.labels):
        own = order[examples.labels[order] == label]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
        place[own[0]] = 0
    drawn = order[np.argsort(place[order], kind="stable")[:count]]
    chosen = np.sort(drawn)
    return Examples(examples.images[chosen], examples.labels[chosen])


def too_few(fraction: float, count: int, classes: int) -> str:
    """The message about a fraction that has no image for some class."""
    return (
        f"config.data.fraction={fraction:g} leaves {count} images for {classes} classes; "
        "write one that leaves at least one image each"
    )
