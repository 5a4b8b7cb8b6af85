"""Runs training steps: on accelerators many in one dispatch, on a CPU one by one."""

import dataclasses
from collections.abc import Callable

import jax

from resnet_jax import sharding
from resnet_jax.data.pipeline import DeviceExamples
from resnet_jax.metrics import Metrics
from resnet_jax.step import Recipe, TrainState, train_step


@dataclasses.dataclass(frozen=True)
class Steps:
    """Runs training steps: `(state, metrics, examples, count) -> (state, metrics)`.

    It adds their metrics to those given. The state is donated: do not use the given one afterwards.

    Attributes:
        program: the jitted function behind it.
        fused: whether it takes `count` and loops on the device, instead of being called so often.
    """

    program: Callable
    fused: bool

    def __call__(
        self, state: TrainState, metrics: Metrics, examples: DeviceExamples, count: int
    ) -> tuple[TrainState, Metrics]:
        """Runs `count` steps."""
        if self.fused:
            return self.program(state, metrics, examples, count)
        for _ in range(count):
            state, metrics = self.program(state, metrics, examples)
        return state, metrics

    def compiled_text(self, state: TrainState, metrics: Metrics, examples: DeviceExamples) -> str:
        """The compiled program, as XLA prints it."""
        count = (1,) if self.fused else ()
        return self.program.lower(state, metrics, examples, *count).compile().as_text()


def compile(recipe: Recipe, *, fused: bool | None = None) -> Steps:
    """Prepares the training steps of a recipe.

    Args:
        recipe: what to do.
        fused: run all steps in one dispatch, as a loop on the device. Default: on accelerators.
    """
    whole = sharding.replicated(recipe.batches.mesh)
    fused = sharding.on_accelerator(recipe.batches.mesh) if fused is None else fused

    def one(state: TrainState, metrics: Metrics, examples: DeviceExamples) -> tuple:
        state, counted = train_step(recipe, state, examples)
        return state, metrics.merge(counted)

    def many(
        state: TrainState, metrics: Metrics, examples: DeviceExamples, count: jax.Array
    ) -> tuple:
        return jax.lax.fori_loop(0, count, lambda _, c: one(*c, examples), (state, metrics))

    program = jax.jit(many if fused else one, donate_argnums=0, out_shardings=whole)
    return Steps(program, fused)
