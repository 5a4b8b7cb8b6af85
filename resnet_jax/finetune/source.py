"""Where weights come from: a run's workdir, or one of its checkpoints."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from resnet_jax import checkpoint, versions
from resnet_jax import workdir as files
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.finetune.phases import OWN

FIELD = "finetune.init_from"


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint to start from.

    Attributes:
        workdir: of the run that wrote it.
        step: of the checkpoint.
        mean, std: by which that run normalised images, per channel; None where it is not known.
    """

    workdir: Path
    step: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def __str__(self) -> str:
        return f"{self.workdir} at step {self.step:,}"


def find(path: str, workdir: Path | None = None, field: str = FIELD) -> Source:
    """Looks for a checkpoint, without reading its arrays.

    Args:
        path: a workdir, of which the newest checkpoint is meant, or the best one where that is the
            run's result; or the directory of a checkpoint, `WORKDIR/checkpoints/STEP`.
        workdir: of the run itself, for which `{workdir}` stands in `path`.
        field: the config field that holds `path`, for error messages.

    Raises:
        ConfigError: `path` is neither.
        WorkdirError: the workdir has no checkpoint.
    """
    if workdir is not None and OWN in path:
        # In words, since a phase's own workdir may not be there yet.
        path = os.path.normpath(path.replace(OWN, str(workdir)))
    folder = Path(path).expanduser()
    if folder.is_file():
        raise ConfigError(
            f"config.{field}={path!r} is a file; make a workdir of it first:\n"
            f"python -m resnet_jax convert {path} --to DIR"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"config.{field}={path!r} does not exist; name a workdir, or WORKDIR/checkpoints/STEP"
        )
    workdir, step = folder, None
    if folder.name.isdecimal() and folder.parent.name == checkpoint.FOLDER:
        workdir, step = folder.parent.parent, int(folder.name)
    elif not (folder / files.CONFIG).exists() and not (folder / checkpoint.FOLDER).is_dir():
        raise ConfigError(
            f"config.{field}={path!r} is no workdir of a run (it has no {files.CONFIG}); "
            "name the directory that main.py printed as 'workdir'"
        )
    step = _result(workdir) if step is None else step
    if step is None:
        raise WorkdirError(f"{workdir} has no checkpoint yet; run its training first")
    data = versions.read(workdir).get("data", {})
    mean, std = (tuple(data[name]) if name in data else None for name in ("mean", "std"))
    return Source(workdir, step, mean, std)


def _result(workdir: Path) -> int | None:
    """The step of the network that a run ended with, or of the newest one; None if there is none."""
    result = files.read_result(workdir)
    # Early stopping has chosen; in other runs the result is the newest checkpoint.
    return result["step"] if result and "chosen" in result else checkpoint.newest(workdir)


def read(source: Source) -> dict[str, Any]:
    """The `params` and `batch_stats` that the run evaluated: averages, where it kept them.

    Raises:
        WorkdirError: the checkpoint is missing or damaged.
    """
    return checkpoint.read_variables(source.workdir, source.step)
