"""Where weights come from: a run's workdir, one of its checkpoints, or a file of PyTorch's."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax import checkpoint, console, versions
from resnet_jax import workdir as files
from resnet_jax.convert import published
from resnet_jax.convert.published import Published
from resnet_jax.data import resize
from resnet_jax.errors import ConfigError, DataError, WorkdirError
from resnet_jax.finetune.phases import OWN

FIELD = "finetune.init_from"

_UNCONVERTED = published.Choices()


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights to start from.

    Attributes:
        path: the workdir of the run that made them, or a file.
        step: of the checkpoint in that workdir; None for a file.
        mean, std: by which images were normalised, per channel; None where it is not known.
        size: height and width of the images that the network saw, pixels; None likewise.
        model: the section `model` of its config; None likewise.
        file: what was read of it; None for a workdir, whose arrays are read later.
    """

    path: Path
    step: int | None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    model: ConfigDict | None = None
    file: Published | None = dataclasses.field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return str(self.path) if self.step is None else f"{self.path} at step {self.step:,}"

    def describe(self) -> str:
        """Which weights these are, and of which network."""
        network = "" if self.model is None else f" ({console.network_name(self.model)})"
        return f"{self}{network}"


def find(path: str, workdir: Path | None = None) -> Source:
    """Looks for what `finetune.init_from` names.

    Args:
        path: as for `find_checkpoint`; or a file that `convert` would read without further options.
        workdir: of the run itself, for which `{workdir}` stands in `path`.

    Raises:
        ConfigError: `path` is none of these.
        DataError: the file is damaged, or no ResNet's.
        WorkdirError: the workdir is damaged or has no checkpoint.
    """
    if workdir is not None and OWN in path:
        # In words, since a phase's own workdir may not be there yet.
        path = os.path.normpath(path.replace(OWN, str(workdir)))
    if (file := Path(path).expanduser()).is_file():
        return _of_file(file)
    found, step = find_checkpoint(path, FIELD)
    data = versions.read(found).get("data", {})
    mean, std = (tuple(data[name]) if name in data else None for name in ("mean", "std"))
    if not (found / files.CONFIG).exists():  # checkpoints alone, which is enough
        return Source(found, step, mean, std)
    stored = files.parsed_config(found)
    return Source(found, step, mean, std, _size(found, stored), stored.model)


def find_checkpoint(path: str, field: str) -> tuple[Path, int]:
    """Looks for a checkpoint, without reading its arrays.

    Args:
        path: a workdir, of which the newest checkpoint is meant, or the best one where that is the
            run's result; or the directory of a checkpoint, `WORKDIR/checkpoints/STEP`.
        field: the config field that holds `path`, for error messages.

    Returns:
        the workdir and the step.

    Raises:
        ConfigError: `path` is neither.
        WorkdirError: the workdir has no checkpoint.
    """
    folder = Path(path).expanduser()
    files_too = ", or a file of PyTorch's weights (docs/convert.md)" if field == FIELD else ""
    if folder.is_file():
        raise ConfigError(
            f"config.{field}={path!r} is a file; make a workdir of it first:\n"
            f"python -m resnet_jax convert {path} --to DIR"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"config.{field}={path!r} does not exist; name a workdir, WORKDIR/checkpoints/STEP{files_too}"
        )
    if folder.name.isdecimal() and folder.parent.name == checkpoint.FOLDER:
        return folder.parent.parent, int(folder.name)
    if not (folder / files.CONFIG).exists() and not (folder / checkpoint.FOLDER).is_dir():
        raise ConfigError(
            f"config.{field}={path!r} is no workdir of a run (it has no {files.CONFIG}); "
            f"name the directory that main.py printed as 'workdir'{files_too}"
        )
    if (step := _result(folder)) is None:
        raise WorkdirError(f"{folder} has no checkpoint yet; run its training first")
    return folder, step


def _result(workdir: Path) -> int | None:
    """The step of the network that a run ended with, or of the newest one; None if there is none."""
    result = files.read_result(workdir)
    # Early stopping has chosen; in other runs the result is the newest checkpoint.
    return result["step"] if result and "chosen" in result else checkpoint.newest(workdir)


def _size(workdir: Path, stored: ConfigDict) -> tuple[int, int] | None:
    """Height and width that the network of a workdir saw."""
    try:
        shape = versions.dataset(workdir, stored).image_shape
    except (ConfigError, DataError):  # a data set that is no longer known, or a folder that is gone
        return None
    return resize.shape(shape, stored.data.resize)[:2]


def _of_file(file: Path) -> Source:
    try:
        read = published.read(file, _UNCONVERTED)
    except ConfigError as error:
        raise ConfigError(
            f"config.{FIELD}: {str(error).splitlines()[0]} say it to convert, and name DIR:\n"
            f"python -m resnet_jax convert {file} --to DIR --stem cifar     (or imagenet, or tokens)"
        ) from None
    except DataError as error:
        raise DataError(f"config.{FIELD}: {error}") from None
    # The size that a layout stands for is a custom, and no knowledge of this file.
    size = read.plan.image_shape[:2] if read.origin == published.FROM_FILE else None
    images = read.plan.dataset
    return Source(file, None, images.mean, images.std, size, read.config.model, read)


def read(source: Source) -> dict[str, Any]:
    """The `params` and `batch_stats` that a run evaluated: averages, where it kept them; or a file's.

    Raises:
        WorkdirError: the checkpoint is missing or damaged.
    """
    if source.file is not None:
        return source.file.variables
    return checkpoint.read_variables(source.path, source.step)
