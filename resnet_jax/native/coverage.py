"""How many of a network's convolutions the native kernels compute."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core

from resnet_jax import step
from resnet_jax.plan import Plan


def served(model: nn.Module, variables: Any, images: tuple[int, ...]) -> tuple[int, int]:
    """Counts convolutions in the traced forward pass; nothing is computed.

    Args:
        model: maps images to logits.
        variables: of the model, arrays or shapes.
        images: [B, H, W, C].

    Returns:
        those that the kernels compute, and all of them.
    """
    shape = jax.ShapeDtypeStruct(images, jnp.float32)
    traced = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, shape)
    found = list(_convolutions(traced.jaxpr))
    return sum(found), len(found)


def note(run: Plan) -> str:
    """What to add where the kernels are chosen but do not compute every convolution; else ""."""
    if run.backend.lanes is None:
        return ""
    recipe, image_shape = run.recipe, run.dataset.image_shape
    variables = jax.eval_shape(lambda: step.init_variables(recipe.model, 0, image_shape))
    batch = recipe.batch_size // recipe.accumulation
    kernels, every = served(recipe.model, variables, (batch, *image_shape))
    if kernels == every:
        return ""
    return f" for {kernels} of {every} convolutions; XLA's for those of other sizes or channels"


def _convolutions(jaxpr: Any) -> Iterator[bool]:
    """For each convolution, whether it is a kernel's."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield False
        if equation.params.get("target_name") == "resnet_conv":
            yield True
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(value):
                yield from _convolutions(getattr(value, "jaxpr", value))


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)
