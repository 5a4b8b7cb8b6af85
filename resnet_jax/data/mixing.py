"""Mixtures of two images and of their labels: mixup and CutMix.

Each image has a partner of its own, drawn from the whole training set by the image's key. So a
mixture depends on (seed, position) like everything else, and not on which images share its batch.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.data.masks import inside
from resnet_jax.tokens import Token

MIXES = frozenset({"mixup", "cutmix"})
"""The tokens that mix."""

# What is folded into an image's key, beyond the numbers of tokens.
_PARTNER, _CHOICE = 2**30, 2**30 + 1

_CELLS = 4096


def partners(keys: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Whom each image is mixed with.

    Args:
        keys: of the images, [B].
        size: of the training set.

    Returns:
        int32 [B], indices into the training set, and the keys [B] by which the partners are augmented.
    """
    own = jax.vmap(lambda key: jax.random.fold_in(key, _PARTNER))(keys)
    index = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, _PARTNER), (), 0, size))
    return index(own), own


def mix(
    tokens: Sequence[Token], images: jax.Array, others: jax.Array, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mixes each image with its partner by one of the tokens, each equally likely.

    Args:
        tokens: some of `MIXES`.
        images: float32 [B, H, W, C].
        others: their partners.
        keys: random keys [B].

    Returns:
        the mixtures, and the share of `images` in each: float32 [B].
    """
    own = jax.vmap(lambda key: jax.random.fold_in(key, _CHOICE))(keys)
    chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(tokens)))(own)
    mixed, shares = images, jnp.ones(len(images), jnp.float32)
    for number, token in enumerate(tokens):
        alpha, probability = token.arguments
        draws = jax.vmap(
            lambda key, number=number: jax.random.uniform(jax.random.fold_in(key, number), (4,))
        )(own)
        happens = (chosen == number) & (draws[:, 0] < probability)
        drawn = _beta(draws[:, 1], alpha)
        if token.name == "mixup":
            weights = drawn[:, None, None, None]
            result = others + weights * (images - others)
        else:
            keep, drawn = _outside_boxes(images.shape[1:3], drawn, draws[:, 2:])
            result = jnp.where(keep, images, others)
        mixed = jnp.where(happens[:, None, None, None], result, mixed)
        shares = jnp.where(happens, drawn, shares)
    return mixed, shares


def soft(labels: jax.Array, others: jax.Array, shares: jax.Array, classes: int) -> jax.Array:
    """The targets of mixtures, float32 [B, classes]: the share of each class.

    Args:
        labels: int32 [B].
        others: those of the partners.
        shares: of `labels`, float32 [B].
        classes: how many there are.
    """
    first, second = (jax.nn.one_hot(each, classes) for each in (labels, others))
    return second + shares[:, None] * (first - second)


def _beta(uniform: jax.Array, alpha: float) -> jax.Array:
    """Draws of Beta(alpha, alpha) from uniform ones, by its quantiles.

    They are tabulated, and straight lines in between: the usual way, by rejection, would loop until
    the last image of the batch is served, and depend on which devices share the loop.
    """
    import scipy.special

    table = scipy.special.betaincinv(alpha, alpha, np.linspace(0, 1, _CELLS + 1))
    table = jnp.asarray(table, jnp.float32)
    at = uniform * _CELLS
    cell = jnp.minimum(at.astype(jnp.int32), _CELLS - 1)
    return table[cell] + (at - cell) * (table[cell + 1] - table[cell])


def _outside_boxes(
    shape: tuple[int, int], shares: jax.Array, places: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where an image stays, bool [B, H, W, 1], and the share of pixels that do (section 3.1).

    Args:
        shape: height and width.
        shares: that is asked for; the box may reach over the edge, which leaves more of the image.
        places: of the box's centre, 0 to 1, [B, 2].
    """
    height, width = shape
    size = jnp.sqrt(1 - shares)

    def one(size: jax.Array, place: jax.Array) -> jax.Array:
        tall, wide = jnp.floor(size * height), jnp.floor(size * width)
        top = jnp.floor(place[0] * height) - jnp.floor(tall / 2)
        left = jnp.floor(place[1] * width) - jnp.floor(wide / 2)
        return ~inside(shape, top, left, tall, wide)

    keep = jax.vmap(one)(size, places)
    share = keep.astype(jnp.int32).sum((1, 2)).astype(jnp.float32) / (height * width)
    return keep[..., None], share
