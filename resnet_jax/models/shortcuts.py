"""The path around the residual branch: what it carries, and how it crosses a change of shape."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import pooling
from resnet_jax.models.layers import ConvSpec, LayerOptions, convolution, normalise


def pad_channels(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Option A: subsample, and add zero channels, half before and half behind.

    He et al. 2015, arXiv 1512.03385, section 3.3 (A). It has no parameters.

    Args:
        x: [B, H, W, C].
        features: output channels, at least C.
        stride: pixels.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), features].
    """
    missing = features - x.shape[-1]
    channels = (missing // 2, missing - missing // 2)
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), channels))


class Projection(nn.Module):
    """Option B: a strided 1x1 convolution (He et al. 2015, arXiv 1512.03385, section 3.3).

    Option D averages over the stride's pixels first, and the convolution has stride 1 (He et al. 2019,
    arXiv 1812.01187, section 4.2).

    Attributes:
        features: output channels.
        stride: pixels.
        norm: whether a normalisation follows.
        options: shared by the network's layers.
        pool: whether this is option D.
    """

    features: int
    stride: int
    norm: bool
    options: LayerOptions
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        stride = self.stride
        if self.pool and stride > 1:
            x, stride = pooling.average_pool(x, stride), 1
        x = convolution(ConvSpec(self.features, 1, stride), self.options, "conv")(x)
        if self.norm:
            x = normalise(x, self.options.norm, self.options, "norm", train)
        return x


PROJECTIONS = ("A", "B", "D")
"""How the shortcut crosses a change of shape: zero-padding, a 1x1 convolution, one behind an average pool."""

SHORTCUTS = ("identity", "none")
"""What the shortcut carries: its input, or nothing (a plain net)."""
