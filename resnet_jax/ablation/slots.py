"""What each of several worker processes on one machine may use, so that they do not fight for it."""

import os
from collections.abc import Mapping
from pathlib import Path

from resnet_jax import platform
from resnet_jax.ablation.design import share


def processors(slot: int, slots: int) -> set[int]:
    """The CPU cores of a worker: a share of this process's own; all where there are too few.

    Args:
        slot: from 0.
        slots: how many workers run at once.
    """
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return set(share(mine, slot + 1, slots)) if len(mine) >= slots else set(mine)


def environment(slot: int, slots: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: where the package is, and which GPUs are its own.

    Args:
        slot: from 0.
        slots: how many workers run at once.
        environ: of this process.
    """
    root = str(Path(__file__).resolve().parent.parent.parent)
    path = os.pathsep.join(filter(None, [root, environ.get("PYTHONPATH", "")]))
    own = dict(environ) | {"PYTHONPATH": path}
    if slots == 1 or platform.guess_backend(environ) == "cpu":
        return own
    gpus = _gpus(environ)
    if len(gpus) >= slots:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(share(gpus, slot + 1, slots))
    elif gpus:
        # JAX takes three quarters of a GPU's memory at its start, unless told otherwise.
        own["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
        own.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return own


def _gpus(environ: Mapping[str, str]) -> list[str]:
    if "CUDA_VISIBLE_DEVICES" in environ:
        return [name for name in environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
