"""Channel attention that is lighter than squeeze-and-excitation."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import initializers


def adaptive_kernel(channels: int) -> int:
    """The odd kernel size for so many channels (Wang et al. 2020, arXiv 1910.03151, eq. 12)."""
    size = int(abs(math.log2(channels) / 2 + 1 / 2))
    return size if size % 2 else size + 1


class EfficientChannelAttention(nn.Module):
    """Rescales channels by a gate: a convolution over the channels of their means, then a sigmoid.

    Wang et al. 2020, arXiv 1910.03151, section 3.2. Zeros stand beyond the first and last channel.

    Attributes:
        kernel: size, odd; None for `adaptive_kernel`.
        dtype: of the computation.
    """

    kernel: int | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the same shape."""
        size = self.kernel or adaptive_kernel(x.shape[-1])
        kernel = self.param("kernel", initializers.lecun_normal, (size,)).astype(self.dtype)
        means = jnp.mean(x, axis=(1, 2))
        half = size // 2
        padded = jnp.pad(means, ((0, 0), (half, half)))
        gate = sum(kernel[i] * padded[:, i : i + means.shape[1]] for i in range(size))
        return x * nn.sigmoid(gate)[:, None, None]
