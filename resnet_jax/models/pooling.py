"""Fewer pixels: what stands in for a stride of convolutions and shortcuts."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.tokens import Argument, Signature

MAX_BLUR = 7
"""The largest filter of Zhang 2019 (arXiv 1904.11486, section 4)."""


def blur_size(text: str) -> int:
    """An argument parser for the size of a blur filter."""
    if text not in [str(size) for size in range(2, MAX_BLUR + 1)]:
        raise ValueError(f"is no whole number from 2 to {MAX_BLUR}")
    return int(text)


DOWNSAMPLINGS = {
    "stride": Signature("strided convolutions"),
    "blur": Signature("blur, then subsample", (Argument("size", blur_size, 3),)),
}
"""The values of `model.downsampling`."""


USAGE = tokens.usage(DOWNSAMPLINGS)
"""They in one line."""


def downsampling(text: str) -> int | None:
    """The size of the blur filter, pixels, or None for `stride`.

    Raises:
        ConfigError: `text` is no downsampling.
    """
    parsed = tokens.parse(text, DOWNSAMPLINGS, "config.model.downsampling")
    if len(parsed) != 1:
        raise ConfigError(f"config.model.downsampling={text!r}: expected one of {USAGE}")
    return parsed[0].arguments[0] if parsed[0].name == "blur" else None


def is_downsampling(value: object) -> bool:
    """Whether `value` is a legal text."""
    try:
        return isinstance(value, str) and downsampling(value) in (None, *range(2, MAX_BLUR + 1))
    except ConfigError:
        return False


def blur(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Low-pass filters each channel, then subsamples (BlurPool, Zhang 2019, arXiv 1904.11486, section 3).

    The filter is the outer product of the binomial coefficients, [1 2 1] / 4 for size 3. The border is
    mirrored without its own pixel; an even filter reaches one pixel further right and down.

    Args:
        x: [B, H, W, C].
        size: of the filter, pixels.
        stride: pixels.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), C], of the dtype of `x`.
    """
    weights = [math.comb(size - 1, i) / 2 ** (size - 1) for i in range(size)]
    before, behind = (size - 1) // 2, size // 2
    for axis in (1, 2):
        length = x.shape[axis]
        sides = [(0, 0)] * 4
        sides[axis] = (before, behind)
        padded = jnp.pad(x, sides, mode="reflect")
        # Sums of slices: XLA's grouped convolutions are slow on a CPU.
        x = sum(
            weight * jax.lax.slice_in_dim(padded, start, start + length, stride, axis)
            for start, weight in enumerate(weights)
        )
    return x


def average_pool(x: jax.Array, stride: int) -> jax.Array:
    """Means over squares of `stride` pixels; of what there is of one at the border.

    Args:
        x: [B, H, W, C].
        stride: pixels.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), C], of the dtype of `x`.
    """
    window = (stride, stride)
    # Flax divides by counts in float32.
    means = nn.avg_pool(
        x.astype(jnp.float32), window, window, padding="SAME", count_include_pad=False
    )
    return means.astype(x.dtype)
