"""The command as a person starts it: killed, interrupted, in shares, and with runs that fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import configs
from resnet_jax.ablation import design, launch
from resnet_jax.ablation.directory import Directory
from resnet_jax.errors import ConfigError, WorkdirError

ROOT = Path(configs.__file__).parent.parent
DIGITS = str(ROOT / "configs" / "ablations" / "digits.py")
SWEEP = design.load(DIGITS, "tiny")
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def start(*arguments, cwd: Path) -> subprocess.Popen:
    """The command in a process of its own."""
    words = [sys.executable, "-m", "resnet_jax", "sweep", *map(str, arguments)]
    pipe = subprocess.PIPE

    def heed_interrupts() -> None:  # also where the tests run in the background, without a terminal
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        words,
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=heed_interrupts,
    )


def run(*arguments, cwd: Path) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def checkpoints(where: Directory) -> set[Path]:
    """Also the ones that are being written, so that a kill meets them."""
    return set(where.path.glob("runs/*/s*/checkpoints/*"))


def measured(where: Directory) -> list[dict]:
    """The rows without what depends on the clock and the commit."""
    rows = [where.read_row(arm.name, seed) for arm, seed in SWEEP.runs]
    clock = ("seconds", "images_per_second", "git")
    return [{key: value for key, value in row.items() if key not in clock} for row in rows]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Directory:
    """The sweep as the two tasks of a SLURM array, both at once, without SLURM."""
    folder = tmp_path_factory.mktemp("slurm folder")
    where = Directory(folder / "sweep")
    slurm = ["--on", "slurm", "--jobs", 2, "--directory", where.path]
    code, out, err = run(f"{DIGITS}:tiny", *slurm, cwd=folder)
    assert (code, err) == (0, "")
    script = where.path / "sweep.sbatch"
    assert f"sbatch {script}" in out
    assert "#SBATCH --array=1-2\n" in script.read_text()
    alone = subprocess.run(["bash", script], env=ENVIRONMENT, capture_output=True, text=True)
    assert alone.returncode != 0
    assert "SLURM_ARRAY_TASK_ID" in alone.stderr
    tasks = [
        subprocess.Popen(
            ["bash", script],
            env=ENVIRONMENT | {"SLURM_ARRAY_TASK_ID": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2)
    ]
    printed = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    assert all("2 of 2 runs are done" in text for text in printed)
    return where


def test_the_tasks_of_a_slurm_array_do_every_run_once(unbroken):
    rows = measured(unbroken)
    assert [(row["arm"], row["seed"]) for row in rows] == [(a.name, s) for a, s in SWEEP.runs]
    assert {row["status"] for row in rows} == {"done"}
    assert len({row["state_sha256"] for row in rows}) == len(rows)
    assert len({row["config_sha256"] for row in rows}) == 2
    ends = [unbroken.log(arm.name).read_text().count("done  ") for arm in SWEEP.arms]
    assert ends == [2, 2]


def test_a_sweep_that_is_interrupted_and_killed_goes_on_to_the_same_bits(unbroken, tmp_path):
    where = Directory(tmp_path / "sweep")
    command = (f"{DIGITS}:tiny", "--directory", where.path)
    stopped = 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before = checkpoints(where)
        if not where.left(SWEEP.runs):
            break  # a busy machine was slower to stop it than it was to train
        process = start(*command, cwd=tmp_path)
        wait_for(lambda before=before: checkpoints(where) - before)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert "estimate  about " in out
        if not where.left(SWEEP.runs):
            continue
        stopped += 1
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 75
            assert err == "stopped; what is saved stays: run the same command again\n"
    assert stopped
    code, out, err = run(*command, cwd=tmp_path)
    assert (code, err) == (0, ""), out
    assert "4 of 4 runs are done" in out
    assert any("resume" in where.log(arm.name).read_text() for arm in SWEEP.arms)
    assert measured(where) == measured(unbroken)
    code, out, _ = run(*command, cwd=tmp_path)
    assert code == 0
    assert "4 have ended before" in out
    assert "done   " not in out


def test_a_run_that_fails_is_named_stops_no_other_and_gives_the_exit_code(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import dataclasses\n"
        "from configs.ablations import digits\n"
        "from resnet_jax.ablation.design import Arm\n"
        "def get_sweep():\n"
        "    arms = (Arm('original', {}), Arm('hot', {'optimizer.learning_rate': 1e38}))\n"
        "    arms += (Arm('odd', {'data.name': 'cifar10', 'data.dir': 'nowhere'}),)\n"
        "    return dataclasses.replace(digits.get_sweep('tiny'), arms=arms, seeds=(0,))\n"
    )
    code, out, _ = run(mine, "--jobs", 2, cwd=tmp_path)
    where = Directory(tmp_path / "runs" / "sweeps" / "mine")
    rows = {arm: where.read_row(arm, 0) for arm in ("original", "hot", "odd")}
    states = [(row["status"], row["exit_code"]) for row in rows.values()]
    assert states == [("done", 0), ("diverged", 5), ("failed", 3)]
    assert code == 5
    assert "diverged  hot s0: the train loss is" in out
    assert "failed    odd s0: cifar10: " in out
    assert "1 of 3 runs are done" in out


def order(file=f"{DIGITS}", **changes) -> launch.Order:
    return launch.Order(file=file, **{"argument": "tiny"} | changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": ("model.depth=8,9",)}, "arm 'original,depth=9': config.model.depth=9"),
        ({"settings": ("optimizer.decayed=('no_such',)",)}, "arm 'original': "),
        ({"settings": ("optimizer.rates=(('no_such',0.1),)",)}, "arm 'original': "),
        ({"settings": ("optimizer.rates=(('.*','1/0'),)",)}, "arm 'original': "),
        ({"settings": ("model.init=(('nosuch/.*','fill(0)'),)",)}, "arm 'original': "),
        (
            {"settings": ("model.design=fixup", "model.weight_standardization=scaled")},
            "arm 'original': config.model.init of design 'fixup'",
        ),
        ({"seeds": 0}, "--seeds 0"),
        ({"only": "3/2"}, "--only 3/2"),
        ({"only": "2"}, "--only 2: expected I/N"),
        ({"only": "1/2", "on": "ray"}, "write one of the two"),
        ({"jobs": 0}, "--jobs 0"),
        ({"argument": "nope"}, "'nope': expected tiny"),
        ({"file": "configs/ablations/digit.py"}, "no config file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, monkeypatch, changes, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        launch.launch(order(**changes))
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_estimates_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert launch.launch(order(seeds=1, settings=("num_steps=4,8",)), dry_run=True) == 0
    out = capsys.readouterr().out
    assert "runs      4: 4 arms, 1 seed;" in out
    assert "estimate  about" in out
    assert "note      1 seed is too few" in out
    assert list(tmp_path.iterdir()) == []


def test_another_sweep_in_the_same_directory_is_refused(tmp_path, monkeypatch):
    where = Directory(tmp_path)
    where.declare(SWEEP)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WorkdirError, match="arm original, num_steps: not set there, 9 now"):
        launch.launch(order(directory=tmp_path, settings=("num_steps=9",)))
    assert sorted(tmp_path.rglob("*")) == before
