"""What is timed: a training step, or a batch to classify, of ours and of PyTorch."""

import dataclasses
import os
from collections.abc import Callable

from benchmarks.networks import NETWORKS, SIZES, config_for

IMAGES = 50_000
"""In the made-up training set, as many as CIFAR-10 has."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """What to time.

    Attributes:
        net: a key of `NETWORKS`.
        train: training steps instead of inference.
        batch: images a step.
        backend: `config.conv_backend`.
        memory: whether the allocator is told to keep memory, and programs are cached.
        flag: whether XLA's flag is set where the kernels are not used.
        constant: train on one prepared batch instead of drawing and augmenting.
        remat: `config.model.remat`.
        freeze: `config.finetune.freeze`.
    """

    net: str = "resnet20"
    train: bool = True
    batch: int = 128
    backend: str = "auto"
    memory: bool = True
    flag: bool = True
    constant: bool = False
    remat: bool = False
    freeze: tuple[str, ...] = ()


def ours(work: Workload) -> tuple[Callable[[], None], int]:
    """A function that takes a step, or classifies a batch, and the number of parameters.

    The first call of a process decides about its settings, which precede JAX's import.
    """
    from resnet_jax import platform

    if work.memory:
        platform.prepare()
    import jax
    import numpy as np

    from resnet_jax import metrics, plan, sharding, step, steps
    from resnet_jax.data import pipeline
    from resnet_jax.native import backend

    config = config_for(work.net, work.batch, work.backend)
    config.model.remat = work.remat
    config.finetune.freeze = tuple(work.freeze)
    if work.flag:
        backend.tune(config)
    made = plan.make(config)
    mesh = made.recipe.batches.mesh
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, IMAGES).astype(np.int32)
    examples = pipeline.place(pipeline.Examples(images, labels), mesh)
    recipe = made.recipe
    state = step.init_state(recipe, 0, made.dataset.image_shape)
    model, batch = recipe.model, random.normal(size=(work.batch, 32, 32, 3)).astype(np.float32)
    batch = jax.device_put(batch)
    if work.constant:
        recipe = dataclasses.replace(recipe, batches=_Constant(mesh))
        examples = pipeline.DeviceExamples(batch, examples.labels[: work.batch])
    counted = jax.device_put(metrics.Metrics.empty(), sharding.replicated(mesh))
    run = steps.compile(recipe)

    def take() -> None:
        nonlocal state, counted
        state, counted = run(state, counted, examples, 1)
        jax.block_until_ready((state, counted))

    apply = jax.jit(lambda variables, x: model.apply(variables, x, train=False))

    def classify() -> None:
        apply(state.evaluated(), batch).block_until_ready()

    return (take if work.train else classify), made.parameters


@dataclasses.dataclass(frozen=True)
class _Constant:
    """In the place of `Batches`: the images as they are."""

    mesh: object

    def train(self, examples: object, seed: object, positions: object) -> tuple:
        """The prepared batch."""
        return examples.images, examples.labels


def theirs(work: Workload) -> tuple[Callable[[], None], int]:
    """The same for PyTorch: channels_last, all cores, one constant batch."""
    from benchmarks import torch_resnet

    fields, sizes = NETWORKS[work.net], SIZES[work.net]
    threads = len(os.sched_getaffinity(0))
    return torch_resnet.make(fields, sizes, work.batch, threads, train=work.train)


SIDES = {"torch": theirs, "resnet_jax": ours}
