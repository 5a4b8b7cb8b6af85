"""The local engine: worker processes on this machine, started, watched, replaced after a crash."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resnet_jax.ablation import directory, slots
from resnet_jax.ablation.directory import Directory
from resnet_jax.ablation.job import Job

PATIENCE = 10.0
"""Seconds that a worker gets to end after SIGTERM."""

WORKER = (sys.executable, "-m", "resnet_jax.ablation.worker")


class _Worker:
    """A process that works on a job, and the thread that reads its events."""

    def __init__(self, job: Job, slot: int, count: int, inbox: queue.Queue):
        self.job, self.slot = job, slot
        self.ended: list[int] = []
        self.now: int | None = None
        log = Directory(job.directory).log(job.arm)
        log.parent.mkdir(parents=True, exist_ok=True)
        cores = slots.processors(slot, count) if count > 1 else set()
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                WORKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=slots.environment(slot, count, os.environ),
                # Ctrl-C is for the sweep, which ends its workers itself.
                start_new_session=True,
            )
        if cores:
            with contextlib.suppress(OSError):  # it has ended already
                os.sched_setaffinity(self.process.pid, cores)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(job.to_json() + "\n")
            self.process.stdin.flush()  # and stays open: its end would end the worker
        threading.Thread(target=self._read, args=(inbox,), daemon=True).start()

    def _read(self, inbox: queue.Queue) -> None:
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # a line that a kill cut off
                inbox.put((self, json.loads(line)))
        self.process.wait()
        inbox.put((self, None))

    def stop(self) -> None:
        """Ends the process; a run can be killed at any point."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def run(
    jobs: Sequence[Job],
    count: int,
    watch: Callable[[Mapping[str, Any]], None],
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Does all jobs, `count` at a time.

    A worker that crashes costs the run it was in, which gets the row of a failed one; another
    worker goes on with the job's other seeds.

    Args:
        jobs: in the order in which they are begun.
        count: workers at once.
        watch: gets the workers' events, and a row for each run that a crash has ended.
        tick: called several times a second.

    Raises:
        WorkdirError: a row cannot be written.
    """
    waiting, inbox = list(jobs), queue.Queue()
    workers: dict[int, _Worker] = {}
    try:
        while waiting or workers:
            for slot in range(count):
                if slot not in workers and waiting:
                    workers[slot] = _Worker(waiting.pop(0), slot, count, inbox)
            tick()
            try:
                worker, event = inbox.get(timeout=0.25)
            except queue.Empty:
                continue
            if event is not None:
                _note(worker, event)
                watch(event)
                continue
            del workers[worker.slot]
            rest = worker.job.without(worker.ended)
            if rest.seeds:
                watch(_record_crash(worker, rest))
                rest = rest.without(worker.ended)
            if rest.seeds:
                waiting.insert(0, rest)
    finally:
        for worker in workers.values():
            worker.stop()


def _note(worker: _Worker, event: Mapping[str, Any]) -> None:
    if event["event"] == "start":
        worker.now = event["seed"]
    elif event["event"] in ("row", "busy"):
        worker.ended.append(event["seed"])
        worker.now = None


def _record_crash(worker: _Worker, rest: Job) -> dict[str, Any]:
    """Writes the row of the run in which a worker ended without a word; returns the event."""
    seed = rest.seeds[0] if worker.now is None else worker.now
    worker.ended.append(seed)
    where, job, code = Directory(rest.directory), rest, worker.process.returncode
    how = f"ended with code {code}"
    if code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
        how += ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        code = 128 - code
    text = f"its process {how}; see {where.log(job.arm)}"
    row = directory.failed_row(text, code or 1, job.arm, seed, job.identity)
    row["status"] = "failed"  # whatever the code of a crash means elsewhere
    where.write_row(row)
    ending = {key: row[key] for key in ("arm", "seed", "status", "exit_code", "error")}
    return {"event": "row", **ending}
