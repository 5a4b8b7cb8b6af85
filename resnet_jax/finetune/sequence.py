"""Trains the phases of a config one after another; a stop at any point is gone on from."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax import checkpoint, inputs, plan, start, step
from resnet_jax import workdir as files
from resnet_jax.finetune import borrowed, distill, load, phases
from resnet_jax.finetune.phases import Phase
from resnet_jax.plan import Plan


def run(
    config: ConfigDict,
    workdir: Path,
    devices: list[jax.Device] | None,
    train: Callable[[ConfigDict, Path], dict[str, Any]],
) -> dict[str, Any]:
    """Trains, or goes on with, every phase that has not finished.

    Args:
        config: with phases, validated.
        workdir: of the whole.
        devices: all of them if None.
        train: trains one phase in its workdir, or returns the result of one that has finished.

    Returns:
        the result of the last phase.

    Raises:
        UserError: one of `errors.py`. Those of any phase's config come before anything is written.
    """
    steps = phases.expand(config, workdir)
    *before, last = steps
    files.check_claim(workdir, last.config)
    if files.read_result(workdir) is None:
        dataset = start.dataset(steps[0].config, steps[0].workdir)
        plans = [plan.make(phase.config, devices, dataset) for phase in steps]
        inputs.ensure(config, dataset)
        _check_weights(steps, plans)
        # Before the first phase, so that no other run takes the place of the last.
        files.claim(workdir, last.config)
        for number, phase in enumerate(before, 1):
            print(f"phase     {number} of {len(steps)}: {phase.name}", flush=True)
            train(phase.config, phase.workdir)
    print(f"phase     {len(steps)} of {len(steps)}: {last.name}", flush=True)
    return train(last.config, last.workdir)


def _check_weights(steps: Sequence[Phase], plans: Sequence[Plan]) -> None:
    """Checks that every phase that has not begun could: its weights fit, its teacher can be read.

    Raises:
        ConfigError: they do not fit, or there are none.
        WorkdirError: a checkpoint of theirs is missing or damaged.
    """
    before = None
    for phase, made in zip(steps, plans, strict=True):
        finetune = phase.config.finetune
        shapes = step.state_shapes(made.recipe, made.image_shape)
        network = {"params": shapes.params, "batch_stats": shapes.batch_stats}
        recipe = distill.with_teacher(made)
        if checkpoint.newest(phase.workdir) is None:
            made = dataclasses.replace(made, recipe=recipe)
            if before is None:
                borrowed.take(made, phase.workdir)
            else:
                # Its weights are still to be trained; their names and shapes are known.
                load.account(network, before, finetune.reinit, finetune.drop)
                if recipe.teacher is not None:
                    distill.read(recipe.teacher)
        before = network
