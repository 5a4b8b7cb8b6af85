"""The training state, and the pure functions that advance and evaluate it."""

import dataclasses
import operator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from resnet_jax import params as parameters
from resnet_jax import rng, sharding
from resnet_jax.data.pipeline import Batches, DeviceExamples
from resnet_jax.finetune.freeze import Frozen
from resnet_jax.finetune.teacher import Teacher
from resnet_jax.metrics import Metrics
from resnet_jax.models import initial_values


@flax.struct.dataclass
class TrainState:
    """Everything that a run carries from step to step; nothing else is state.

    Attributes:
        step: int32 [], number of completed updates.
        seed: uint32 []; data, not a constant, so that all seeds share one compiled program.
        params: float32 parameters.
        batch_stats: float32 running statistics.
        opt_state: of the Optax chain, for the parameters that are trained.
        ema: averages of the `params` and `batch_stats` that are not frozen; {} where `ema_decay` is 0.
    """

    step: jax.Array
    seed: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any

    def evaluated(self) -> dict[str, Any]:
        """The variables to evaluate: the averages where there are any, else the last ones."""
        last = {"params": self.params, "batch_stats": self.batch_stats}
        return parameters.merge(last, self.ema)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training step needs to know.

    Attributes:
        model: maps images to logits.
        optimizer: the Optax chain.
        batches: how images become batches.
        batch_size: images a step, over all devices.
        accumulation: micro-batches a step.
        label_smoothing: share of the target spread over all classes.
        ema_decay: per step, at most: (1 + step) / (10 + step) while that is less; 0 for no average.
        frozen: what is not trained; None for nothing.
        teacher: whose outputs are learned too; None for none.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    batches: Batches
    batch_size: int
    accumulation: int = 1
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    frozen: Frozen | None = None
    teacher: Teacher | None = None

    def split(self, params: Any) -> tuple[Any, Any]:
        """The parameters that are trained, and the frozen ones."""
        return (params, {}) if self.frozen is None else self.frozen.split(params)

    def averaged(self, variables: dict[str, Any]) -> dict[str, Any]:
        """What an average is kept of: all that can change."""
        if self.frozen is None:
            return variables
        frozen = self.frozen.statistics(variables["batch_stats"])
        moving = jax.tree.map(operator.not_, frozen)
        return {
            "params": self.split(variables["params"])[0],
            "batch_stats": parameters.split(variables["batch_stats"], moving)[0],
        }


def init_variables(model: nn.Module, seed: int, image_shape: tuple[int, int, int]) -> dict:
    """Initial `params` and `batch_stats` (float32) of a network for images [H, W, C].

    The forward pass is only traced, never computed: initial values in the same program as the
    network are constants to XLA:CPU, which computes wrong numbers from some (jaxlib 0.10.2).
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    # Native kernels have the same parameters, but would ask for an image per device.
    model = model.clone(options=dataclasses.replace(model.options, kernels=None))
    key = rng.key(seed, rng.Stream.INIT)
    variables = model.lazy_init(key, images, train=False)
    params = initial_values.apply(
        variables["params"], model.initial, key, model.options.standardization
    )
    return {"params": params, "batch_stats": variables.get("batch_stats", {})}


def init_state(
    recipe: Recipe,
    seed: int,
    image_shape: tuple[int, int, int],
    variables: dict[str, Any] | None = None,
) -> TrainState:
    """The state before the first step, on every device of the mesh.

    Args:
        recipe: of the run.
        seed: of the run.
        image_shape: (height, width, channels).
        variables: `params` and `batch_stats` to begin with; None for initial ones.
    """
    if variables is None:
        variables = init_variables(recipe.model, seed, image_shape)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=recipe.optimizer.init(recipe.split(variables["params"])[0]),
        ema=jax.tree.map(jnp.array, recipe.averaged(variables)) if recipe.ema_decay else {},
    )
    return jax.device_put(state, sharding.replicated(recipe.batches.mesh))


def state_shapes(recipe: Recipe, image_shape: tuple[int, int, int]) -> TrainState:
    """The structure of a state, with shapes, dtypes and shardings in the place of arrays."""
    whole = sharding.replicated(recipe.batches.mesh)
    variables = jax.eval_shape(lambda: init_variables(recipe.model, 0, image_shape))
    shapes = TrainState(
        step=jax.ShapeDtypeStruct((), jnp.int32),
        seed=jax.ShapeDtypeStruct((), jnp.uint32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=jax.eval_shape(recipe.optimizer.init, recipe.split(variables["params"])[0]),
        ema=recipe.averaged(variables) if recipe.ema_decay else {},
    )
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), shapes)


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy per example against smoothed targets.

    Args:
        logits: float32 [B, classes].
        labels: int32 [B]; or the share of each class, float32 [B, classes].
        smoothing: share of the target spread evenly over all classes (Szegedy et al. 2016, arXiv
            1512.00567, section 7).

    Returns:
        float32 [B].
    """
    targets = labels
    if labels.ndim == 1:
        targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing))


