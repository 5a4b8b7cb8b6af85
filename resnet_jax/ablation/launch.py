"""From a command line to a finished sweep: check, estimate, declare, run, say how it ended."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from resnet_jax import config as configs
from resnet_jax import platform
from resnet_jax.ablation import before, design, estimate, job, live, runner, speak
from resnet_jax.ablation import directory as directories
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.ablation.directory import Directory
from resnet_jax.errors import ConfigError

UNFINISHED = 75
"""Exit code when nothing failed, but runs are left: the same command goes on."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be run, and where.

    Attributes:
        file: of the sweep, with a function `get_sweep`.
        argument: what stands behind its colon.
        seeds: how many; None: the file's own.
        settings: `FIELD=V1,V2`, see `design.with_grid`.
        only: `I/N`, the I-th of N shares; None: everything.
        jobs: processes at once; on another engine, shares.
        on: local, ray or slurm.
        cpus: cores that a task of Ray asks for.
        gpus: GPUs that a task of Ray asks for.
        directory: of the sweep; None: its default.
    """

    file: str
    argument: str | None = None
    seeds: int | None = None
    settings: tuple[str, ...] = ()
    only: str | None = None
    jobs: int = 1
    on: str = "local"
    cpus: int = 1
    gpus: float = 0
    directory: Path | None = None

    @property
    def where(self) -> Directory:
        """The sweep's directory."""
        default = directories.default_path(self.file, self.argument, self.settings)
        return Directory(self.directory or default)

    def share(self, text: str) -> "Order":
        """The same for one share, to be run on another machine that sees the same files."""
        return dataclasses.replace(
            self,
            file=str(Path(self.file).absolute()),
            only=text,
            jobs=1,
            on="local",
            directory=self.where.path.absolute(),
        )

    def arguments(self) -> list[str]:
        """Behind `python -m resnet_jax sweep`, for a share."""
        config = self.file + (f":{self.argument}" if self.argument else "")
        seeds = [] if self.seeds is None else ["--seeds", str(self.seeds)]
        settings = [word for text in self.settings for word in ("--set", text)]
        where = ["--directory", str(self.where.path)]
        return [config, *seeds, *settings, *where, "--only", self.only or "1/1"]


def launch(order: Order, *, dry_run: bool = False) -> int:
    """Runs what is left of a sweep; returns the exit code.

    Args:
        order: what to run.
        dry_run: only check and estimate; nothing is written.

    Raises:
        ConfigError: the order is wrong or an arm is no valid config; nothing has been written.
        WorkdirError: the directory belongs to another sweep, or cannot be written.
        KeyboardInterrupt: the workers have been stopped.
    """
    if platform.guess_backend() != "cpu":
        # Workers compute; this process would only hold the memory of their accelerator.
        jax.config.update("jax_platforms", "cpu")
    _check(order)
    sweep = design.load(order.file, order.argument)
    sweep = sweep if order.seeds is None else design.with_seeds(sweep, order.seeds)
    sweep = before.with_settings(design.with_grid(sweep, order.settings), order.settings)
    design.validate(sweep)
    before.validate(sweep)
    networks = _networks(sweep)
    if sweep.before is not None:
        _networks(sweep.before)
    runs, where = _chosen(sweep, order.only), order.where
    rows = [row for run in sweep.runs if (row := where.read_row(run[0].name, run[1]))]
    expected, left = estimate.estimate(sweep, rows, sizes=networks), where.left(runs)
    for line in _describe(sweep, where, runs, left, expected):
        print(line, flush=True)
    if dry_run:
        return 0
    for line in where.declare(sweep):
        print(line, flush=True)
    if order.on == "slurm":
        from resnet_jax.ablation.engines import slurm

        script = slurm.write(order, where, sweep.name)
        print(f"script    {script}; start it with: sbatch {script}")
        return 0
    if order.on == "local" and (code := before.run(sweep, where, left, order.jobs)):
        return code
    mine = {(arm.name, seed) for arm, seed in runs}
    board = live.Board(runs, [r for r in rows if (r["arm"], r["seed"]) in mine], expected)
    try:
        if order.on == "ray":
            from resnet_jax.ablation.engines import ray

            steps = {a.name: configs.num_steps(design.resolve(sweep, a)) for a in sweep.arms}
            ray.run(order, where, left, steps, board)
        else:
            jobs = job.plan(sweep, where.path, left, order.jobs)
            runner.run(jobs, order.jobs, board.event, board.tick)
    finally:
        board.close()
    return _finish(where, runs)


