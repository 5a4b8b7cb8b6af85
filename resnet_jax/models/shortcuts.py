"""The path around the residual branch: what it carries, and how it crosses a change of shape."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.expression import expression
from resnet_jax.models import initializers, pooling
from resnet_jax.models.layers import ConvSpec, LayerOptions, convolution, normalise
from resnet_jax.tokens import REQUIRED, Argument, Signature, number, word


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
            train = self.options.trains(self.path, "norm", train)
            x = normalise(x, self.options.norm, self.options, "norm", train)
        return x


class Gate(nn.Module):
    """g(x) = sigmoid(W x + b), a strided 1x1 convolution (He et al. 2016, section 3.1).

    Attributes:
        features: output channels.
        stride: pixels.
        start: initial value of the bias; below 0 it opens the shortcut.
        dtype: of the computation.
    """

    features: int
    stride: int
    start: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # Never standardised: it is no part of the signal.
        conv = nn.Conv(
            self.features,
            (1, 1),
            strides=(self.stride, self.stride),
            kernel_init=initializers.he_normal,
            bias_init=nn.initializers.constant(self.start),
            dtype=self.dtype,
            name="conv",
        )
        return nn.sigmoid(conv(x))


PROJECTIONS = ("A", "B", "D")
"""How the shortcut crosses a change of shape: zero-padding, a 1x1 convolution, one behind an average pool."""

_FACTOR = expression("L", "l", "beta")
_BIAS = Argument("bias", number(-1000, 1000), 0.0)
_TABLE = "He et al. 2016, arXiv 1603.05027, section 3.1 and table 1"

SHORTCUTS = {
    "identity": Signature("its input", (), "x + f(x)", _TABLE),
    "none": Signature(
        "nothing: a plain net", (), "f(x)", "He et al. 2015, arXiv 1512.03385, section 3.3"
    ),
    "scale": Signature(
        "its input times a factor, and one for the branch",
        (Argument("shortcut", _FACTOR, REQUIRED), Argument("branch", _FACTOR, 1.0)),
        "shortcut * x + branch * f(x)",
        _TABLE,
    ),
    "exclusive_gate": Signature(
        "1 - g(x) times its input, g(x) times the branch",
        (_BIAS,),
        "(1 - g(x)) * x + g(x) * f(x), g(x) = sigmoid(conv1x1(x) + bias)",
        _TABLE,
    ),
    "shortcut_gate": Signature(
        "1 - g(x) times its input",
        (_BIAS,),
        "(1 - g(x)) * x + f(x), g(x) = sigmoid(conv1x1(x) + bias)",
        _TABLE,
    ),
    "conv": Signature(
        "a 1x1 convolution in every unit",
        (Argument("norm", word("none", "norm"), "none"),),
        "conv1x1(x) + f(x)",
        f"{_TABLE}; He et al. 2015, section 3.3 (C)",
    ),
    "drop": Signature(
        "dropout of its input",
        (Argument("rate", number(0.0, 1.0), REQUIRED),),
        "dropout(x) + f(x)",
        _TABLE,
    ),
}
"""What the shortcut carries (He et al. 2016, arXiv 1603.05027, section 3.1 and table 1).

In a unit that changes the shape each acts on the projected input. Two have parameters of their own and
start from the unit's input instead, with the unit's stride: g(x) = sigmoid(1x1 convolution), whose bias
starts at the given value; and `conv`, which is the crossing itself where the projection would be `A`.
With `B` or `D` the projection stays, so that `conv` and `B` are option C of He et al. 2015.
"""
