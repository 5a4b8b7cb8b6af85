"""Trains the phases of a config one after another; a stop at any point is gone on from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax import inputs, plan, start
from resnet_jax import workdir as files
from resnet_jax.finetune import distill, phases


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
        for phase in steps:
            distill.with_teacher(plan.make(phase.config, devices, dataset))
        inputs.ensure(config, dataset)
        # Before the first phase, so that no other run takes the place of the last.
        files.claim(workdir, last.config)
        for number, phase in enumerate(before, 1):
            print(f"phase     {number} of {len(steps)}: {phase.name}", flush=True)
            train(phase.config, phase.workdir)
    print(f"phase     {len(steps)} of {len(steps)}: {last.name}", flush=True)
    return train(last.config, last.workdir)
