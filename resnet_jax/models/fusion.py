"""Runs of tokens that the native kernels compute as one: `conv norm act` and its relatives.

The modules here hold the same parameters under the same names as the Flax layers they stand in for, so
that a checkpoint serves both.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import standardization
from resnet_jax.native.ops import Kernels, NormAct, conv, norm_act

BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON = 0.9, 1e-5
"""Share of the running statistics that a step keeps, and what is added to the variance."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A token as far as fusion needs to know it.

    Attributes:
        kind: `conv`, `norm` (of the batch), `act` (a ReLU), or anything else.
        name: of its module.
    """

    kind: str
    name: str


@dataclasses.dataclass(frozen=True)
class Run:
    """Consecutive tokens computed at once.

    Attributes:
        conv, norm: module names, or None where the run has no such token.
        relu: whether it ends with one.
        length: number of tokens.
    """

    conv: str | None
    norm: str | None
    relu: bool
    length: int


def longest_run(steps: Sequence[Step]) -> Run | None:
    """The longest prefix `[conv] [norm] [act]` that is worth a kernel; None if there is none."""
    kinds = [step.kind for step in steps[:3]]
    at = int(kinds[:1] == ["conv"])
    has_norm = kinds[at : at + 1] == ["norm"]
    relu = has_norm and kinds[at + 1 : at + 2] == ["act"]
    if not at and not has_norm:
        return None
    return Run(
        conv=steps[0].name if at else None,
        norm=steps[at].name if has_norm else None,
        relu=relu,
        length=at + has_norm + relu,
    )


class Kernel(nn.Module):
    """Holds the kernel of a 3x3 convolution, as `nn.Conv` or `StandardizedConv` does."""

    features: int
    standardization: str = "none"

    @nn.compact
    def __call__(self, channels: int) -> jax.Array:
        shape = (3, 3, channels, self.features)
        return standardization.kernel(self, shape, self.standardization)


class Convolution(nn.Module):
    """A 3x3 convolution alone; maps [B, H, W, C] to [B, H / stride, W / stride, features]."""

    features: int
    stride: int
    use_bias: bool
    kernels: Kernels
    standardization: str = "none"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = standardization.kernel(self, shape, self.standardization)
        y = conv(self.kernels, self.stride, x, kernel)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,))
        return y


class Norm(nn.Module):
    """Batch normalisation with what stands around it; holds what `nn.BatchNorm` does.

    Attributes:
        kernels: which must serve the shapes.
        relu: whether a ReLU follows.
        stride: of the convolution in front, if there is one.
    """

    kernels: Kernels
    relu: bool
    stride: int = 1

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        kernel: jax.Array | None,
        residual: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """[relu](norm([conv] x) [+ residual]); see `native.ops.norm_act` for the shapes."""
        features = x.shape[-1] if kernel is None else kernel.shape[-1]
        # Initial values are drawn without kernels (step.init_variables): `norm(kind, start)` acts there.
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        variance = self.variable("batch_stats", "var", jnp.ones, (features,))
        spec = NormAct(self.kernels, self.stride, self.relu, BATCH_NORM_EPSILON)
        running = None if train else (mean.value, variance.value)
        y, *used = norm_act(spec, x, kernel, scale, bias, residual, running)
        if train and not self.is_initializing():
            for variable, now in zip((mean, variance), used, strict=True):
                kept = BATCH_NORM_MOMENTUM * variable.value
                variable.value = kept + (1 - BATCH_NORM_MOMENTUM) * jax.lax.stop_gradient(now)
        return y
