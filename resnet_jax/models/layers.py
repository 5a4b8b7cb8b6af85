"""The layers behind the tokens of a design string.

`VOCABULARY` says which tokens exist; `Layers` applies them, left to right, inside the Flax module whose
`__call__` is running, so that parameters get their names there.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import fusion, initializers
from resnet_jax.native.ops import Kernels
from resnet_jax.tokens import (
    REQUIRED,
    Argument,
    Signature,
    Token,
    expression,
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
NORMS = ("batch", "none")

VOCABULARY = {
    "conv": Signature("the next convolution of the unit"),
    "norm": Signature("normalisation", (Argument("kind", word(*NORMS), None),)),
    "act": Signature("activation", (Argument("kind", word(*ACTIVATIONS), None),)),
    "bias": Signature("a learned scalar, added; starts at 0"),
    "gain": Signature("a learned scalar factor", (Argument("start", number(), 1.0),)),
    "scale": Signature("a learned factor per channel", (Argument("start", number(), 1.0),)),
    "mul": Signature("a fixed factor", (Argument("factor", expression("L", "l"), REQUIRED),)),
    "se": Signature("squeeze-and-excitation", (Argument("reduction", integer(1), 16),)),
    "drop": Signature("dropout", (Argument("rate", number(0.0, 1.0), REQUIRED),)),
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
}
"""The tokens of `stem`."""


COMBINES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {"add": jnp.add}
"""How shortcut and branch meet: `(shortcut, branch) -> output`, all [B, H, W, C]."""


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
        norm: kind of `norm` tokens that name none, one of `NORMS`.
        activation: kind of `act` tokens that name none, a key of `ACTIVATIONS`.
        conv_bias: whether convolutions have a bias per channel.
        dtype: of the computation; parameters and statistics are float32.
        kernels: native kernels to use where they serve; None for XLA's alone.
    """

    norm: str = "batch"
    activation: str = "relu"
    conv_bias: bool = False
    dtype: jnp.dtype = jnp.float32
    kernels: Kernels | None = None


def convolution(spec: ConvSpec, options: LayerOptions, name: str) -> nn.Conv:
    """A convolution with symmetric zero padding of (kernel - 1) // 2 pixels.

    `SAME` would pad unevenly at stride 2 and so differ from the published networks.
    """
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


def normalise(x: jax.Array, kind: str, options: LayerOptions, name: str, train: bool) -> jax.Array:
    """Normalises `x` [B, H, W, C]; batch statistics are those of the global batch (biased variance)."""
    if kind == "none":
        return x
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=fusion.BATCH_NORM_MOMENTUM,
        epsilon=fusion.BATCH_NORM_EPSILON,
        dtype=options.dtype,
        name=name,
    )(x)


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


