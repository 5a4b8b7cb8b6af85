"""A sweep on a Ray cluster: every task runs one share; all nodes see the sweep's directory."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.ablation.design import Arm
from resnet_jax.ablation.directory import Directory
from resnet_jax.ablation.launch import Order, launch
from resnet_jax.ablation.live import Board
from resnet_jax.errors import ConfigError, UserError

_HANDED_ON = ("JAX_", "XLA_", "TFDS_")
"""Beginnings of the environment variables that tasks get from here."""


def run(
    order: Order,
    where: Directory,
    left: Sequence[tuple[Arm, int]],
    steps: Mapping[str, int],
    board: Board,
) -> None:
    """Runs the shares, and shows what is on disk until all have ended.

    A share that has nothing left to do ends at once; Ray starts one again that died with its node.

    Args:
        order: its `jobs` is the number of shares.
        where: the sweep's directory.
        left: the runs that have not ended.
        steps: of a run of each arm.
        board: to show progress on.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
        UserError: a share could not begin.
    """
    ray = _connect(order)
    watched = _Watched(where, steps, left, board)
    task = ray.remote(
        num_cpus=order.cpus, num_gpus=order.gpus, max_retries=3, max_calls=1, name="sweep"
    )(_share)
    shares = [task.remote(order.share(f"{i}/{order.jobs}")) for i in range(1, order.jobs + 1)]
    waiting = list(shares)
    try:
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=1.0)
            watched.look()
        errors = [error for error in ray.get(shares) if error is not None]
    except BaseException:
        for share in waiting:
            ray.cancel(share, force=True)  # its workers end with it
        raise
    finally:
        ray.shutdown()
    if errors:
        error = UserError(errors[0][1])
        error.exit_code = errors[0][0]
        raise error


def require() -> Any:
    """Ray.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "--on ray needs Ray, which is not installed; write: pip install 'ray>=2.40,<3'"
        ) from None
    return ray


def _connect(order: Order) -> Any:
    ray = require()
    root = str(Path(__file__).resolve().parent.parent.parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    handed_on = {k: v for k, v in os.environ.items() if k.startswith(_HANDED_ON)}
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=address,
            # On this machine as many tasks as asked for may run at once, whatever its cores.
            num_cpus=None if address else order.cpus * order.jobs,
            runtime_env={"env_vars": handed_on | {"PYTHONPATH": path}},
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # Ray raises what its parts raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(f"--on ray: no cluster at RAY_ADDRESS={address}: {reason}") from error
    return ray


def _share(order: Order) -> tuple[int, str] | None:
    """A task. Failed runs have rows of their own; what comes back is why the share did not begin."""
    try:
        launch(order)
    except UserError as error:
        return error.exit_code, f"share {order.only}: {error}"
    finally:
        sys.stdout.flush()
    return None


class _Watched:
    """What the shares have written since the last look, as a worker's events."""

    def __init__(
        self,
        where: Directory,
        steps: Mapping[str, int],
        left: Sequence[tuple[Arm, int]],
        board: Board,
    ):
        self._where, self._steps, self._board = where, steps, board
        self._row = {(arm.name, seed): self._written(arm.name, seed) for arm, seed in left}
        self._step = {run: where.logged_step(*run) for run in self._row}
        self._begun: set[tuple[str, int]] = set()

    def _written(self, arm: str, seed: int) -> int | None:
        """When the row of a run was written; None if there is none."""
        try:
            return self._where.row_path(arm, seed).stat().st_mtime_ns
        except OSError:
            return None

    def look(self) -> None:
        """Shows what is new."""
        for run in list(self._row):
            arm, seed = run
            event = {"arm": arm, "seed": seed}
            step = self._where.logged_step(arm, seed)
            if step != self._step[run]:
                self._step[run] = step
                if run not in self._begun:
                    self._begun.add(run)
                    self._board.event({"event": "start", **event})
                progress = {"event": "progress", "step": step or 0, "steps": self._steps[arm]}
                self._board.event(progress | event)
            row = self._where.read_row(arm, seed)
            if row is not None and self._written(arm, seed) != self._row[run]:
                del self._row[run]
                self._board.event({"event": "row", "seconds": None, **row})
        self._board.tick()