def _gradients(
    recipe: Recipe, state: TrainState, examples: DeviceExamples
) -> tuple[Any, Any, Metrics]:
    """Gradients of what is trained and metrics of the step's batch, and the batch statistics behind it.

    Micro-batches are taken in order, and each is normalised by its own statistics, as if it were a
    smaller batch; what is linear, the gradient, is averaged. The loop is unrolled on a CPU, where
    XLA's convolutions are slow inside one.
    """
    size = recipe.batch_size // recipe.accumulation
    start = state.step.astype(jnp.uint32) * jnp.uint32(recipe.batch_size)
    layer_key = jax.random.fold_in(rng.key(state.seed, rng.Stream.LAYERS), state.step)

    # Only what is trained is differentiated, so that no work is done for a frozen prefix.
    trained, frozen = recipe.split(state.params)

    def loss(trained: Any, batch_stats: Any, number: jax.Array) -> tuple[jax.Array, tuple]:
        positions = start + number * jnp.uint32(size) + jnp.arange(size, dtype=jnp.uint32)
        images, labels = recipe.batches.train(examples, state.seed, positions)
        logits, updated = recipe.model.apply(
            {"params": parameters.merge(frozen, trained), "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.fold_in(layer_key, number)},
        )
        losses = cross_entropy(logits, labels, recipe.label_smoothing)
        if recipe.teacher is not None:
            losses = recipe.teacher.losses(losses, logits, examples, images)
        metrics = Metrics.of_batch(losses, logits, labels)
        return losses.mean(), (updated.get("batch_stats", batch_stats), metrics)

    def micro_step(number: jax.Array, carry: tuple) -> tuple:
        total, batch_stats, metrics = carry
        gradients, (batch_stats, counted) = jax.grad(loss, has_aux=True)(
            trained, batch_stats, number
        )
        return jax.tree.map(jnp.add, total, gradients), batch_stats, metrics.merge(counted)

    first, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(
        trained, state.batch_stats, jnp.uint32(0)
    )
    carry = (first, batch_stats, metrics)
    if recipe.accumulation > 1 and sharding.on_accelerator(recipe.batches.mesh):
        carry = jax.lax.fori_loop(
            1, recipe.accumulation, lambda i, c: micro_step(i.astype(jnp.uint32), c), carry
        )
    else:
        for number in range(1, recipe.accumulation):
            carry = micro_step(jnp.uint32(number), carry)
    gradients, batch_stats, metrics = carry
    if recipe.accumulation > 1:
        gradients = jax.tree.map(lambda g: g / recipe.accumulation, gradients)
    return gradients, batch_stats, metrics


def train_step(
    recipe: Recipe, state: TrainState, examples: DeviceExamples
) -> tuple[TrainState, Metrics]:
    """One update on the batch that belongs to `state.step`.

    Returns:
        the next state, and loss and accuracy over the batch, before the update.
    """
    gradients, batch_stats, metrics = _gradients(recipe, state, examples)
    trained, frozen = recipe.split(state.params)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, trained)
    params = parameters.merge(frozen, optax.apply_updates(trained, updates))
    ema = state.ema
    if recipe.ema_decay:
        now = recipe.averaged({"params": params, "batch_stats": batch_stats})
        # Short at first, or the initial values would weigh for 1 / (1 - decay) steps.
        done = state.step.astype(jnp.float32)
        decay = jnp.minimum(recipe.ema_decay, (1 + done) / (10 + done))
        ema = optax.incremental_update(now, ema, 1 - decay)
    state = state.replace(
        step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state, ema=ema
    )
    return state, metrics


def outputs(
    model: nn.Module,
    batches: Batches,
    size: int,
    variables: dict[str, Any],
    examples: DeviceExamples,
    start: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the network says of the images `start` to `start + size`, as far as they exist.

    Returns:
        logits float32 [size, classes], with views those of the mean of their probabilities; labels
        int32 [size]; and mask bool [size], false for padding.
    """
    images, labels, mask = batches.evaluation(examples, start, size)
    logits = model.apply(variables, batches.views.of(images), train=False)
    return batches.views.merge(logits), labels, mask


def eval_step(
    model: nn.Module,
    batches: Batches,
    size: int,
    variables: dict[str, Any],
    examples: DeviceExamples,
    start: jax.Array,
) -> tuple[Metrics, jax.Array]:
    """Loss and accuracy over the images `start` to `start + size`, as far as they exist.

    Returns:
        these, and which images are classified correctly: bool [size], false for padding.
    """
    logits, labels, mask = outputs(model, batches, size, variables, examples, start)
    metrics = Metrics.of_batch(cross_entropy(logits, labels), logits, labels, mask)
    return metrics, (jnp.argmax(logits, axis=-1) == labels) & mask
