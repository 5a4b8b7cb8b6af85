"""The residual unit: y = after(combine(shortcut(x), branch(x))), with branch and after as token strings.

The tokens in front of the branch's first `conv` are its pre-activation. In units that share it, they
are computed once and both paths start from the result (He et al. 2016, arXiv 1603.05027, Appendix
"Implementation Details").
"""

import dataclasses
from collections.abc import Callable

import jax
from flax import linen as nn

from resnet_jax.models import pooling
from resnet_jax.models.combines import combined, is_plain_sum, scaled
from resnet_jax.models.layers import ConvSpec, LayerOptions
from resnet_jax.models.sequence import Layers
from resnet_jax.models.shortcuts import Gate, Projection, pad_channels
from resnet_jax.tokens import Token


@dataclasses.dataclass(frozen=True)
class UnitSpec:
    """One residual unit.

    Attributes:
        branch, after: tokens.
        convs: what the branch's `conv` tokens stand for.
        features: output channels.
        stride: pixels.
        shortcut: a token of `SHORTCUTS` of `shortcuts.py`.
        projection: one of `PROJECTIONS` there.
        combine: a token of `COMBINES` of `combines.py`.
        projection_norm: whether a projection's convolution is normalised.
        shared_preact: whether the shortcut starts behind the pre-activation.
        index, units: this unit's number, from 1, and how many the network has.
        beta: expected deviation of the input at initialisation (`signal.py`).
        blur: size of the filter through which the shortcut is subsampled, pixels; None for no filter.
    """

    branch: tuple[Token, ...]
    after: tuple[Token, ...]
    convs: tuple[ConvSpec, ...]
    features: int
    stride: int
    shortcut: Token
    projection: str
    combine: Token
    projection_norm: bool
    shared_preact: bool
    index: int
    units: int
    beta: float = 1.0
    blur: int | None = None

    @property
    def names(self) -> dict[str, float]:
        """What expressions may use."""
        return {"L": self.units, "l": self.index, "beta": self.beta}


def split_preact(branch: tuple[Token, ...]) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    """Cuts a branch in front of its first `conv`."""
    first = next(i for i, token in enumerate(branch) if token.name == "conv")
    return branch[:first], branch[first:]


class Unit(nn.Module):
    """A residual unit; maps [B, H, W, C] to [B, H / stride, W / stride, features]."""

    spec: UnitSpec
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        spec = self.spec
        layers = Layers(
            self.options,
            spec.convs,
            train=train,
            path=self.path,
            index=spec.index,
            units=spec.units,
            beta=spec.beta,
        )
        preact, rest = split_preact(spec.branch)
        activated = layers(preact, x)
        if spec.shortcut.name == "none":
            return layers(rest + spec.after, activated)
        shortcut, gate = self._shortcut(activated if spec.shared_preact else x, train)

        def meet(shortcut: jax.Array, branch: jax.Array) -> jax.Array:
            return combined(spec.combine, shortcut, gate(branch), spec.names)

        plain = gate is None and is_plain_sum(spec.combine)
        gate = gate or (lambda branch: branch)
        return layers.join(rest, activated, shortcut, None if plain else meet, spec.after)

    def _shortcut(self, x: jax.Array, train: bool) -> tuple[jax.Array, Callable | None]:
        """What the shortcut carries, and what it does to the branch, if anything."""
        spec = self.spec
        match spec.shortcut.name, spec.shortcut.arguments:
            case "scale", (first, second):
                kept = scaled(self._project(x, train), first, spec.names)
                return kept, lambda branch: scaled(branch, second, spec.names)
            case ("exclusive_gate" | "shortcut_gate") as kind, (bias,):
                smooth, stride = self._smoothed(x)
                gate = Gate(spec.features, stride, bias, self.options.dtype, name="gate")(smooth)
                kept = (1 - gate) * self._project(x, train)
                return kept, (lambda branch: gate * branch) if kind == "exclusive_gate" else None
            case "conv", (norm,) if spec.projection == "A" or not self._reshapes(x):
                smooth, stride = self._smoothed(x)
                norm = norm == "norm"
                conv = Projection(spec.features, stride, norm, self.options, name="shortcut")
                return conv(smooth, train), None
            case "drop", (rate,):
                drop = nn.Dropout(rate, deterministic=not train, name="shortcut_drop")
                return drop(self._project(x, train)), None
        return self._project(x, train), None

    def _reshapes(self, x: jax.Array) -> bool:
        return self.spec.stride != 1 or x.shape[-1] != self.spec.features

    def _smoothed(self, x: jax.Array) -> tuple[jax.Array, int]:
        """The shortcut's input behind the filter that subsamples it, if any, and the stride that is left."""
        spec = self.spec
        return (pooling.blur(x, spec.blur, spec.stride), 1) if spec.blur else (x, spec.stride)

    def _project(self, x: jax.Array, train: bool) -> jax.Array:
        """Brings the shortcut to the branch's shape."""
        spec = self.spec
        if not self._reshapes(x):
            return x
        x, stride = self._smoothed(x)
        if spec.projection == "A":
            return pad_channels(x, spec.features, stride)
        projection = Projection(
            spec.features,
            stride,
            spec.projection_norm,
            self.options,
            pool=spec.projection == "D",
            name="projection",
        )
        return projection(x, train)
