"""The order in which a run sees its images, computed for any position without state.

Position p of the stream shows image `permutation(seed, epoch)[p mod N]` of epoch p // N. The
permutation is a small Feistel cipher on the numbers below N, so that neither a training step nor a
streaming reader has to store or shuffle an index. The same code runs on NumPy and on JAX arrays.

Construction: the generalised Feistel network of Black & Rogaway 2002 ("Ciphers with arbitrary finite
domains", section 5) on a grid of a x b >= N cells; a result outside N is enciphered again
("cycle walking", section 4), which keeps it a bijection.
"""

import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ROUNDS = 8
"""Feistel rounds: two more than it takes for neighbours to be unrelated (tested)."""


def _mix(x: Any, xp: ModuleType) -> Any:
    """The finaliser of MurmurHash3: every input bit flips each output bit with probability near 1/2."""
    x = x ^ (x >> xp.uint32(16))
    x = x * xp.uint32(0x85EBCA6B)
    x = x ^ (x >> xp.uint32(13))
    x = x * xp.uint32(0xC2B2AE35)
    return x ^ (x >> xp.uint32(16))


def _encipher(x: Any, key: Any, size: int, xp: ModuleType) -> Any:
    """A bijection on the a * b >= size cells of the grid; x and key are uint32 of one shape."""
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    left, right = x // xp.uint32(columns), x % xp.uint32(columns)
    modulus, other = rows, columns
    for number in range(ROUNDS):
        hashed = _mix(right ^ _mix(key + xp.uint32(number * 0x9E3779B9 & 0xFFFFFFFF), xp), xp)
        left, right = right, (left + hashed % xp.uint32(modulus)) % xp.uint32(modulus)
        modulus, other = other, modulus
    # After an even number of rounds the halves have their own moduli again.
    return left * xp.uint32(columns) + right


def _key(seed: Any, epoch: Any, xp: ModuleType) -> Any:
    return _mix(_mix(epoch + xp.uint32(0x27D4EB2F), xp) ^ seed, xp)


def images_at(seed: jax.Array, positions: jax.Array, size: int) -> jax.Array:
    """Which image each position of the stream shows, for use inside `jit`.

    Args:
        seed: uint32 [].
        positions: integers [B], below 2**31.
        size: number of images N.

    Returns:
        int32 [B], each in 0..N-1.
    """
    positions = positions.astype(jnp.uint32)
    key = _key(seed.astype(jnp.uint32), positions // jnp.uint32(size), jnp)

    def walk(index: jax.Array) -> jax.Array:
        return jnp.where(index < size, index, _encipher(index, key, size, jnp))

    first = _encipher(positions % jnp.uint32(size), key, size, jnp)
    index = jax.lax.while_loop(lambda index: jnp.any(index >= size), walk, first)
    return index.astype(jnp.int32)


def images_at_numpy(seed: int, positions: np.ndarray, size: int) -> np.ndarray:
    """The same as `images_at` in NumPy."""
    positions = np.asarray(positions).astype(np.uint32)
    with np.errstate(over="ignore"):
        key = _key(np.uint32(seed), positions // np.uint32(size), np)
        index = _encipher(positions % np.uint32(size), key, size, np)
        while (outside := index >= size).any():
            index = np.where(outside, _encipher(index, key, size, np), index)
    return index.astype(np.int32)
