"""Weight standardisation: convolutions whose kernels have mean 0 and variance 1 by construction."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import initializers

STANDARDIZATIONS = ("none", "plain", "scaled")
"""Kinds: the kernel as it is; standardised; standardised, over sqrt(fan_in), with a learned gain."""

_PLAIN_EPSILON, _SCALED_EPSILON = 1e-10, 1e-4
"""The first is added to the variance; the second bounds fan_in * variance from below."""


def standardize(kernel: jax.Array, kind: str) -> jax.Array:
    """Standardises a kernel [height, width, in, out] over all but its output channels.

    Args:
        kernel: float32.
        kind: `plain`, (w - mean) / deviation (Qiao et al. 2019, arXiv 1903.10520, eq. 9); `scaled`,
            the same over sqrt(fan_in), so that a convolution keeps the variance of what it gets
            (Brock et al. 2021, arXiv 2101.08692, section 4.2); or `none`.
    """
    if kind == "none":
        return kernel
    fan_in = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
    mean = jnp.mean(kernel, axis=(0, 1, 2))
    variance = jnp.var(kernel, axis=(0, 1, 2))
    if kind == "plain":
        return (kernel - mean) * jax.lax.rsqrt(variance + _PLAIN_EPSILON)
    return (kernel - mean) * jax.lax.rsqrt(jnp.maximum(variance * fan_in, _SCALED_EPSILON))


def kernel(module: nn.Module, shape: tuple[int, ...], kind: str) -> jax.Array:
    """The kernel with which a convolution computes, from the parameters of its module.

    Args:
        module: in the midst of its call; gets the parameter `kernel` and, for `scaled`, `gain` [out],
            which starts at 1.
        shape: [height, width, in, out].
        kind: one of `STANDARDIZATIONS`.
    """
    standardized = standardize(module.param("kernel", initializers.he_normal, shape), kind)
    if kind != "scaled":
        return standardized
    return standardized * module.param("gain", nn.initializers.ones, (shape[-1],))


class StandardizedConv(nn.Module):
    """A square convolution with padding (size - 1) // 2 and a standardised kernel.

    Attributes:
        features: output channels.
        size: of the kernel, pixels.
        stride: pixels.
        groups: of channels.
        use_bias: whether a bias per channel is added.
        kind: `plain` or `scaled`.
        dtype: of the computation.
    """

    features: int
    size: int
    stride: int
    groups: int
    use_bias: bool
    kind: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel(self, shape, self.kind).astype(self.dtype),
            (self.stride, self.stride),
            (((self.size - 1) // 2,) * 2,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)
        return y