class Layers:
    """Applies tokens within the current Flax module.

    Layers are named by kind and count in order of use: `conv1`, `norm1`, `conv2`.

    Args:
        options: shared by the network's layers.
        convs: what the `conv` tokens stand for, in order.
        train: whether batch statistics are used and dropout is active.
        index: number of this residual unit, from 1; `l` in expressions. It is 0 in the stem, and
            `units` behind the last unit.
        units: residual units in the network; `L` in expressions.
        numbered: whether a kind that is used once still gets a number.
    """

    def __init__(
        self,
        options: LayerOptions,
        convs: Sequence[ConvSpec],
        *,
        train: bool,
        index: int,
        units: int,
        numbered: bool = True,
    ):
        self._options = options
        self._convs = convs
        self._convs_used = 0
        self._train = train
        self._depth = {"L": units, "l": index}
        self._numbered = numbered
        self._used: dict[str, int] = {}

    def __call__(self, tokens: Sequence[Token], x: jax.Array) -> jax.Array:
        """Applies `tokens` to `x` [B, H, W, C]."""
        return self._run(self._named(tokens), x)

    def join(
        self,
        tokens: Sequence[Token],
        x: jax.Array,
        shortcut: jax.Array,
        combine: str,
        after: Sequence[Token],
    ) -> jax.Array:
        """Applies `tokens` to `x`, lets the result meet the shortcut, and applies `after`.

        Args:
            tokens: the rest of a residual branch.
            x: [B, H, W, C].
            shortcut: [B, H', W', features].
            combine: a key of `COMBINES`.
            after: tokens that follow.
        """
        branch, rest = self._named(tokens), self._named(after)
        tail = self._addition_run(branch, rest) if combine == "add" else None
        if tail is None:
            return self._run(rest, COMBINES[combine](shortcut, self._run(branch, x)))
        head = len(branch) - tail.length + tail.relu
        x = self._run(branch[:head], x)
        fused = self._fused(tail, x, shortcut)
        if fused is None:
            return self._run(rest, shortcut + self._run(branch[head:], x))
        return self._run(rest[int(tail.relu) :], fused)

    def _named(self, tokens: Sequence[Token]) -> list[tuple[Token, str]]:
        """Each token with the name of its module."""
        kinds = [token.name for token in tokens]
        named = []
        for token in tokens:
            self._used[token.name] = self._used.get(token.name, 0) + 1
            numbered = self._numbered or kinds.count(token.name) > 1
            name = f"{token.name}{self._used[token.name]}" if numbered else token.name
            named.append((token, name))
        return named

    def _run(self, named: Sequence[tuple[Token, str]], x: jax.Array) -> jax.Array:
        """Applies named tokens, several at once where a native kernel serves them."""
        at = 0
        while at < len(named):
            run = fusion.longest_run(self._steps(named[at:])) if self._options.kernels else None
            fused = None if run is None else self._fused(run, x, None)
            if fused is not None:
                x, at = fused, at + run.length
            else:
                x, at = self._apply(*named[at], x), at + 1
        return x

    def _steps(self, named: Sequence[tuple[Token, str]]) -> list[fusion.Step]:
        """The tokens as fusion sees them, with the configured kinds filled in."""
        defaults = {"norm": self._options.norm, "act": self._options.activation}
        fusible = {"norm": "batch", "act": "relu"}
        steps = []
        for token, name in named:
            kind = token.name
            if kind in fusible and (token.arguments[0] or defaults[kind]) != fusible[kind]:
                kind = "other"
            steps.append(fusion.Step(kind, name))
        return steps

    def _addition_run(
        self, branch: Sequence[tuple[Token, str]], after: Sequence[tuple[Token, str]]
    ) -> fusion.Run | None:
        """The end of a branch that takes the addition, and a ReLU behind it, into one run."""
        steps = self._steps(branch)
        if self._options.kernels is None or not steps or steps[-1].kind != "norm":
            return None
        start = len(steps) - (2 if len(steps) > 1 and steps[-2].kind == "conv" else 1)
        return fusion.longest_run(steps[start:] + self._steps(after[:1]))

    def _fused(self, run: fusion.Run, x: jax.Array, residual: jax.Array | None) -> jax.Array | None:
        """Computes a run, or returns None where no kernel serves its shapes."""
        options, kernels = self._options, self._options.kernels
        spec = self._convs[self._convs_used] if run.conv else None
        if x.dtype != jnp.float32 or x.ndim != 4:
            return None
        if not (
            kernels.serves_norm(x.shape)
            if spec is None
            else kernels.serves(x.shape, spec.kernel, spec.features, spec.stride, spec.groups)
        ):
            return None
        if run.norm is None:
            self._convs_used += 1
            return fusion.Convolution(
                spec.features, spec.stride, options.conv_bias, kernels, name=run.conv
            )(x)
        kernel = None
        if spec is not None:
            if options.conv_bias:
                return None
            self._convs_used += 1
            kernel = fusion.Kernel(spec.features, name=run.conv)(x.shape[-1])
        norm = fusion.Norm(kernels, run.relu, spec.stride if spec else 1, name=run.norm)
        return norm(x, kernel, residual, self._train)

    def _apply(self, token: Token, name: str, x: jax.Array) -> jax.Array:
        options = self._options
        match token.name, token.arguments:
            case "conv", _:
                self._convs_used += 1
                return convolution(self._convs[self._convs_used - 1], options, name)(x)
            case "norm", (kind,):
                return normalise(x, kind or options.norm, options, name, self._train)
            case "act", (kind,):
                return ACTIVATIONS[kind or options.activation](x)
            case "bias", _:
                return Bias(name=name)(x)
            case "gain", (start,):
                return Gain(start, name=name)(x)
            case "scale", (start,):
                return Scale(start, name=name)(x)
            case "mul", (factor,):
                return x * jnp.asarray(factor.value(**self._depth), x.dtype)
            case "se", (reduction,):
                return SqueezeExcitation(reduction, options.dtype, name=name)(x)
            case "drop", (rate,):
                return nn.Dropout(rate, deterministic=not self._train, name=name)(x)
            case "pool", (window, stride):
                pad = ((window - 1) // 2,) * 2
                return nn.max_pool(x, (window, window), (stride, stride), padding=(pad, pad))
        raise ValueError(f"no layer for the token {token}")
