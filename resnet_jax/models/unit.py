"""The residual unit: y = after(combine(shortcut(x), branch(x))), with branch and after as token strings.

The tokens in front of the branch's first `conv` are its pre-activation. In units that share it, they
are computed once and both paths start from the result (He et al. 2016, arXiv 1603.05027, section 4).
"""

import dataclasses

import jax
from flax import linen as nn

from resnet_jax.models import pooling
from resnet_jax.models.layers import ConvSpec, LayerOptions
from resnet_jax.models.sequence import Layers
from resnet_jax.models.shortcuts import Projection, pad_channels
from resnet_jax.tokens import Token


@dataclasses.dataclass(frozen=True)
class UnitSpec:
    """One residual unit.

    Attributes:
        branch, after: tokens.
        convs: what the branch's `conv` tokens stand for.
        features: output channels.
        stride: pixels.
        shortcut, projection: one of `SHORTCUTS` and `PROJECTIONS` of `shortcuts.py`.
        combine: a key of `COMBINES` of `layers.py`.
        projection_norm: whether a projection's convolution is normalised.
        shared_preact: whether the shortcut starts behind the pre-activation.
        index, units: this unit's number, from 1, and how many the network has.
        blur: size of the filter through which the shortcut is subsampled, pixels; None for no filter.
    """

    branch: tuple[Token, ...]
    after: tuple[Token, ...]
    convs: tuple[ConvSpec, ...]
    features: int
    stride: int
    shortcut: str
    projection: str
    combine: str
    projection_norm: bool
    shared_preact: bool
    index: int
    units: int
    blur: int | None = None


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
        layers = Layers(self.options, spec.convs, train=train, index=spec.index, units=spec.units)
        preact, rest = split_preact(spec.branch)
        activated = layers(preact, x)
        if spec.shortcut == "none":
            return layers(rest + spec.after, activated)
        shortcut = self._project(activated if spec.shared_preact else x, train)
        return layers.join(rest, activated, shortcut, spec.combine, spec.after)

    def _project(self, x: jax.Array, train: bool) -> jax.Array:
        """Brings the shortcut to the branch's shape."""
        spec, stride = self.spec, self.spec.stride
        if stride == 1 and x.shape[-1] == spec.features:
            return x
        if spec.blur:
            x, stride = pooling.blur(x, spec.blur, stride), 1
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
