"""Computing a unit's activations again in the backward pass, instead of keeping them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import lift
from jax.extend.core import jaxpr_as_fun


def recomputed(unit: nn.Module, x: jax.Array, train: bool) -> jax.Array:
    """`unit(x, train)`, of which only the input is kept for the backward pass.

    Chen et al. 2016, arXiv 1604.06174. Values and gradients are the same. On accelerators it is
    `nn.remat`. XLA:CPU removes the barriers by which that keeps XLA from merging the second forward pass
    with the first, so that nothing would be saved; there the second one waits for the gradient.

    Args:
        unit: a module that is called with (x, train).
        x: [B, H, W, C].
        train: as for the unit.
    """

    def call(unit: nn.Module, x: jax.Array) -> jax.Array:
        return unit(x, train)

    if unit.is_initializing():
        return unit(x, train)
    if jax.default_backend() != "cpu":
        return nn.remat(call)(unit, x)
    return nn.transforms.lift_transform(_lifted, call)(unit, x)


def _lifted(function: Callable, *_: Any, **__: Any) -> Callable:
    """`flax.core.lift.checkpoint` with another `jax.checkpoint`."""

    def inner(scope_of: Callable, repack: Callable, variables: Any, keys: Any, x: Any) -> Any:
        def pure(x: jax.Array, variables: Any, keys: Any) -> tuple:
            scope = scope_of(variables, keys)
            return function(scope, x), repack(scope)

        # Traced once, since a module that is traced again draws other random numbers.
        program, shapes = jax.make_jaxpr(pure, return_shape=True)(x, variables, keys)
        inputs = jax.tree.leaves((x, variables, keys))
        outputs = _checkpoint(jaxpr_as_fun(program))(*inputs)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return lift.pack(inner, (True,), (True,), (True,), name="recomputed")


def _checkpoint(function: Callable) -> Callable:
    """`jax.checkpoint` by data that XLA cannot see through.

    Args:
        function: of arrays to a list of arrays; the first ones are images.
    """

    @jax.custom_vjp
    def wrapped(*inputs: jax.Array) -> list[jax.Array]:
        return function(*inputs)

    def forward(*inputs: jax.Array) -> tuple:
        return function(*inputs), inputs

    def backward(inputs: tuple, cotangents: list[jax.Array]) -> tuple:
        x, *more = inputs
        # x again, but not before the gradient is there, and not known to be the x of before.
        broken = jnp.isnan(cotangents[0].ravel()[0])
        x = jnp.where(broken, jnp.nan, x).astype(x.dtype)
        return jax.vjp(function, x, *more)[1](cotangents)

    wrapped.defvjp(forward, backward)
    return wrapped
