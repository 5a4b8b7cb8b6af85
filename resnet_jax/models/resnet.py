"""The network around the units: stem, stages, final tokens, global average pool, head."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import head, initializers, plugins
from resnet_jax.models.initial_values import InitialRule
from resnet_jax.models.layers import ConvSpec, LayerOptions
from resnet_jax.models.meeting import COLLECTION, FEATURES
from resnet_jax.models.remat import recomputed
from resnet_jax.models.sequence import Layers
from resnet_jax.models.unit import Unit, UnitSpec
from resnet_jax.tokens import Token


class TokenLayers(nn.Module):
    """The layers of a token string outside the units: the stem, or what follows the last unit.

    Attributes:
        tokens: what to apply.
        convs: what the `conv` tokens stand for.
        options: shared by the network's layers.
        index, units: units so far, and in the network.
        beta: expected deviation of the input (`signal.py`).
    """

    tokens: tuple[Token, ...]
    convs: tuple[ConvSpec, ...]
    options: LayerOptions
    index: int
    units: int
    beta: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        layers = Layers(
            self.options,
            self.convs,
            train=train,
            path=self.path,
            index=self.index,
            units=self.units,
            numbered=False,
            beta=self.beta,
        )
        return layers(self.tokens, x)


class Stage(nn.Module):
    """Residual units `block1`, `block2`, ...; the first may change the shape."""

    units: tuple[UnitSpec, ...]
    options: LayerOptions
    unit: type[nn.Module] = Unit

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for number, spec in enumerate(self.units, 1):
            name = f"block{number}"
            if self.unit is Unit:
                unit = Unit(spec, self.options, name=name)
                x = recomputed(unit, x, train) if self.options.remat else unit(x, train)
            else:
                x = plugins.apply_unit(self.unit, spec, self.options, name, x, train)
            self.sow(COLLECTION, f"{name}_output", x)
        return x


class ResNet(nn.Module):
    """A residual network for classification.

    Built from a config by `architecture.build`. Parameters are named `stem/conv/kernel`,
    `stage2/block3/conv1/kernel`, `stage2/block1/projection/conv/kernel`, `final/norm/scale`,
    `head/kernel`, and `head_hidden1/kernel` where the head has hidden layers.

    Attributes:
        stem, final: tokens before the first and after the last unit.
        stem_convs: what the stem's `conv` tokens stand for.
        stages: the units of each stage.
        num_classes: number of logits.
        options: shared by all layers.
        head: tokens between global pooling and the last layer.
        beta: expected deviation of the last unit's output at initialisation (`signal.py`).
        initial: rules on initial values, which `step.init_variables` applies.
        unit: class of the residual units.
    """

    stem: tuple[Token, ...]
    stem_convs: tuple[ConvSpec, ...]
    stages: tuple[tuple[UnitSpec, ...], ...]
    final: tuple[Token, ...]
    num_classes: int
    options: LayerOptions
    head: tuple[Token, ...] = ()
    beta: float = 1.0
    initial: tuple[InitialRule, ...] = ()
    unit: type[nn.Module] = Unit

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Computes logits.

        Args:
            images: float32 [B, H, W, C], normalised; or [B, F], what the network made of them
                before (`features` in the collection of `meeting.py`), for the head alone.
            train: use the batch's statistics, update the running ones (collection `batch_stats`,
                to be passed as mutable) and drop out (random key `dropout`).

        Returns:
            float32 [B, num_classes].
        """
        options, total = self.options, sum(map(len, self.stages))
        features = images
        if images.ndim == 4:
            x = images.astype(options.dtype)
            x = TokenLayers(self.stem, self.stem_convs, options, 0, total, name="stem")(x, train)
            for number, units in enumerate(self.stages, 1):
                x = Stage(units, options, self.unit, name=f"stage{number}")(x, train)
            final = TokenLayers(self.final, (), options, total, total, self.beta, name="final")
            # The mean and the head are float32 in every precision: a loss in bfloat16 has 8 bits.
            features = jnp.mean(final(x, train).astype(jnp.float32), axis=(1, 2))
            self.sow(COLLECTION, FEATURES, features)
        features = head.apply(self.head, features, options, train=train)
        last = nn.Dense(self.num_classes, kernel_init=initializers.head_normal, name="head")
        return last(features)