def _networks(sweep: Sweep) -> dict[str, estimate.Network]:
    """The networks of a sweep's arms, and what must be known of them to check the arms."""
    networks = estimate.networks(sweep)
    shapes = {arm: network.parameters for arm, network in networks.items()}
    design.validate_patterns(sweep, shapes)
    return networks


def _check(order: Order) -> None:
    for name in ("jobs", "cpus"):
        if getattr(order, name) < 1:
            raise ConfigError(
                f"--{name} {getattr(order, name)}: expected a whole number of at least 1"
            )
    if order.only is not None and order.on != "local":
        raise ConfigError(f"--only {order.only} and --on {order.on}: write one of the two")
    if order.on == "ray":
        from resnet_jax.ablation.engines import ray

        ray.require()


def _chosen(sweep: Sweep, only: str | None) -> Sequence[tuple[Arm, int]]:
    """The runs of a share."""
    if only is None:
        return sweep.runs
    found = re.fullmatch(r"(\d+)/(\d+)", only)
    if not found:
        raise ConfigError(f"--only {only}: expected I/N, such as 2/8, the second of eight shares")
    return design.share(sweep.runs, int(found[1]), int(found[2]))


def _describe(
    sweep: Sweep,
    where: Directory,
    runs: Sequence[tuple[Arm, int]],
    left: Sequence[tuple[Arm, int]],
    expected: estimate.Estimate,
) -> list[str]:
    """What will be done and how long it takes, before it begins."""
    of_all = "" if len(runs) == len(sweep.runs) else f" (a share of {len(sweep.runs)})"
    source = f"from {_count(expected.timed, 'run')} timed here"
    if not expected.timed:
        source = "a guess from the size of the networks; better after the first run"
    lines = [
        f"sweep     {sweep.name}: {sweep.question}",
        f"runs      {len(runs)}{of_all}: {_count(len(sweep.arms), 'arm')}, "
        f"{_count(len(sweep.seeds), 'seed')}; "
        f"{len(runs) - len(left)} have ended before",
        f"directory {where.path}",
        *before.describe(sweep, where),
        f"estimate  about {estimate.in_words(expected.total(left))} "
        f"for {_count(len(left), 'run')} ({source})",
    ]
    warning = speak.warning(sweep)
    return lines + ([f"note      {warning}"] if warning else [])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _finish(where: Directory, runs: Sequence[tuple[Arm, int]]) -> int:
    """Says how the runs ended; returns the exit code."""
    rows = [where.read_row(arm.name, seed) for arm, seed in runs]
    bad = [row for row in rows if row is not None and row["exit_code"]]
    for row in bad:
        print(_describe_failure(where, row))
    missing = sum(row is None for row in rows)
    if missing:
        print(
            f"left      {_count(missing, 'run')}, under way in another process; run this again then"
        )
    print(f"ended     {len(rows) - len(bad) - missing} of {len(rows)} runs are done; {where.path}")
    return bad[0]["exit_code"] if bad else UNFINISHED if missing else 0


def _describe_failure(where: Directory, row: Mapping[str, Any]) -> str:
    again = "" if row["status"] == "diverged" else "; the same command tries it again"
    return (
        f"{row['status']:<9} {row['arm']} s{row['seed']}: {row['error']} "
        f"(exit code {row['exit_code']}; {where.log(row['arm'])}{again})"
    )
