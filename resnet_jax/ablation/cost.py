"""What a run costs beside time: the optimizer's memory, and the arithmetic of a step."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from resnet_jax import config as configs
from resnet_jax import plan, sharding, step
from resnet_jax.data.pipeline import DeviceExamples
from resnet_jax.data.spec import Dataset
from resnet_jax.finetune import distill, features
from resnet_jax.finetune.teacher import TaughtExamples


def measure(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """The fields of a row that say what its run costs; nothing is computed, or compiled.

    FLOPs are what XLA counts in a training step with its own convolutions, in front of its
    optimisations, so that they are the same on every machine and for the native kernels: forward,
    backward as far as it is needed, update, augmentation; a teacher's forward pass.

    Args:
        config: of the run.
        dataset: of the run.

    Returns:
        `optimizer_bytes`, of the optimizer's state; `step_flops`, None where XLA does not count;
        `once_flops`, of the features that are computed before the first step. Where phases differ
        in all this, None.
    """
    if config.finetune.phases:  # whose steps differ
        return {"optimizer_bytes": None, "step_flops": None}
    config = config.copy_and_resolve_references()
    config.conv_backend = "xla"
    run = plan.make(config, [_device()], dataset)
    recipe = distill.with_teacher(run)
    state = step.state_shapes(recipe, run.image_shape)
    examples, once = images(run), 0.0
    if recipe.teacher is not None:
        examples = _taught(recipe, run, examples)
    if config.finetune.cache_features:
        recipe, examples, once = _features(recipe, config, state, examples)
    leaves = jax.tree.leaves(state.opt_state)
    return {
        "optimizer_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        "step_flops": _flops(functools.partial(step.train_step, recipe), state, examples),
        "once_flops": once,
    }


def _flops(function: Callable, *shapes: Any) -> float | None:
    return (jax.jit(function).lower(*shapes).cost_analysis() or {}).get("flops")


def images(run: plan.Plan) -> DeviceExamples:
    """The shapes of the training images."""
    whole = sharding.replicated(run.recipe.batches.mesh)
    count = configs.train_examples(run.config, run.dataset)
    shape = (count, *run.dataset.image_shape)
    return DeviceExamples(
        images=jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=whole),
        labels=jax.ShapeDtypeStruct((count,), jnp.int32, sharding=whole),
    )


def _taught(recipe: step.Recipe, run: plan.Plan, examples: DeviceExamples) -> TaughtExamples:
    """The same with the teacher's variables beside them."""
    shape, model = run.dataset.image_shape, recipe.teacher.model
    variables = jax.eval_shape(lambda: step.init_variables(model, 0, shape))
    return TaughtExamples(images=examples.images, labels=examples.labels, teacher=variables)


def _features(
    recipe: step.Recipe, config: ConfigDict, state: step.TrainState, images: DeviceExamples
) -> tuple[step.Recipe, DeviceExamples, float | None]:
    """A recipe on cached features, their shapes, and the FLOPs to compute them."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    model, batches, size = recipe.model, recipe.batches, config.eval_batch_size
    one_batch = functools.partial(features.batch_of_features, model, batches, size)
    args = (variables, images, jax.ShapeDtypeStruct((), jnp.int32))
    each, (batch, *shape) = _flops(one_batch, *args), jax.eval_shape(one_batch, *args).shape
    whole = sharding.replicated(batches.mesh)
    cached = DeviceExamples(
        images=jax.ShapeDtypeStruct((len(images), *shape), jnp.float32, sharding=whole),
        labels=images.labels,
    )
    once = None if each is None else each * -(-len(images) // batch)
    return features.on_features(recipe), cached, once


def _device() -> jax.Device:
    """A CPU, where there is one to JAX: XLA does not count for the plugins of GPUs and TPUs."""
    try:
        return jax.devices("cpu")[0]
    except RuntimeError:
        return jax.devices()[0]
