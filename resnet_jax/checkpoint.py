"""Orbax checkpoints: all calls of Orbax are here.

A checkpoint is the whole `TrainState` and a small JSON object. Saving is synchronous: a step that is
reported as saved is on disk.
"""

import contextlib
import dataclasses
import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from resnet_jax import params
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.step import TrainState

FOLDER = "checkpoints"
_VARIABLES = ("params", "batch_stats", "ema")
_DIGESTS = "sha256"
"""In the JSON object beside a state: the digests of its parts, which Orbax does not check."""


def sha256(tree: Any) -> str:
    """SHA-256 over the leaves sorted by path: dtype, shape, bytes."""
    digest = hashlib.sha256()
    for _, leaf in sorted(zip(params.names(tree), jax.tree.leaves(tree), strict=True)):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class DamagedError(WorkdirError):
    """A checkpoint is not what was saved."""


class Checkpoints:
    """The checkpoints of a workdir: the newest `keep`, and the best by validation accuracy.

    Args:
        workdir: of the run.
        keep: how many of the newest to keep.
        read_only: never delete anything, not even what a crash left behind.
    """

    def __init__(self, workdir: Path, keep: int = 1, *, read_only: bool = False):
        # Keeping the best alone would let a later, worse step be deleted, and the run go back in time.
        newest = checkpoint_managers.LatestN(keep)
        best = checkpoint_managers.BestN(
            get_metric_fn=_validation_accuracy, n=1, keep_checkpoints_without_metrics=False
        )
        self._folder = workdir.absolute() / FOLDER
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy([newest, best]),
                best_fn=_validation_accuracy,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    def steps(self) -> list[int]:
        """The steps on disk, in order."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest step on disk, None if there is none."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the best validation accuracy, None without validation."""
        return self._manager.best_step()

    def best_accuracy(self) -> float | None:
        """Its validation accuracy, from disk, so that a resumed run knows it too."""
        step = self.best_step()
        return None if step is None else _validation_accuracy(self._manager.metrics(step))

    def save(
        self, state: TrainState, extra: dict[str, Any], validation_accuracy: float | None = None
    ) -> None:
        """Writes a checkpoint named after `state.step`, and returns when it is on disk.

        Args:
            state: to save.
            extra: JSON object saved beside it.
            validation_accuracy: by which the best checkpoint is chosen.

        Raises:
            WorkdirError: it could not be written; earlier checkpoints are untouched.
        """
        step = int(state.step)
        extra = {**extra, _DIGESTS: digests(state)}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(extra)
        )
        metrics = None if validation_accuracy is None else {"accuracy": validation_accuracy}
        advice = "free space on the disk, or name another --workdir; the same command continues"
        with _clear_errors(f"step {step} could not be saved in {self._folder}", advice):
            if not self._manager.save(step, args=args, metrics=metrics, force=True):
                raise RuntimeError("Orbax refused the step")
            self._manager.wait_until_finished()

    def restore(self, like: TrainState, step: int) -> tuple[TrainState, dict[str, Any]]:
        """Reads the checkpoint of `step`.

        Args:
            like: a state, or shapes with shardings, with the structure to expect.
            step: one of those on disk.

        Returns:
            the state, sharded like `like`, and the JSON object saved beside it.

        Raises:
            DamagedError: it is not, to the last bit, what was saved.
            WorkdirError: it is a state of another structure.
        """
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), extra=ocp.args.JsonRestore()
        )
        with self._reading(step):
            restored = self._manager.restore(step, args=args)
            stored = restored.extra.pop(_DIGESTS, {})
            found = digests(restored.state)
            _compare(stored, found)
            return restored.state, restored.extra

    def read_variables(self, step: int) -> dict[str, Any]:
        """The variables that `step` would be evaluated with; see `read_variables` below.

        Raises:
            WorkdirError: there is no such step, or it is damaged.
        """
        if step not in self.steps():
            there = ", ".join(map(str, self.steps())) or "none"
            raise WorkdirError(f"{self._folder} has no step {step}; the steps saved are: {there}")
        with self._reading(step):
            folder = self._folder / str(step) / "state"
            with ocp.PyTreeCheckpointer() as reader:
                stored = reader.metadata(folder).item_metadata
                wanted = {name: stored[name] for name in _VARIABLES if stored.get(name)}
                item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), wanted)
                how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
                args = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
                found = reader.restore(folder, args=args)
            if not all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found)):
                raise ValueError("arrays are missing")
            extra = self._manager.restore(
                step, args=ocp.args.Composite(extra=ocp.args.JsonRestore())
            ).extra
            expected = extra.get(_DIGESTS, {})
            _compare(
                {name: expected[name] for name in found if name in expected},
                {name: sha256(tree) for name, tree in found.items()},
            )
        last = {name: found.get(name, {}) for name in ("params", "batch_stats")}
        return params.merge(last, found.get("ema", {}))

    def set_aside(self, step: int) -> Path:
        """Moves a damaged step out of the way, and returns where to."""
        target = self._folder.with_name(f"{FOLDER}-damaged") / str(step)
        target.parent.mkdir(exist_ok=True)
        number = 1
        while target.exists():
            target = target.with_name(f"{step}-{number}")
            number += 1
        (self._folder / str(step)).rename(target)
        self._manager.reload()
        return target

    def _reading(self, step: int) -> contextlib.AbstractContextManager:
        folder = self._folder / str(step)
        others = ", ".join(str(other) for other in self.steps() if other != step)
        rest = f"the run then goes on from {others}" if others else "there is no other step"
        return _clear_errors(
            f"{folder} could not be read",
            f"check the disk; remove {folder} to do without it: {rest}",
            DamagedError,
        )

    def close(self) -> None:
        """Releases Orbax's threads."""
        self._manager.close()


