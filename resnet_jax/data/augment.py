"""Random augmentation inside the jitted step: a string of tokens, applied left to right, per image.

Every image is augmented by its own key, folded from (seed, position in the stream), so that neither
batch size nor device count nor a restart changes what it becomes.
"""

import jax
import jax.numpy as jnp

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.tokens import REQUIRED, Argument, Signature, Token, integer, word

VOCABULARY = {
    "crop": Signature(
        "shift by up to so many pixels each way, filled with the mean colour or mirrored pixels",
        (
            Argument("pixels", integer(1), REQUIRED),
            Argument("padding", word("zero", "reflect"), "zero"),
        ),
    ),
    "flip": Signature("mirror left and right with probability 1/2"),
    "cutout": Signature(
        "fill a square of so many pixels around a random point with the mean colour",
        (Argument("pixels", integer(1), REQUIRED),),
    ),
}
"""The tokens of `config.augment`."""


def parse(text: str, image_shape: tuple[int, int, int]) -> tuple[Token, ...]:
    """Parses `config.augment` for images of `image_shape` (height, width, channels).

    Raises:
        ConfigError: an unknown token, or one that does not fit the images.
    """
    parsed = tokens.parse(text, VOCABULARY, "config.augment")
    side = min(image_shape[:2])
    for token in parsed:
        if token.arguments and token.arguments[0] >= side:
            raise ConfigError(
                f"config.augment: {token} is too large for images of "
                f"{image_shape[0]}x{image_shape[1]} pixels; write less than {side}"
            )
    return parsed


def apply(augment: tuple[Token, ...], images: jax.Array, keys: jax.Array) -> jax.Array:
    """Augments a batch.

    Args:
        augment: parsed tokens.
        images: float32 [B, H, W, C], normalised, so that 0 is the mean colour.
        keys: random keys [B], one per image.

    Returns:
        float32 [B, H, W, C].
    """
    for number, token in enumerate(augment):
        token_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
        match token.name, token.arguments:
            case "crop", (pixels, padding):
                images = _crop(images, token_keys, pixels, padding)
            case "flip", _:
                images = _flip(images, token_keys)
            case "cutout", (pixels,):
                images = _cutout(images, token_keys, pixels)
    return images


def _crop(images: jax.Array, keys: jax.Array, pixels: int, padding: str) -> jax.Array:
    """Pads by `pixels` and cuts the original size out (He et al. 2015, arXiv 1512.03385, section 4.2)."""
    mode = {"zero": "constant", "reflect": "reflect"}[padding]
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode=mode)

    def cut(image: jax.Array, key: jax.Array) -> jax.Array:
        top, left = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        return jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])

    return jax.vmap(cut)(padded, keys)


def _flip(images: jax.Array, keys: jax.Array) -> jax.Array:
    flipped = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def _cutout(images: jax.Array, keys: jax.Array, pixels: int) -> jax.Array:
    """Masks a square that may reach over the edge (DeVries & Taylor 2017, arXiv 1708.04552, section 3)."""
    height, width = images.shape[1:3]

    def inside(key: jax.Array) -> jax.Array:
        row_key, column_key = jax.random.split(key)
        top = jax.random.randint(row_key, (), 0, height) - pixels // 2
        left = jax.random.randint(column_key, (), 0, width) - pixels // 2
        rows = jnp.arange(height) - top
        columns = jnp.arange(width) - left
        in_rows, in_columns = (rows >= 0) & (rows < pixels), (columns >= 0) & (columns < pixels)
        return in_rows[:, None] & in_columns

    mask = jax.vmap(inside)(keys)[..., None]
    return jnp.where(mask, jnp.zeros((), images.dtype), images)
