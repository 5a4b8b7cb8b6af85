"""Initial values of parameters.

Each is jitted by shape and draws a flat vector: a network has few distinct shapes, so initialising a
deep one compiles a handful of small programs instead of one that grows with the depth.
"""

import functools
import math

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _normal(
    key: jax.Array, shape: tuple[int, ...], deviation: float, dtype: jnp.dtype
) -> jax.Array:
    # The deviation is a constant of the program, as it is where a whole network's init is jitted:
    # XLA merges it with a factor of its own, so that the values are the same to the last bit.
    values = jax.random.normal(key, (math.prod(shape),), dtype) * jnp.asarray(deviation, dtype)
    return values.reshape(shape)


def he_normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """Normal with variance 2 / fan_out, not truncated (He et al. 2015, arXiv 1502.01852, eq. 14).

    Args:
        key: random key.
        shape: (height, width, in, out) of a convolution kernel; fan_out is height * width * out,
            also for grouped convolutions, as in the published ResNeXt.
        dtype: of the result.
    """
    fan_out = shape[0] * shape[1] * shape[-1]
    return _normal(key, shape, math.sqrt(2 / fan_out), dtype)


def lecun_normal(
    key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """Normal with variance 1 / fan_in, for a dense kernel of shape (in, out)."""
    return _normal(key, shape, math.sqrt(1 / shape[0]), dtype)


def head_normal(
    key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """Normal with standard deviation 0.01: a fresh network's loss is close to ln(classes)."""
    return _normal(key, shape, 0.01, dtype)
