"""The kinds of normalisation behind the token `norm` and the field `model.norm`: one table.

A kind is text, such as `batch` or `group(8)`. Each but `none` has a factor per channel, `scale`, that starts
at 1 unless the token says otherwise, and an offset per channel, `bias`, that starts at 0. Statistics are
computed in float32.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.models import fusion
from resnet_jax.tokens import REQUIRED, Argument, Signature, Token, integer, number

EPSILON = 1e-5
"""Added to the variance of a group (Wu & He 2018, arXiv 1803.08494, figure 3)."""

FRN_EPSILON = 1e-6
"""Added to the mean square (Singh & Krishnan 2020, arXiv 1911.09737, section 3.1)."""


class GhostBatch(nn.Module):
    """Batch normalisation of `images` consecutive images at a time.

    Hoffer et al. 2017, arXiv 1705.08741, algorithm 1. The groups are those of the global batch, in its order,
    so that results do not depend on the number of devices; each updates the running statistics in turn, as
    batches of that size would. Parameters and statistics have the names of batch normalisation's.

    Attributes:
        images: of a group; divides the batch.
        start: of the scale.
        dtype: of the result.
    """

    images: int
    start: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, C] to the same shape."""
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.constant(self.start), channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running = [
            self.variable("batch_stats", "mean", jnp.zeros, channels),
            self.variable("batch_stats", "var", jnp.ones, channels),
        ]
        values = x.astype(jnp.float32)
        if train:
            mean, means = self._over_groups(values)
            variance, variances = self._over_groups(jnp.square(values - mean))
            if not self.is_initializing():
                for variable, now in zip(running, (means, variances), strict=True):
                    variable.value = self._updated(variable.value, jax.lax.stop_gradient(now))
        else:
            mean, variance = running[0].value, running[1].value
        factor = jax.lax.rsqrt(variance + fusion.BATCH_NORM_EPSILON) * scale
        return ((values - mean) * factor + bias).astype(self.dtype)

    def _over_groups(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Means over each group: for every image [B, 1, 1, C], and one a group [groups, C].

        Images are averaged before they are grouped: only [B, C] numbers cross between devices.
        """
        batch, channels = len(x), x.shape[-1]
        means = x.mean((1, 2)).reshape(batch // self.images, self.images, channels).mean(1)
        spread = jnp.repeat(means, self.images, axis=0, total_repeat_length=batch)
        return spread[:, None, None], means

    def _updated(self, old: jax.Array, groups: jax.Array) -> jax.Array:
        kept, count = fusion.BATCH_NORM_MOMENTUM, len(groups)
        shares = (1 - kept) * kept ** jnp.arange(count - 1, -1, -1, dtype=jnp.float32)
        return kept**count * old + (shares[:, None] * groups).sum(0)


class FilterResponse(nn.Module):
    """max(scale * x / rms(x) + bias, threshold), with the rms over the pixels of an image and channel.

    Singh & Krishnan 2020, arXiv 1911.09737, section 3: filter response normalisation with its thresholded
    linear unit, whose learned `threshold` per channel starts at 0. Epsilon is constant.
    """

    start: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the same shape."""
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.constant(self.start), channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        threshold = self.param("threshold", nn.initializers.zeros, channels)
        values = x.astype(jnp.float32)
        square = jnp.square(values).mean((1, 2), keepdims=True)
        values = values * jax.lax.rsqrt(square + FRN_EPSILON)
        return jnp.maximum(values * scale + bias, threshold).astype(self.dtype)


class DynamicTanh(nn.Module):
    """scale * tanh(alpha * x) + bias; alpha is a learned scalar.

    Zhu et al. 2025, arXiv 2503.10622, section 4.

    Attributes:
        alpha: where alpha starts.
        start: where the scale starts.
        dtype: of the result.
    """

    alpha: float
    start: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the same shape."""
        channels = x.shape[-1:]
        alpha = self.param("alpha", nn.initializers.constant(self.alpha), ())
        scale = self.param("scale", nn.initializers.constant(self.start), channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        return (scale * jnp.tanh(alpha * x.astype(jnp.float32)) + bias).astype(self.dtype)


def _batch(x: jax.Array, train: bool, start: float, dtype: jnp.dtype, name: str) -> jax.Array:
    """Statistics of the global batch, biased variance (Ioffe & Szegedy 2015, arXiv 1502.03167)."""
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=fusion.BATCH_NORM_MOMENTUM,
        epsilon=fusion.BATCH_NORM_EPSILON,
        dtype=dtype,
        scale_init=nn.initializers.constant(start),
        name=name,
    )(x)


def _group(x: jax.Array, groups: int, start: float, dtype: jnp.dtype, name: str) -> jax.Array:
    """Over pixels and the channels of a group, per image (Wu & He 2018, arXiv 1803.08494, section 3)."""
    return nn.GroupNorm(
        groups,
        epsilon=EPSILON,
        dtype=dtype,
        scale_init=nn.initializers.constant(start),
        use_fast_variance=False,
        name=name,
    )(x)


@dataclasses.dataclass(frozen=True)
class Norm:
    """A kind of normalisation.

    Attributes:
        signature: its arguments and meaning.
        apply: `(x, arguments, train, start, dtype, name) -> y`, within a Flax module.
        running: whether it keeps running statistics (collection `batch_stats`).
    """

    signature: Signature
    apply: Callable[..., jax.Array]
    running: bool = False


_STANDARDISED = "scale * (x - mean) / sqrt(var + 1e-5) + bias"

NORMS = {
    "batch": Norm(
        Signature(
            "of the global batch",
            (),
            _STANDARDISED,
            "Ioffe & Szegedy 2015, arXiv 1502.03167",
        ),
        lambda x, _, train, *at: _batch(x, train, *at),
        running=True,
    ),
    "ghost": Norm(
        Signature(
            "of so many images at a time",
            (Argument("images", integer(1), REQUIRED),),
            _STANDARDISED,
            "Hoffer et al. 2017, arXiv 1705.08741, algorithm 1",
        ),
        lambda x, arguments, train, start, dtype, name: GhostBatch(
            *arguments, start, dtype, name=name
        )(x, train),
        running=True,
    ),
    "group": Norm(
        Signature(
            "of groups of channels",
            (Argument("groups", integer(1), REQUIRED),),
            _STANDARDISED,
            "Wu & He 2018, arXiv 1803.08494, section 3",
        ),
        lambda x, arguments, train, *at: _group(x, *arguments, *at),
    ),
    # Of an image's pixels and channels together, with a scale per channel: one group.
    "layer": Norm(
        Signature("of an image", (), _STANDARDISED, "Ba et al. 2016, arXiv 1607.06450"),
        lambda x, _, train, *at: _group(x, 1, *at),
    ),
    "frn": Norm(
        Signature(
            "filter response, with its thresholded unit",
            (),
            "max(scale * x / sqrt(mean(x^2) + 1e-6) + bias, threshold)",
            "Singh & Krishnan 2020, arXiv 1911.09737, section 3",
        ),
        lambda x, _, train, start, dtype, name: FilterResponse(start, dtype, name=name)(x),
    ),
    "dyt": Norm(
        Signature(
            "dynamic tanh",
            (Argument("alpha", number(), 0.5),),
            "scale * tanh(alpha * x) + bias",
            "Zhu et al. 2025, arXiv 2503.10622, section 4",
        ),
        lambda x, arguments, train, start, dtype, name: DynamicTanh(
            *arguments, start, dtype, name=name
        )(x),
    ),
    "none": Norm(Signature("nothing", (), "x"), lambda x, *_: x),
}
"""Name -> kind. Whether it has state follows from the kind."""

_VOCABULARY = {name: norm.signature for name, norm in NORMS.items()}

USAGE = tokens.usage(_VOCABULARY)
"""The kinds in one line."""


def kind(text: str) -> str:
    """An argument parser for a kind; returns it as one writes it.

    Raises:
        ValueError: it is none, with what is legal.
    """
    try:
        (token,) = tokens.parse(text, _VOCABULARY, "kind")
    except ConfigError as error:
        raise ValueError(f"is no norm ({error})") from None
    except ValueError:
        raise ValueError(f"is not one norm of {USAGE}") from None
    return str(token)


def is_kind(value: object) -> bool:
    """Whether `value` is the text of one kind."""
    try:
        return isinstance(value, str) and bool(kind(value))
    except ValueError:
        return False


def token(text: str) -> Token:
    """A kind as a token."""
    return tokens.parse(text, _VOCABULARY, "norm")[0]


def normalise(
    x: jax.Array, kind: str, *, start: float, dtype: jnp.dtype, name: str, train: bool
) -> jax.Array:
    """Normalises `x` [B, H, W, C] within a Flax module.

    Args:
        x: the input.
        kind: as one writes it.
        start: of the scale.
        dtype: of the result.
        name: of the layer.
        train: use and update the statistics of the batch, where the kind has them.
    """
    parsed = token(kind)
    return NORMS[parsed.name].apply(x, parsed.arguments, train, start, dtype, name)
