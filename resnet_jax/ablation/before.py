"""What a sweep trains first: a sweep of its own, in `DIRECTORY/before`, from whose runs the arms start."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax import workdir as files
from resnet_jax.ablation import design, estimate, job, live, runner
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.ablation.directory import Directory
from resnet_jax.errors import ConfigError

FOLDER = "before"
"""In the sweep's directory, and the beginning of what refers to it."""

WAIT = 10.0
"""Seconds between looks at a run that another process has at hand."""


def reference(arm: str, seed: int = 0) -> str:
    """What an arm writes as its `finetune.init_from`, to start from a run of `Sweep.before`."""
    return f"{FOLDER}/{arm}/s{seed}"


def located(config: ConfigDict, directory: Path) -> ConfigDict:
    """A config with the run's workdir in the place of a reference to it.

    Args:
        config: of a run of a sweep.
        directory: of the sweep.
    """
    found = _split(config.finetune.init_from)
    if found is None:
        return config
    config = config.copy_and_resolve_references()
    # Absolute, so that the shares of a sweep, wherever they were started, name it alike.
    arm, number = found
    workdir = Directory(directory.absolute() / FOLDER).workdir(arm, int(number))
    config.finetune.init_from = str(workdir)
    return config


def _split(init_from: str | None) -> tuple[str, str] | None:
    """Arm and seed of a reference; None for another source."""
    parts = (init_from or "").split("/")
    if len(parts) != 3 or parts[0] != FOLDER:
        return None
    return parts[1], parts[2].removeprefix("s")


def validate(sweep: Sweep) -> None:
    """Checks what comes before, and what refers to it.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    first = sweep.before
    if first is not None:
        design.validate(first)
        if first.before is not None:
            raise ConfigError(f"sweep {first.name!r}: what comes before has no before of its own")
    known = {reference(arm.name, seed) for arm, seed in first.runs} if first else set()
    for arm in sweep.arms:
        start = _start(sweep, arm)
        if start is not None and start not in known:
            raise ConfigError(
                f"arm {arm.name!r}: its finetune.init_from={start!r} is no run of the sweep's before; "
                f"there are {', '.join(sorted(known)) or 'none'}"
            )


def _start(sweep: Sweep, arm: Arm) -> str | None:
    """The reference of an arm, if it has one."""
    start = design.resolve(sweep, arm).finetune.init_from
    return None if _split(start) is None else start


def with_settings(sweep: Sweep, settings: Sequence[str]) -> Sweep:
    """The same where what `--set` says of the machine also holds for what comes before.

    What it says of the recipe is about the arms alone, or several of its values would need as many.
    """
    first = sweep.before
    for text in settings if first is not None else ():
        field = text.partition("=")[0].removeprefix("config.")
        if files.NOT_PART_OF_THE_RUN.fullmatch(field):
            changed = design.with_grid(first, [text])
            first = changed if len(changed.arms) == len(first.arms) else first
    return dataclasses.replace(sweep, before=first)


def describe(sweep: Sweep, where: Directory) -> list[str]:
    """What will come before, and how long it takes."""
    if sweep.before is None:
        return []
    mine = Directory(where.path / FOLDER)
    left = mine.left(sweep.before.runs)
    if not left:
        return [f"before    is done, in {mine.path}"]
    expected = estimate.estimate(sweep.before, _rows(sweep.before, mine))
    names = ", ".join(f"{arm.name} s{seed}" for arm, seed in left)
    return [f"before    {names}: about {estimate.in_words(expected.total(left))}; {mine.path}"]


def run(sweep: Sweep, where: Directory, left: Sequence[tuple[Arm, int]], jobs: int) -> int:
    """Trains what the runs start from, or goes on with it; returns the exit code.

    Where another process has such a run at hand, it is waited for.

    Args:
        sweep: valid.
        where: its directory.
        left: runs of the sweep that are to be done after this.
        jobs: processes at once.

    Raises:
        WorkdirError: the directory is that of another sweep, or cannot be written.
    """
    first, mine = sweep.before, Directory(where.path / FOLDER)
    if first is None or not any(_start(sweep, arm) for arm, _ in left):
        return 0
    for line in mine.declare(first):
        print(line, flush=True)
    while waiting := mine.left(first.runs):
        code = _train(first, mine, waiting, jobs)
        if code:
            return code
        if mine.left(first.runs):
            time.sleep(WAIT)
    diverged = [row for row in _rows(first, mine) if row["exit_code"]]
    for row in diverged:
        print(_failure(mine, row))
    return diverged[0]["exit_code"] if diverged else 0


def _train(first: Sweep, mine: Directory, waiting: Sequence[tuple[Arm, int]], jobs: int) -> int:
    """Does those runs that no other process holds; returns the exit code of the first that failed."""
    failed = []
    rows = _rows(first, mine)
    board = live.Board(first.runs, rows, estimate.estimate(first, rows))

    def watch(event: dict[str, Any]) -> None:
        board.event(event)
        if event["event"] == "row" and event.get("exit_code"):
            failed.append(event)

    count = min(jobs, len(waiting))  # an idle worker would keep its share of the cores
    try:
        runner.run(job.plan(first, mine.path, waiting, count), count, watch, board.tick)
    finally:
        board.close()
    for event in failed:
        print(_failure(mine, event))
    return failed[0]["exit_code"] if failed else 0


def _rows(first: Sweep, mine: Directory) -> list[dict[str, Any]]:
    return [row for arm, seed in first.runs if (row := mine.read_row(arm.name, seed))]


def _failure(mine: Directory, row: dict[str, Any]) -> str:
    return (
        f"{row['status']:<9} before, {row['arm']} s{row['seed']}: {row['error']} "
        f"(exit code {row['exit_code']}; {mine.log(row['arm'])}); the arms that start from it wait"
    )
