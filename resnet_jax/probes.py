"""What a run's residual units do, by depth: measured every so many steps, drawn afterwards.

The measurements are a program of their own, so that the training step is the same with and without.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax import params as parameters
from resnet_jax import rng, sharding
from resnet_jax.data.pipeline import DeviceExamples
from resnet_jax.models.meeting import COLLECTION
from resnet_jax.models.resnet import ResNet
from resnet_jax.step import Recipe, TrainState, cross_entropy
from resnet_jax.writer import JsonLines, read

FILE = "probes.jsonl"

MEASURES = {
    "ratio": "|branch| / |shortcut|, where they meet",
    "cosine": "cosine of branch and shortcut",
    "gradient_norm": "norm of the gradient by the unit's parameters",
    "mean": "mean of the unit's output",
    "variance": "variance of the unit's output",
}
"""Columns of a row, each a list with a number per unit, and what they are."""

_COLUMNS = frozenset({"step", "epoch", "units", *MEASURES})


def unit_names(network: ResNet) -> list[str]:
    """The units from the first to the last: `stage1/block1`, ..."""
    return [
        f"stage{number}/block{block}"
        for number, units in enumerate(network.stages, 1)
        for block in range(1, len(units) + 1)
    ]


def compile_probe(
    recipe: Recipe,
) -> Callable[[TrainState, DeviceExamples], dict[str, jax.Array]]:
    """A function `(state, examples) -> measures` on the batch that belongs to `state.step`.

    It sees the images, the dropped units and the statistics that the step's update will see; where a
    step has micro-batches, those of the first. Convolutions are XLA's: native kernels add up the two
    paths without showing them.

    Returns:
        a function to float32 [units] for each of `MEASURES`; NaN where there is nothing to measure: a
        plain unit has no shortcut, a path that is all zeros no direction, a frozen unit no gradient.
    """
    network = recipe.model.clone(options=dataclasses.replace(recipe.model.options, kernels=None))
    names = unit_names(network)
    size = recipe.batch_size // recipe.accumulation

    def probe(state: TrainState, examples: DeviceExamples) -> dict[str, jax.Array]:
        start = state.step.astype(jnp.uint32) * jnp.uint32(recipe.batch_size)
        positions = start + jnp.arange(size, dtype=jnp.uint32)
        images, labels = recipe.batches.train(examples, state.seed, positions)
        key = jax.random.fold_in(rng.key(state.seed, rng.Stream.LAYERS), state.step)

        trained, frozen = recipe.split(state.params)

        def loss(trained: Any) -> tuple[jax.Array, Any]:
            logits, updated = network.apply(
                {"params": parameters.merge(frozen, trained), "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats", COLLECTION],
                rngs={"dropout": jax.random.fold_in(key, jnp.uint32(0))},
            )
            losses = cross_entropy(logits, labels, recipe.label_smoothing)
            if recipe.teacher is not None:
                losses = recipe.teacher.losses(losses, logits, examples, images)
            return losses.mean(), updated.get(COLLECTION, {})

        gradients, seen = jax.grad(loss, has_aux=True)(trained)
        measured = [
            _measure(_at(gradients, name), _at(seen, name), _at(seen, f"{name}_output"))
            for name in names
        ]
        return {key: jnp.stack([unit[key] for unit in measured]) for key in MEASURES}

    return jax.jit(probe, out_shardings=sharding.replicated(recipe.batches.mesh))


def _at(tree: Mapping[str, Any], name: str) -> Any:
    """What a tree of modules holds under `stage2/block1`; {} where there is nothing."""
    for part in name.split("/"):
        tree = tree.get(part, {})
    return tree


def _measure(gradients: Any, seen: Mapping[str, Any], output: tuple) -> dict[str, jax.Array]:
    """The measures of one unit, each float32 []."""
    squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradients)]
    values = output[0].astype(jnp.float32)
    found = {
        "ratio": jnp.float32(jnp.nan),
        "cosine": jnp.float32(jnp.nan),
        # A frozen unit has none.
        "gradient_norm": jnp.sqrt(sum(squares, jnp.float32(0)))
        if squares
        else jnp.float32(jnp.nan),
        "mean": values.mean(),
        "variance": values.var(),
    }
    meeting = seen.get("meeting") if isinstance(seen, Mapping) else None
    if meeting:
        shortcut, branch = (meeting[k][0].astype(jnp.float32) for k in ("shortcut", "branch"))
        norms = [jnp.sqrt(jnp.sum(jnp.square(path))) for path in (shortcut, branch)]
        found["ratio"] = norms[1] / norms[0]
        found["cosine"] = jnp.sum(shortcut * branch) / (norms[0] * norms[1])
    return found


class Probes:
    """Measures a run every so many steps and writes rows into `probes.jsonl`.

    Args:
        recipe: of the run.
        path: of the file. Rows of `next_step` and later are dropped: they are measured again.
        every: steps between rows.
        next_step: steps done when this process begins.
    """

    def __init__(self, recipe: Recipe, path: Path, every: int, next_step: int):
        self._every = every
        self._batch_size = recipe.batch_size
        self._names = unit_names(recipe.model)
        self._probe = compile_probe(recipe)
        self._file = JsonLines(path, next_step - 1, columns=_COLUMNS)

    def steps_left(self, done: int) -> int:
        """Steps that may be dispatched at once, after `done`, without missing a row."""
        return self._every - done % self._every

    def before(self, done: int, state: TrainState, examples: DeviceExamples) -> None:
        """Measures, if it is due, the state after `done` steps on the batch of the next one.

        Raises:
            WorkdirError: the disk is full or gone.
        """
        if done % self._every:
            return
        measured = jax.device_get(self._probe(state, examples))
        row = {
            "step": done,
            "epoch": done * self._batch_size / len(examples),
            "units": self._names,
        }
        self._file.write(row | {key: _json(measured[key].tolist()) for key in MEASURES})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _json(values: list[float]) -> list[float | None]:
    """JSON has neither NaN nor infinity."""
    return [value if math.isfinite(value) else None for value in values]


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `probes.jsonl`.

    Raises:
        WorkdirError: there is no such file, or it is damaged.
    """
    return read(path, _COLUMNS)
