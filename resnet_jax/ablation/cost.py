"""What a run costs beside time: the optimizer's memory, and the arithmetic of a step."""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from resnet_jax import config as configs
from resnet_jax import plan, sharding, step
from resnet_jax.data.pipeline import DeviceExamples
from resnet_jax.data.spec import Dataset


def measure(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """The fields of a row that say what its run costs; nothing is computed, or compiled.

    FLOPs are what XLA counts in a training step with its own convolutions, in front of its
    optimisations, so that they are the same on every machine and for the native kernels: forward,
    backward as far as it is needed, update, augmentation.

    Args:
        config: of the run.
        dataset: of the run.

    Returns:
        `optimizer_bytes`, of the optimizer's state; `step_flops`, None where XLA does not count.
    """
    config = config.copy_and_resolve_references()
    config.conv_backend = "xla"
    run = plan.make(config, [_device()], dataset)
    state = step.state_shapes(run.recipe, run.image_shape)
    whole = sharding.replicated(run.recipe.batches.mesh)
    count = configs.train_examples(config)
    examples = DeviceExamples(
        images=jax.ShapeDtypeStruct((count, *dataset.image_shape), jnp.uint8, sharding=whole),
        labels=jax.ShapeDtypeStruct((count,), jnp.int32, sharding=whole),
    )
    lowered = jax.jit(lambda s, e: step.train_step(run.recipe, s, e)).lower(state, examples)
    counted = lowered.cost_analysis() or {}
    leaves = jax.tree.leaves(state.opt_state)
    return {
        "optimizer_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        "step_flops": counted.get("flops"),
    }


def _device() -> jax.Device:
    """A CPU, where there is one to JAX: XLA does not count for the plugins of GPUs and TPUs."""
    try:
        return jax.devices("cpu")[0]
    except RuntimeError:
        return jax.devices()[0]
