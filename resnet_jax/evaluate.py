"""Evaluation: every example exactly once, whatever the batch size and the number of devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax import sharding
from resnet_jax.data.pipeline import Batches, DeviceExamples
from resnet_jax.metrics import Metrics
from resnet_jax.step import eval_step


def compile_evaluation(
    model: nn.Module, batches: Batches, batch_size: int, *, fused: bool | None = None
) -> Callable[[dict[str, Any], DeviceExamples], Metrics]:
    """A function `(variables, examples) -> Metrics` over a whole split.

    Args:
        model: maps images to logits.
        batches: normalisation and mesh.
        batch_size: images at a time; the last batch is padded, and padding is not counted.
        fused: run all batches in one dispatch. Default: on accelerators.
    """
    measure = compile_correctness(model, batches, batch_size, fused=fused)
    return lambda variables, examples: measure(variables, examples)[0]


def compile_correctness(
    model: nn.Module, batches: Batches, batch_size: int, *, fused: bool | None = None
) -> Callable[[dict[str, Any], DeviceExamples], tuple[Metrics, jax.Array]]:
    """As `compile_evaluation`, in the same pass also which examples are classified correctly.

    Returns:
        a function `(variables, examples) -> (Metrics, bool [N])`, in the order of the examples.
    """
    whole = sharding.replicated(batches.mesh)
    fused = sharding.on_accelerator(batches.mesh) if fused is None else fused

    def add(carry: tuple, variables: Any, examples: DeviceExamples, start: Any) -> tuple:
        metrics, correct = carry
        size = batches.evaluation_size(batch_size, len(examples))
        counted, right = eval_step(model, batches, size, variables, examples, start)
        correct = jax.lax.dynamic_update_slice(correct, right, (start,))
        return metrics.merge(counted), correct

    def nothing(examples: DeviceExamples) -> tuple[Metrics, jax.Array]:
        size = batches.evaluation_size(batch_size, len(examples))
        # Long enough for the padding: a slice that would reach beyond the end is moved, not cut.
        return Metrics.empty(), jnp.zeros(-(-len(examples) // size) * size, bool)

    def all_batches(variables: Any, examples: DeviceExamples) -> tuple[Metrics, jax.Array]:
        size = batches.evaluation_size(batch_size, len(examples))

        def body(number: jax.Array, carry: tuple) -> tuple:
            return add(carry, variables, examples, number.astype(jnp.int32) * size)

        count = -(-len(examples) // size)
        metrics, correct = jax.lax.fori_loop(0, count, body, nothing(examples))
        return metrics, correct[: len(examples)]

    if fused:
        return jax.jit(all_batches, out_shardings=whole)
    one_batch = jax.jit(add, out_shardings=whole)

    def evaluate(variables: dict[str, Any], examples: DeviceExamples) -> tuple[Metrics, jax.Array]:
        carry = jax.device_put(nothing(examples), whole)
        size = batches.evaluation_size(batch_size, len(examples))
        for start in range(0, len(examples), size):
            carry = one_batch(carry, variables, examples, jnp.int32(start))
        metrics, correct = carry
        return metrics, correct[: len(examples)]

    return evaluate