@contextlib.contextmanager
def _clear_errors(
    what: str, advice: str, kind: type[WorkdirError] = WorkdirError
) -> Iterator[None]:
    """Turns whatever Orbax raises, pages of it at times, into two lines."""
    # Orbax, TensorStore and asyncio log thousands of lines about a failure, some of them as the process
    # ends; so they are quiet from before it until the end.
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl", "orbax")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except Exception as error:
        first_line = (str(error) or type(error).__name__).strip().splitlines()[0]
        first_line = first_line.partition(" See full TensorStore")[0]  # an object's address follows
        reason = "no space left on device" if "space left" in str(error) else first_line[:200]
        if isinstance(error, AttributeError | LookupError | TypeError):  # Orbax stumbled over a gap
            reason = "files of it are missing or damaged"
        other = re.search("do not match|not compatible with the stored shape", str(error))
        raise (WorkdirError if other else kind)(f"{what}: {reason}\n{advice}") from error
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def digests(state: TrainState) -> dict[str, str]:
    """SHA-256 of each part of a state."""
    parts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: sha256(part) for name, part in parts.items()}


def _compare(stored: dict[str, str], found: dict[str, str]) -> None:
    """Checks that what was read is what was saved.

    Raises:
        ValueError: it is not, though the files could be read.
    """
    wrong = [name for name in stored if stored[name] != found.get(name)]
    if wrong:
        raise ValueError(f"not the bytes that were saved, in {', '.join(wrong)}")


def read(workdir: Path, like: TrainState, step: str) -> TrainState:
    """Reads one checkpoint of a workdir, which may still be training.

    Args:
        workdir: of a run.
        like: a state with the structure and the shardings to expect.
        step: `latest`, `best` (by validation accuracy) or a number.

    Raises:
        ConfigError: `step` is none of these.
        WorkdirError: there is no such checkpoint, or it is damaged.
    """
    if step not in ("latest", "best") and not step.isdecimal():
        raise ConfigError(f"--step {step}: expected latest, best or a number")
    if not (workdir / FOLDER).is_dir():
        raise WorkdirError(f"{workdir} has no checkpoint yet; run the training first")
    checkpoints = Checkpoints(workdir, read_only=True)
    try:
        known = checkpoints.steps()
        number = {"latest": checkpoints.latest_step, "best": checkpoints.best_step}.get(step)
        chosen = number() if number else int(step)
        if chosen not in known:
            there = ", ".join(map(str, known)) or "none"
            which = f"no {step} checkpoint" if number else f"no checkpoint of step {step}"
            raise WorkdirError(f"{workdir} has {which}; the steps saved are: {there}")
        return checkpoints.restore(like, chosen)[0]
    finally:
        checkpoints.close()


def _validation_accuracy(metrics: dict[str, float] | None) -> float | None:
    return None if metrics is None else metrics.get("accuracy")


def newest(workdir: Path) -> int | None:
    """The newest step of a workdir, None if it has none."""
    if not (workdir / FOLDER).is_dir():
        return None
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        return checkpoints.latest_step()


def read_variables(workdir: Path, step: int) -> dict[str, Any]:
    """The variables that a checkpoint would be evaluated with, whatever network they are of.

    Args:
        workdir: of a run.
        step: one of those on disk.

    Returns:
        `params` and `batch_stats`, NumPy arrays.

    Raises:
        WorkdirError: there is no such checkpoint, or it is damaged.
    """
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        return checkpoints.read_variables(step)
