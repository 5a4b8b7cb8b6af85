"""Where a pixel goes: crops, mirror images, and one bilinear warp for all that turns, shifts or slants.

A warp is written as the map from a pixel of the result to the place where it is read, an affine map
around the centre of the image, float32 [B, 2, 3] on (x, y, 1). Tokens that follow each other are
multiplied into one map, so that an image is interpolated once, however many there are.

Nothing here is computed by a function whose last bit depends on how many images are computed at
once, as sines do on a CPU: an image is the same for any batch size and number of devices.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.tokens import Token

WARPS = frozenset({"rotate", "translate", "shear", "zoom"})
"""The tokens that are warps."""

_ANGLES = 4096


def crop(images: jax.Array, keys: jax.Array, pixels: int, padding: str) -> jax.Array:
    """Pads by `pixels` and cuts the original size out (He et al. 2015, arXiv 1512.03385, section 4.2)."""
    mode = {"zero": "constant", "reflect": "reflect"}[padding]
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode=mode)

    def cut(image: jax.Array, key: jax.Array) -> jax.Array:
        top, left = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        return jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])

    return jax.vmap(cut)(padded, keys)


def flip(images: jax.Array, keys: jax.Array) -> jax.Array:
    """Mirrors left and right with probability 1/2."""
    flipped = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def affine(xx, xy, x, yx, yy, y) -> jax.Array:
    """The maps (x, y) -> (xx*x + xy*y + x, yx*x + yy*y + y), float32 [B, 2, 3] of numbers or [B]."""
    entries = jnp.broadcast_arrays(*(jnp.asarray(v, jnp.float32) for v in (xx, xy, x, yx, yy, y)))
    return jnp.stack([jnp.stack(entries[:3], -1), jnp.stack(entries[3:], -1)], -2)


def compose(first: jax.Array, second: jax.Array) -> jax.Array:
    """The map of an image that is warped by `first` and then by `second`."""
    # Multiplied out, since a matrix product has fewer bits on some accelerators.
    columns = first[:, :, 0, None] * second[:, 0, None] + first[:, :, 1, None] * second[:, 1, None]
    return columns.at[:, :, 2].add(first[:, :, 2])


def random_warp(
    tokens: Sequence[Token], keys: Sequence[jax.Array], image_shape: tuple[int, int, int]
) -> jax.Array:
    """The map of a run of tokens.

    Args:
        tokens: all of `WARPS`, in order.
        keys: random keys [B] for each.
        image_shape: (height, width, channels).

    Returns:
        float32 [B, 2, 3].
    """
    maps = [_drawn(token, each, image_shape) for token, each in zip(tokens, keys, strict=True)]
    total = maps[0]
    for following in maps[1:]:
        total = compose(total, following)
    return total


def _drawn(token: Token, keys: jax.Array, image_shape: tuple[int, int, int]) -> jax.Array:
    height, width, _ = image_shape
    (amount,) = token.arguments
    if token.name == "rotate":
        return _rotation(keys, amount)
    one, other = jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-1, maxval=1))(keys).T
    match token.name:
        case "translate":
            return affine(1, 0, one * (amount * width), 0, 1, other * (amount * height))
        case "shear":
            return affine(1, one * amount, 0, other * amount, 1, 0)
        case "zoom":
            inverse = 1 / (1 + one * amount)
            return affine(inverse, 0, 0, 0, inverse, 0)
    raise ValueError(token.name)


def _rotation(keys: jax.Array, degrees: float) -> jax.Array:
    """By one of 4096 angles, evenly spaced from -`degrees` to `degrees`."""
    angles = np.deg2rad(np.linspace(-degrees, degrees, _ANGLES))
    drawn = jax.vmap(lambda key: jax.random.randint(key, (), 0, _ANGLES))(keys)
    cosines = jnp.asarray(np.cos(angles), jnp.float32)[drawn]
    sines = jnp.asarray(np.sin(angles), jnp.float32)[drawn]
    return affine(cosines, -sines, 0, sines, cosines, 0)


def warp(images: jax.Array, maps: jax.Array, fill: jax.typing.ArrayLike = 0.0) -> jax.Array:
    """Reads every pixel of the result at its place in the image, bilinearly.

    Args:
        images: float32 [B, H, W, C].
        maps: float32 [B, 2, 3].
        fill: what surrounds the image, a number or [C].

    Returns:
        float32 [B, H, W, C].
    """
    _, height, width, channels = images.shape
    fill = jnp.broadcast_to(jnp.asarray(fill, images.dtype), (channels,))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    x = jnp.arange(width, dtype=jnp.float32) - centre_x
    y = (jnp.arange(height, dtype=jnp.float32) - centre_y)[:, None]

    def one(image: jax.Array, matrix: jax.Array) -> jax.Array:
        framed = jnp.broadcast_to(fill, (height + 2, width + 2, channels))
        framed = jax.lax.dynamic_update_slice(framed, image, (1, 1, 0)).reshape(-1, channels)
        at_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + centre_x
        at_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + centre_y
        left, top = jnp.floor(at_x), jnp.floor(at_y)
        share_x, share_y = (at_x - left)[..., None], (at_y - top)[..., None]

        def pixel(row: jax.Array, column: jax.Array) -> jax.Array:
            row = jnp.clip(row, -1, height).astype(jnp.int32) + 1
            column = jnp.clip(column, -1, width).astype(jnp.int32) + 1
            return framed[row * (width + 2) + column]

        def between(row: jax.Array) -> jax.Array:
            return pixel(row, left) * (1 - share_x) + pixel(row, left + 1) * share_x

        return between(top) * (1 - share_y) + between(top + 1) * share_y

    return jax.vmap(one)(images, maps)
