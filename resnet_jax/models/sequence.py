"""Applies a string of tokens: each by its layer, or several at once by a native kernel."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import fusion, pooling, signal
from resnet_jax.models.attention import EfficientChannelAttention
from resnet_jax.models.layers import (
    ACTIVATIONS,
    Bias,
    ConvSpec,
    Gain,
    LayerOptions,
    Scale,
    SqueezeExcitation,
    convolution,
    normalise,
)
from resnet_jax.models.meeting import Meeting
from resnet_jax.tokens import Token


class Layers:
    """Applies tokens within the current Flax module.

    Layers are named by kind and count in order of use: `conv1`, `norm1`, `conv2`.

    Args:
        options: shared by the network's layers.
        convs: what the `conv` tokens stand for, in order.
        train: whether batch statistics are used and dropout is active.
        path: of the current module in the network.
        index: number of this residual unit, from 1; `l` in expressions. It is 0 in the stem, and
            `units` behind the last unit.
        units: residual units in the network; `L` in expressions.
        numbered: whether a kind that is used once still gets a number.
        beta: expected deviation of the input of this unit; `beta` in expressions (`signal.py`).
    """

    def __init__(
        self,
        options: LayerOptions,
        convs: Sequence[ConvSpec],
        *,
        train: bool,
        index: int,
        units: int,
        path: tuple[str, ...] = (),
        numbered: bool = True,
        beta: float = 1.0,
    ):
        self._options = options
        self._convs = convs
        self._convs_used = 0
        self._train = train
        self._path = path
        self._depth = {"L": units, "l": index, "beta": beta}
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
        meet: Callable[[jax.Array, jax.Array], jax.Array] | None,
        after: Sequence[Token],
    ) -> jax.Array:
        """Applies `tokens` to `x`, lets the result meet the shortcut, and applies `after`.

        Args:
            tokens: the rest of a residual branch.
            x: [B, H, W, C].
            shortcut: [B, H', W', features].
            meet: `(shortcut, branch) -> output`, all of the shortcut's shape; None for their sum.
            after: tokens that follow.
        """
        branch, rest = self._named(tokens), self._named(after)
        kinds = [step.kind for step in self._steps(branch)]
        if self._options.kernels is None or meet is not None or kinds[-1:] != ["norm"]:
            shortcut, x = Meeting(name="meeting")(shortcut, self._run(branch, x))
            return self._run(rest, shortcut + x if meet is None else meet(shortcut, x))
        # The last norm takes the addition, and a ReLU behind it, into its kernel; and so the
        # convolution in front of it, if that is served.
        tail = 2 if kinds[-2:-1] == ["conv"] else 1
        x = self._run(branch[:-tail], x)
        for start in range(-tail, 0):
            run = fusion.longest_run(self._steps([*branch[start:], *rest[:1]]))
            fused = self._fused(run, x, shortcut)
            if fused is not None:
                return self._run(rest[int(run.relu) :], fused)
            x = self._apply(*branch[start], x)
        return self._run(rest, shortcut + x)

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
            if kind == "act" and self._options.scaled_activation:
                kind = "other"
            steps.append(fusion.Step(kind, name))
        return steps

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
                spec.features,
                spec.stride,
                options.conv_bias,
                kernels,
                options.standardization,
                name=run.conv,
            )(x)
        kernel = None
        if spec is not None:
            if options.conv_bias:
                return None
            self._convs_used += 1
            holder = fusion.Kernel(spec.features, options.standardization, name=run.conv)
            kernel = holder(x.shape[-1])
        norm = fusion.Norm(kernels, run.relu, spec.stride if spec else 1, name=run.norm)
        return norm(x, kernel, residual, options.trains(self._path, run.norm, self._train))

    def _apply(self, token: Token, name: str, x: jax.Array) -> jax.Array:
        options = self._options
        match token.name, token.arguments:
            case "conv", _:
                self._convs_used += 1
                return convolution(self._convs[self._convs_used - 1], options, name)(x)
            case "norm", (kind, start):
                train = options.trains(self._path, name, self._train)
                return normalise(x, kind or options.norm, options, name, train, start)
            case "act", (kind,):
                kind = kind or options.activation
                y = ACTIVATIONS[kind](x)
                if options.scaled_activation:
                    y = y * jnp.asarray(signal.activation_scale(kind), x.dtype)
                return y
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
            case "eca", (kernel,):
                return EfficientChannelAttention(kernel, options.dtype, name=name)(x)
            case "drop", (rate,):
                return nn.Dropout(rate, deterministic=not self._train, name=name)(x)
            case "drop_path", (rate,):
                # One draw an image; what is kept is divided by its survival probability.
                return nn.Dropout(rate, (1, 2, 3), deterministic=not self._train, name=name)(x)
            case "blur", (size, stride):
                return pooling.blur(x, size, stride)
            case "pool", (window, stride):
                pad = ((window - 1) // 2,) * 2
                return nn.max_pool(x, (window, window), (stride, stride), padding=(pad, pad))
        for plugin in options.plugins:
            if plugin.name == token.name:
                return plugin.apply(token, name, x, train=self._train, dtype=options.dtype)
        raise ValueError(f"no layer for the token {token}")
