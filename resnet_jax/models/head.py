"""The layers between global pooling and the last one: strings such as `dense(256) act drop(0.2)`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import initializers, layers, signal
from resnet_jax.models.layers import LayerOptions
from resnet_jax.tokens import REQUIRED, Argument, Signature, Token, integer

VOCABULARY = {
    "dense": Signature("a hidden layer with a bias", (Argument("features", integer(1), REQUIRED),)),
    "act": layers.VOCABULARY["act"],
    "drop": layers.VOCABULARY["drop"],
}
"""The tokens of `config.model.head`."""


def apply(
    tokens: Sequence[Token], x: jax.Array, options: LayerOptions, *, train: bool
) -> jax.Array:
    """Applies the tokens within the current Flax module, to float32 [B, C].

    Hidden layers are called `head_hidden1`, `head_hidden2`, ...; they start as LeCun et al. 1998
    have it (variance 1 / fan_in), with a bias of 0.
    """
    counts: dict[str, int] = {}
    for token in tokens:
        counts[token.name] = counts.get(token.name, 0) + 1
        number = counts[token.name]
        match token.name, token.arguments:
            case "dense", (features,):
                start = initializers.lecun_normal
                x = nn.Dense(features, kernel_init=start, name=f"head_hidden{number}")(x)
            case "act", (kind,):
                kind = kind or options.activation
                x = layers.ACTIVATIONS[kind](x)
                if options.scaled_activation:
                    x = x * jnp.asarray(signal.activation_scale(kind), x.dtype)
            case "drop", (rate,):
                x = nn.Dropout(rate, deterministic=not train, name=f"head_drop{number}")(x)
    return x
