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
    whole = sharding.replicated(batches.mesh)
    fused = sharding.on_accelerator(batches.mesh) if fused is None else fused

    def add(metrics: Metrics, variables: Any, examples: DeviceExamples, start: Any) -> Metrics:
        size = batches.evaluation_size(batch_size, len(examples))
        return metrics.merge(eval_step(model, batches, size, variables, examples, start))

    def all_batches(variables: Any, examples: DeviceExamples) -> Metrics:
        size = batches.evaluation_size(batch_size, len(examples))
        count = -(-len(examples) // size)

        def body(number: jax.Array, metrics: Metrics) -> Metrics:
            return add(metrics, variables, examples, number.astype(jnp.int32) * size)

        return jax.lax.fori_loop(0, count, body, Metrics.empty())

    if fused:
        return jax.jit(all_batches, out_shardings=whole)
    one_batch = jax.jit(add, out_shardings=whole)

    def evaluate(variables: dict[str, Any], examples: DeviceExamples) -> Metrics:
        metrics = jax.device_put(Metrics.empty(), whole)
        size = batches.evaluation_size(batch_size, len(examples))
        for start in range(0, len(examples), size):
            metrics = one_batch(metrics, variables, examples, jnp.int32(start))
        return metrics

    return evaluate
