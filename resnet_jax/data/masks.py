"""Parts of an image that are hidden: cutout and random erasing."""

import jax
import jax.numpy as jnp

from resnet_jax.data.colour import Colours

_ASPECT = 0.3
"""The flattest rectangle that is erased, height over width, and one over it the steepest."""


def inside(
    shape: tuple[int, int], top: jax.Array, left: jax.Array, height: jax.Array, width: jax.Array
) -> jax.Array:
    """Which pixels lie in a rectangle that may reach over the edge: bool [H, W]."""
    rows, columns = jnp.arange(shape[0]) - top, jnp.arange(shape[1]) - left
    in_rows, in_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return in_rows[:, None] & in_columns


def cutout(images: jax.Array, keys: jax.Array, pixels: int) -> jax.Array:
    """Masks a square that may reach over the edge (DeVries & Taylor 2017, arXiv 1708.04552, section 3)."""
    height, width = images.shape[1:3]

    def square(key: jax.Array) -> jax.Array:
        row_key, column_key = jax.random.split(key)
        top = jax.random.randint(row_key, (), 0, height) - pixels // 2
        left = jax.random.randint(column_key, (), 0, width) - pixels // 2
        return inside((height, width), top, left, pixels, pixels)

    mask = jax.vmap(square)(keys)[..., None]
    return jnp.where(mask, jnp.zeros((), images.dtype), images)


def erase(
    images: jax.Array,
    keys: jax.Array,
    probability: float,
    smallest: float,
    largest: float,
    colours: Colours,
) -> jax.Array:
    """Fills a rectangle with random colours (Zhong et al. 2017, arXiv 1708.04896, algorithm 1).

    The paper draws area and aspect until the rectangle fits; here one that does not is cut to the
    image's size, so that no loop waits for the last image of a batch.
    """
    height, width, channels = images.shape[1:]

    def rectangle(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 5)
        area = jax.random.uniform(keys[0], minval=smallest, maxval=largest) * (height * width)
        aspect = jax.random.uniform(keys[1], minval=_ASPECT, maxval=1 / _ASPECT)
        tall = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height).astype(jnp.int32)
        wide = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width).astype(jnp.int32)
        top = jax.random.randint(keys[2], (), 0, height - tall + 1)
        left = jax.random.randint(keys[3], (), 0, width - wide + 1)
        happens = jax.random.uniform(keys[4]) < probability
        return inside((height, width), top, left, tall, wide) & happens

    def noise(key: jax.Array) -> jax.Array:
        # Four random bytes at a time, which costs a quarter of a number for each of them.
        count = height * width * channels
        words = jax.random.bits(jax.random.fold_in(key, 5), (-(-count // 4),), jnp.uint32)
        parts = (words[:, None] >> jnp.arange(0, 32, 8, dtype=jnp.uint32)) & jnp.uint32(255)
        return parts.reshape(-1)[:count].reshape(height, width, channels)

    mask = jax.vmap(rectangle)(keys)[..., None]
    filling = colours.normalised(jax.vmap(noise)(keys).astype(jnp.float32))
    return jnp.where(mask, filling.astype(images.dtype), images)
