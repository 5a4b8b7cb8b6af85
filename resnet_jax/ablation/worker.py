"""A worker process of a sweep: trains the seeds of one arm, one after the other, compiled once.

python -m resnet_jax.ablation.worker

It reads a job, one line of JSON, from its standard input, and ends when that is closed, so that no
worker outlives who started it. On its standard output it writes events as JSON lines:
`{"event": "start" | "progress" | "busy" | "row", "arm", "seed", ...}`; what training prints goes to
its standard error.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from resnet_jax import platform

INTERVAL = 1.0
"""Seconds between events on the progress of a run."""


def main() -> int:
    """Works on one job."""
    settings = platform.prepare()
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to descriptor 1 too
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    from resnet_jax.ablation.job import Job
    from resnet_jax.errors import Stopped
    from resnet_jax.native import backend

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    job = Job.from_json(line)
    try:
        run(job, emit, (*settings, *backend.tune(job.config)))
    except Stopped as stopped:
        print(stopped, flush=True)
        return stopped.exit_code
    return 0


def _end_with_the_parent() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(75)  # nothing is lost: what is saved is on disk, and a kill is safe at any point


def run(
    job: Any, emit: Callable[[dict[str, Any]], None], settings: Sequence[str] = ()
) -> dict[int, dict[str, Any]]:
    """Does a job; a failed run is recorded and the next one begun.

    Args:
        job: a `Job`.
        emit: gets the events.
        settings: what `platform.prepare` did, to be shown.

    Returns:
        the rows that were written, by seed.

    Raises:
        Stopped: on request, when the run at hand is saved.
        WorkdirError: a row cannot be written.
    """
    from resnet_jax.ablation.directory import FINAL, Directory

    where, shared = Directory(job.directory), (None, None)
    rows: dict[int, dict[str, Any]] = {}
    for seed in job.seeds:
        name = {"arm": job.arm, "seed": seed}
        with where.lock(job.arm, seed) as held:
            if not held:
                emit({"event": "busy", **name})
                continue
            row = where.read_row(job.arm, seed)
            if row is None or row["status"] not in FINAL:
                emit({"event": "start", **name})
                row, shared = _run(job, seed, emit, settings, shared)
                where.write_row(row)
            rows[seed] = row
            ending = {key: row[key] for key in ("status", "exit_code", "error")}
            emit({"event": "row", **name, **ending, "seconds": row.get("seconds")})
    return rows


def _run(
    job: Any,
    seed: int,
    emit: Callable[[dict[str, Any]], None],
    settings: Sequence[str],
    shared: tuple[Any, Any],
) -> tuple[dict[str, Any], tuple[Any, Any]]:
    """One run: its row, and the programs and the cost, which the next seed shares."""
    from resnet_jax import plan, start, train
    from resnet_jax.ablation import before, cost, directory
    from resnet_jax.errors import Stopped, UserError
    from resnet_jax.programs import Programs

    config = before.located(job.config.copy_and_resolve_references(), job.directory)
    config.seed = seed
    programs, spent = shared
    workdir = directory.Directory(job.directory).workdir(job.arm, seed)
    said = 0.0

    def watch(done: int, steps: int) -> None:
        nonlocal said
        if done == steps or time.monotonic() - said > INTERVAL:
            said = time.monotonic()
            progress = {"event": "progress", "arm": job.arm, "seed": seed}
            emit({**progress, "step": done, "steps": steps})

    print(f"\n{job.arm} s{seed}", flush=True)
    try:
        dataset = start.dataset(config, workdir)
        programs = programs or Programs.create(plan.make(config, dataset=dataset))
        result = train.train_and_evaluate(
            config, workdir, settings=settings, programs=programs, watch=watch
        )
        spent = spent or cost.measure(config, dataset)
        row = directory.finished_row(workdir, result, job.arm, seed, job.identity | spent)
    except Stopped:
        raise
    except UserError as error:
        print(f"error: {error}", flush=True)
        row = directory.failed_row(error, error.exit_code, job.arm, seed, job.identity)
    except Exception as error:  # one failed run never stops the others
        traceback.print_exc()
        row = directory.failed_row(error, 1, job.arm, seed, job.identity)
    return row, (programs, spent)


if __name__ == "__main__":
    sys.exit(main())
