"""The layers behind the tokens of a design string.

`VOCABULARY` says which tokens exist; `sequence.Layers` applies them.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.expression import expression
from resnet_jax.models import initializers, norms
from resnet_jax.models.plugins import Plugin
from resnet_jax.models.pooling import blur_size
from resnet_jax.models.standardization import StandardizedConv
from resnet_jax.native.ops import Kernels
from resnet_jax.tokens import (
    REQUIRED,
    Argument,
    Signature,
    integer,
    number,
    word,
)

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "elu": nn.elu,
    "softplus": nn.softplus,
    "identity": lambda x: x,
}


def _odd(text: str) -> int:
    """An argument parser for odd kernel sizes."""
    value = integer(1)(text)
    if value % 2 == 0:
        raise ValueError("is no odd number")
    return value


VOCABULARY = {
    "conv": Signature("the next convolution of the unit"),
    "norm": Signature(
        "normalisation",
        (Argument("kind", norms.kind, None), Argument("start", number(), None)),
    ),
    "act": Signature("activation", (Argument("kind", word(*ACTIVATIONS), None),)),
    "bias": Signature("a learned scalar, added; starts at 0"),
    "gain": Signature("a learned scalar factor", (Argument("start", number(), 1.0),)),
    "scale": Signature("a learned factor per channel", (Argument("start", number(), 1.0),)),
    "mul": Signature(
        "a fixed factor", (Argument("factor", expression("L", "l", "beta"), REQUIRED),)
    ),
    "se": Signature("squeeze-and-excitation", (Argument("reduction", integer(1), 16),)),
    "eca": Signature("efficient channel attention", (Argument("kernel", _odd, None),)),
    "drop": Signature("dropout", (Argument("rate", number(0.0, 1.0), REQUIRED),)),
    "drop_path": Signature(
        "dropout of whole images", (Argument("rate", number(0.0, 1.0), REQUIRED),)
    ),
}
"""The tokens of `branch`, `after` and `final`."""

STEM_VOCABULARY = VOCABULARY | {
    "conv": Signature(
        "a convolution",
        (
            Argument("kernel", integer(1), 3),
            Argument("stride", integer(1), 1),
            Argument("features", integer(1), None),
        ),
    ),
    "pool": Signature(
        "max pooling", (Argument("window", integer(1), 3), Argument("stride", integer(1), 2))
    ),
    "blur": Signature(
        "low-pass filter", (Argument("size", blur_size, 3), Argument("stride", integer(1), 2))
    ),
}
"""The tokens of `stem`."""


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """A square convolution: output channels, kernel and stride in pixels, groups."""

    features: int
    kernel: int
    stride: int = 1
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class LayerOptions:
    """What all layers of a network share.

    Attributes:
        norm: kind of `norm` tokens that name none, see `NORMS`.
        activation: kind of `act` tokens that name none, a key of `ACTIVATIONS`.
        conv_bias: whether convolutions have a bias per channel.
        dtype: of the computation; parameters and statistics are float32.
        kernels: native kernels to use where they serve; None for XLA's alone.
        remat: whether units are computed again in the backward pass instead of kept.
        standardization: of the convolutions' kernels, one of `STANDARDIZATIONS`.
        scaled_activation: whether activations are divided by their deviation on a standard normal.
        plugins: what tokens stand for that are not built in.
        frozen: paths of norms that use, and keep, their running statistics in training too.
    """

    norm: str = "batch"
    activation: str = "relu"
    conv_bias: bool = False
    dtype: jnp.dtype = jnp.float32
    kernels: Kernels | None = None
    remat: bool = False
    standardization: str = "none"
    scaled_activation: bool = False
    plugins: tuple[Plugin, ...] = ()
    frozen: frozenset[str] = frozenset()

    def trains(self, path: tuple[str, ...], name: str, train: bool) -> bool:
        """Whether the norm `name` of the module at `path` uses the statistics of the batch."""
        return train and "/".join((*path, name)) not in self.frozen


def convolution(spec: ConvSpec, options: LayerOptions, name: str) -> nn.Conv | StandardizedConv:
    """A convolution with symmetric zero padding of (kernel - 1) // 2 pixels.

    `SAME` would pad unevenly at stride 2 and so differ from the published networks.
    """
    if options.standardization != "none":
        return StandardizedConv(
            spec.features,
            spec.kernel,
            spec.stride,
            spec.groups,
            options.conv_bias,
            options.standardization,
            options.dtype,
            name=name,
        )
    return nn.Conv(
        spec.features,
        (spec.kernel, spec.kernel),
        strides=(spec.stride, spec.stride),
        padding=((spec.kernel - 1) // 2,) * 2,
        feature_group_count=spec.groups,
        use_bias=options.conv_bias,
        kernel_init=initializers.he_normal,
        dtype=options.dtype,
        name=name,
    )


def normalise(
    x: jax.Array,
    kind: str,
    options: LayerOptions,
    name: str,
    train: bool,
    start: float | None = None,
) -> jax.Array:
    """Normalises `x` [B, H, W, C]; the scale starts at 1 unless `start` is given. See `norms.py`."""
    start = 1.0 if start is None else start
    return norms.normalise(x, kind, start=start, dtype=options.dtype, name=name, train=train)


class Bias(nn.Module):
    """Adds a learned scalar (Zhang et al. 2019, arXiv 1901.09321, section 3)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.param("bias", nn.initializers.zeros, ()).astype(x.dtype)


class Gain(nn.Module):
    """Multiplies by a learned scalar (Fixup, SkipInit, ReZero)."""

    start: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.param("gain", nn.initializers.constant(self.start), ()).astype(x.dtype)


class Scale(nn.Module):
    """Multiplies each channel by a learned factor (LayerScale, Touvron et al. 2021, arXiv 2103.17239)."""

    start: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        start = nn.initializers.constant(self.start)
        return x * self.param("scale", start, (x.shape[-1],)).astype(x.dtype)


class SqueezeExcitation(nn.Module):
    """Rescales channels by a gate computed from their means (Hu et al. 2018, arXiv 1709.01507, sec. 3)."""

    reduction: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        squeezed = max(1, channels // self.reduction)

        def dense(features: int, name: str) -> nn.Dense:
            init = initializers.lecun_normal
            return nn.Dense(features, kernel_init=init, dtype=self.dtype, name=name)

        means = jnp.mean(x, axis=(1, 2), keepdims=True)
        gate = nn.sigmoid(dense(channels, "expand")(nn.relu(dense(squeezed, "squeeze")(means))))
        return x * gate
