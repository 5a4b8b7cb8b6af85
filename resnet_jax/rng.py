"""Every random key of the project, folded from the run's seed and what the key is for.

No key is stored: a resumed run folds the same keys from the same step and positions.
"""

import enum

import jax


class Stream(enum.IntEnum):
    """What a key is for. The numbers are part of every result: never reuse or renumber one."""

    INIT = 1
    AUGMENT = 2
    LAYERS = 3


def key(seed: jax.typing.ArrayLike, stream: Stream) -> jax.Array:
    """The typed key (shape []) of a `stream`; `seed` may be traced."""
    return jax.random.fold_in(jax.random.key(seed), stream)


def keys_at(seed: jax.typing.ArrayLike, stream: Stream, positions: jax.Array) -> jax.Array:
    """One typed key per position, shape [B] for positions of shape [B]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key(seed, stream), positions)
