"""RandAugment: operations drawn at random, all with one magnitude (Cubuk et al. 2019, arXiv 1909.13719).

Each image draws its own operations, so that under `vmap` every operation would be computed for every
image. Two things keep that cheap: the five that move pixels are one warp, whose map is drawn, and
the rest are arithmetic on colours that XLA fuses into one pass, but for the histogram of `equalize`.
"""

import math

import jax
import jax.numpy as jnp

from resnet_jax.data import colour, geometry
from resnet_jax.data.colour import Colours

OPERATIONS = (
    "identity",
    "auto_contrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""The fourteen of the paper, section 3."""

MAX_MAGNITUDE = 10.0
"""The end of the paper's scale."""

# At the greatest magnitude; the ranges are those of AutoAugment (arXiv 1805.09501, table 6).
_DEGREES, _SHEAR, _SHIFT, _FACTOR, _BITS = 30.0, 0.3, 150 / 331, 0.9, 4


def randaugment(
    images: jax.Array, keys: jax.Array, count: int, magnitude: float, colours: Colours
) -> jax.Array:
    """Applies `count` operations to each image, drawn with replacement.

    Args:
        images: float32 [B, H, W, C], normalised.
        keys: random keys [B].
        count: operations an image.
        magnitude: from 0 to `MAX_MAGNITUDE`.
        colours: of the normalisation.

    Returns:
        float32 [B, H, W, C].
    """
    pixels = jnp.round(colours.of(images))
    for number in range(count):
        each = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
        drawn = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * len(OPERATIONS)))(each)
        signs = jnp.where(drawn[:, 1] % 2 == 0, 1.0, -1.0)
        pixels = operate(pixels, drawn[:, 0] // 2, signs, magnitude / MAX_MAGNITUDE, colours.fill())
    return colours.normalised(pixels)


def operate(
    pixels: jax.Array, operations: jax.Array, signs: jax.Array, level: float, fill: jax.Array
) -> jax.Array:
    """One operation on each image.

    Args:
        pixels: whole numbers of 0..255, float32 [B, H, W, C].
        operations: int [B], indices into `OPERATIONS`.
        signs: 1 or -1, float32 [B]: to which side; whether colours become more or less.
        level: strength, 0 to 1.
        fill: what comes in from outside the image, [C].

    Returns:
        whole numbers of 0..255, float32 [B, H, W, C].
    """

    def drawn(name: str) -> jax.Array:
        return operations == OPERATIONS.index(name)

    pixels = jnp.round(geometry.warp(pixels, _maps(pixels.shape, drawn, signs, level), fill))
    grey = colour.grey(pixels)
    threshold = 256 * (1 - level)
    step = 2.0 ** round(_BITS * level)
    results = {
        "auto_contrast": colour.auto_contrast(pixels),
        "equalize": colour.equalize(pixels),
        "solarize": jnp.where(pixels < threshold, pixels, 255 - pixels),
        "posterize": jnp.floor(pixels / step) * step,
    }
    bases = {
        "color": grey,
        "contrast": colour.mean_grey(grey),
        "brightness": jnp.float32(0),
        "sharpness": colour.smooth(pixels),
    }
    # More or less of something is a blend, of which only the other end differs.
    base = pixels
    for name, other in bases.items():
        base = jnp.where(_on_images(drawn(name)), other, base)
    factors = (1 + signs * _FACTOR * level)[:, None, None, None]
    result = jnp.clip(jnp.floor(colour.blend(base, pixels, factors)), 0, 255)
    for name, other in results.items():
        result = jnp.where(_on_images(drawn(name)), other, result)
    return result


def _on_images(chosen: jax.Array) -> jax.Array:
    return chosen[:, None, None, None]


def _maps(shape: tuple[int, ...], drawn, signs: jax.Array, level: float) -> jax.Array:
    """The warp of each image; that of an operation on colours moves nothing."""
    _, height, width, _ = shape
    angle = math.radians(_DEGREES * level)

    def amount(name: str, size: float) -> jax.Array:
        return jnp.where(drawn(name), signs * size, 0.0)

    sine = amount("rotate", math.sin(angle))
    diagonal = jnp.where(drawn("rotate"), math.cos(angle), 1.0)
    return geometry.affine(
        diagonal,
        amount("shear_x", _SHEAR * level) - sine,
        amount("translate_x", _SHIFT * level * width),
        amount("shear_y", _SHEAR * level) + sine,
        diagonal,
        amount("translate_y", _SHIFT * level * height),
    )
