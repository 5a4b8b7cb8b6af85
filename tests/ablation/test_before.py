"""What a sweep does first, and the arms that start from it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from resnet_jax import checkpoint
from resnet_jax.ablation import before, design, directory, runner
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.ablation.directory import Directory
from resnet_jax.errors import ConfigError

ROOT = Path(configs.__file__).parent.parent
TRANSFER = str(ROOT / "configs" / "ablations" / "transfer.py")
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def sweep(tiny_config) -> Sweep:
    arms = (
        Arm("scratch", {}),
        Arm("tuned", {"finetune.init_from": before.reference("pretrained")}, control="scratch"),
    )
    first = Sweep("first", "Which?", tiny_config, (Arm("pretrained", {"num_steps": 4}),), (0,))
    return Sweep("s", "Why?", tiny_config, arms, (0,), before=first)


@pytest.fixture
def where(tmp_path) -> Directory:
    return Directory(tmp_path / "sweep")


def test_a_reference_becomes_the_workdir_of_its_run(sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = design.resolve(sweep, sweep.arms[1])
    found = before.located(config, Path("sweep")).finetune.init_from
    assert found == str(tmp_path / "sweep/before/runs/pretrained/s0")
    assert config.finetune.init_from == "before/pretrained/s0"
    for other in (None, "runs/before", "before"):
        config.finetune.init_from = other
        assert before.located(config, tmp_path).finetune.init_from == other


def test_a_reference_to_no_run_is_refused_with_the_arm(sweep):
    before.validate(sweep)
    arm = Arm("lost", {"finetune.init_from": before.reference("pretraind")})
    with pytest.raises(ConfigError, match=r"'lost'.*there are before/pretrained/s0"):
        before.validate(dataclasses.replace(sweep, arms=(*sweep.arms, arm)))
    with pytest.raises(ConfigError, match=r"'tuned'.*there are none"):
        before.validate(dataclasses.replace(sweep, before=None))
    first = dataclasses.replace(sweep.before, arms=(Arm("a", {"model.depth": 9}),))
    with pytest.raises(ConfigError, match=r"model\.depth=9"):
        before.validate(dataclasses.replace(sweep, before=first))


def test_what_set_says_of_the_machine_holds_for_what_comes_before(sweep):
    text = ["conv_backend=xla", "config.checkpoint.every=3", "num_steps=2", "eval_batch_size=1,2"]
    first = before.with_settings(sweep, text).before
    resolved = design.resolve(first, first.arms[0])
    assert (resolved.conv_backend, resolved.checkpoint.every) == ("xla", 3)
    assert (resolved.num_steps, resolved.eval_batch_size) == (4, 120)


def finish(where: Directory, code: int) -> dict:
    mine = Directory(where.path / "before")
    row = directory.failed_row("no luck" if code else "", code, "pretrained", 0, {})
    row |= {} if code else {"status": "done"}
    mine.write_row(row)
    return {"event": "row", **row}


@pytest.mark.parametrize("code", [1, 5])
def test_nothing_starts_from_what_has_failed(sweep, where, monkeypatch, capsys, code):
    monkeypatch.setattr(runner, "run", lambda jobs, n, watch, tick: watch(finish(where, code)))
    assert before.run(sweep, where, sweep.runs, 1) == code
    assert f"before, pretrained s0: no luck (exit code {code}" in capsys.readouterr().out
    if code == 5:  # what diverged would again
        monkeypatch.setattr(runner, "run", None)
        assert before.run(sweep, where, sweep.runs, 1) == code


def test_a_run_that_another_process_holds_is_waited_for(sweep, where, monkeypatch):
    calls = []

    def busy_then_done(jobs, count, watch, tick):
        calls.append(jobs)
        if len(calls) == 3:
            finish(where, 0)
        watch({"event": "busy", "arm": "pretrained", "seed": 0})

    monkeypatch.setattr(runner, "run", busy_then_done)
    monkeypatch.setattr(before, "WAIT", 0.0)
    assert before.run(sweep, where, sweep.runs, 1) == 0
    assert len(calls) == 3


def test_arms_that_start_from_nothing_do_not_wait(sweep, where, monkeypatch):
    monkeypatch.setattr(runner, "run", None)
    assert before.run(sweep, where, [sweep.runs[0]], 1) == 0
    assert before.run(sweep, where, [], 1) == 0
    assert before.run(dataclasses.replace(sweep, before=None), where, sweep.runs, 1) == 0


@pytest.mark.slow
def test_the_transfer_sweep_trains_first_and_its_table_has_the_costs(tmp_path):
    """The command at its smallest: a pre-training, two arms, one seed; then again, then its table."""
    folder = tmp_path / "sweep"

    def run(*words) -> str:
        command = [sys.executable, "-m", "resnet_jax", *map(str, words)]
        done = subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command = ["sweep", f"{TRANSFER}:tiny", "--seeds", 1, "--directory", folder, "--jobs", 2]
    out = run(*command)
    assert "before    pretrained s0: about" in out
    assert "2 of 2 runs are done" in out
    where = Directory(folder)
    source = where.path / "before/runs/pretrained/s0"
    weights = checkpoint.read_variables(source, 8)
    probe = checkpoint.read_variables(where.workdir("probe_100", 0), 8)
    for name in ("stem", "stage1", "stage3"):
        jax.tree.map(np.testing.assert_array_equal, probe["params"][name], weights["params"][name])
    assert not np.array_equal(
        probe["params"]["head"]["kernel"], weights["params"]["head"]["kernel"]
    )
    rows = {kind: where.read_row(f"{kind}_100", 0) for kind in ("scratch", "probe")}
    for cost in ("optimizer_bytes", "step_flops"):
        spent = {kind: row[cost] for kind, row in rows.items()}
        assert spent["probe"] < 0.6 * spent["scratch"]
    before_again = (source / "result.json").stat().st_mtime_ns
    out = run(*command)
    assert "before    is done" in out
    assert "2 have ended before" in out
    assert (source / "result.json").stat().st_mtime_ns == before_again
    out = run("table", folder)
    assert "What the arms cost" in out
    assert (folder / "cost.png").stat().st_size > 5000
