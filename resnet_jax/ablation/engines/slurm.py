"""A sweep as a SLURM job array: a generated script whose tasks each run one share."""

import shlex
import sys
from pathlib import Path

from resnet_jax import atomic
from resnet_jax.ablation.directory import LOGS, Directory
from resnet_jax.ablation.launch import Order

SCRIPT = "sweep.sbatch"

_TEXT = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=1-{shares}
#SBATCH --output="{logs}/slurm-%A-%a.txt"
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
# {shares} shares of the sweep in {directory}. What a task needs (time, GPUs, cores, partition) is
# given to sbatch, and comes before the lines above: sbatch --time=4:00:00 --gpus=1 {script}
# Submit it again, or only some tasks with --array, and every run goes on where it was stopped.
set -eu
: "${{SLURM_ARRAY_TASK_ID:?is set by SLURM: submit this script with sbatch, or set it to 1..{shares}}}"
cd {folder}
exec {command} --only "${{SLURM_ARRAY_TASK_ID}}/{shares}"
"""


def write(order: Order, where: Directory, name: str) -> Path:
    """Writes the script into the sweep's directory.

    Args:
        order: its `jobs` is the number of shares.
        where: the sweep's directory, which all nodes see under the same name.
        name: of the array.

    Returns:
        the script's path.

    Raises:
        WorkdirError: it cannot be written.
    """
    share = order.share("1/1")
    arguments = share.arguments()[: -len(["--only", "1/1"])]
    words = [sys.executable, "-m", "resnet_jax", "sweep", *arguments]
    directory = where.path.absolute()
    (directory / LOGS).mkdir(parents=True, exist_ok=True)  # SLURM does not make it
    text = _TEXT.format(
        name=atomic.safe_name(name),
        shares=order.jobs,
        logs=directory / LOGS,
        directory=directory,
        script=directory / SCRIPT,
        folder=shlex.quote(str(Path.cwd())),
        command=shlex.join(words),
    )
    path = where.path / SCRIPT
    atomic.write(path, text)
    return path
