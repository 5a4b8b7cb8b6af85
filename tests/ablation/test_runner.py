"""The local engine with workers that are a few lines of Python, so that crashes are cheap."""

import sys
import time

import pytest

from configs import digits_quickstart
from resnet_jax.ablation import job, runner, slots
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.ablation.directory import Directory

WORKER = """
import json, os, signal, sys, time
job = json.loads(sys.stdin.readline())
for seed in job["seeds"]:
    event = {"arm": job["arm"], "seed": seed}
    def emit(**more): print(json.dumps(event | more), flush=True)
    emit(event="start")
    if job["arm"] == "slow":
        sys.stdin.read()
        sys.exit(75)
    if (job["arm"], seed) == ("killed", 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if (job["arm"], seed) == ("exits", 1):
        sys.exit(5)
    emit(event="row", status="done", exit_code=0, error=None)
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A function of names that makes one job of three seeds for each."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(runner, "WORKER", (sys.executable, str(script)))

    def make(*names, slots=1):
        arms = tuple(Arm(name, {}) for name in names)
        sweep = Sweep("s", "Why?", digits_quickstart.get_config(), arms, (0, 1, 2))
        return job.plan(sweep, tmp_path / "sweep", sweep.runs, slots)

    return make


def run(jobs, count=1):
    events = []
    runner.run(jobs, count, events.append)
    return events


def ends(events):
    return [(e["arm"], e["seed"], e["status"]) for e in events if e["event"] == "row"]


@pytest.mark.parametrize("count", [1, 3])
def test_every_run_of_every_job_is_done_once(jobs, count):
    assert sorted(ends(run(jobs("a", "b"), count))) == [
        (arm, seed, "done") for arm in "ab" for seed in (0, 1, 2)
    ]


@pytest.mark.parametrize(("arm", "words", "code"), [("killed", "SIGKILL", 137), ("exits", "5", 5)])
def test_a_crash_costs_one_run_which_is_named_and_stops_no_other(jobs, tmp_path, arm, words, code):
    events = run(jobs(arm, "b"))
    assert sorted(ends(events)) == sorted(
        [("b", 0, "done"), ("b", 1, "done"), ("b", 2, "done")]
        + [(arm, 0, "done"), (arm, 1, "failed"), (arm, 2, "done")]
    )
    row = Directory(tmp_path / "sweep").read_row(arm, 1)
    assert (row["status"], row["exit_code"]) == ("failed", code)
    assert words in row["error"]
    assert f"{arm}.txt" in row["error"]


def test_an_interrupt_ends_the_workers(jobs, monkeypatch):
    started = []

    def interrupt(event):
        raise KeyboardInterrupt

    class Worker(runner._Worker):
        def __init__(self, *args):
            super().__init__(*args)
            started.append(self)

    monkeypatch.setattr(runner, "_Worker", Worker)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run(jobs("slow", "slow2"), 2, interrupt)
    assert time.monotonic() - began < runner.PATIENCE
    assert len(started) == 2
    assert all(worker.process.poll() is not None for worker in started)


def test_the_seeds_of_an_arm_are_one_job_unless_slots_would_wait_for_it(jobs):
    assert [(j.arm, j.seeds) for j in jobs("a", "b")] == [("a", (0, 1, 2)), ("b", (0, 1, 2))]
    assert [(j.arm, j.seeds) for j in jobs("a", slots=2)] == [("a", (0,)), ("a", (1, 2))]
    assert [j.seeds for j in jobs("a", slots=9)] == [(0,), (1,), (2,)]
    assert [j.arm for j in jobs("a", "b", slots=2)] == ["a", "b", "b"]
    assert [j.arm for j in jobs("a", "b", "c", slots=2)] == ["a", "b", "c", "c"]
    assert [j.arm for j in jobs("a", "b", "c", slots=1)] == ["a", "b", "c"]
    assert [j.arm for j in jobs(*"abcde", slots=3)] == ["a", "b", "c", "d", "d", "e", "e"]
    assert [j.arm for j in jobs(*"abcdef", slots=3)] == ["a", "b", "c", "d", "e", "f", "f", "f"]


def test_a_job_survives_its_line_of_json(jobs):
    (first,) = jobs("a")
    again = job.Job.from_json(first.to_json())
    assert "\n" not in first.to_json()
    assert again.to_json() == first.to_json()
    assert again.config.model.stage_widths == (16, 32, 64)
    assert again.identity == first.identity


def test_processes_share_cores_and_gpus():
    cores = [slots.processors(slot, 2) for slot in (0, 1)]
    if len(cores[0] | cores[1]) > 1:
        assert not cores[0] & cores[1]
    environ = {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": "0,2,5"}
    seen = [slots.environment(s, 2, environ)["CUDA_VISIBLE_DEVICES"] for s in (0, 1)]
    assert seen == ["0", "2,5"]
    many = [slots.environment(s, 6, environ) for s in range(6)]
    assert [m["CUDA_VISIBLE_DEVICES"] for m in many] == ["0", "2", "5"] * 2
    assert many[0]["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert slots.environment(0, 1, environ)["CUDA_VISIBLE_DEVICES"] == "0,2,5"
