"""A sweep on a local Ray cluster; skipped where Ray, an extra, is not installed."""

import importlib.util
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
from resnet_jax.errors import ConfigError

ROOT = Path(configs.__file__).parent.parent
DIGITS = str(ROOT / "configs" / "ablations" / "digits.py")
SWEEP = design.load(DIGITS, "tiny")
COMMAND = [sys.executable, "-m", "resnet_jax", "sweep", f"{DIGITS}:tiny", "--on", "ray"]

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs pip install -r requirements-ray.txt"
)


def start(where: Directory, *arguments: str) -> subprocess.Popen:
    words = [*COMMAND, "--jobs", "2", "--directory", str(where.path), *arguments]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment.pop("RAY_ADDRESS", None)
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


@needs_ray
@pytest.mark.slow
def test_a_local_cluster_is_interrupted_goes_on_and_does_every_run(tmp_path):
    where = Directory(tmp_path / "sweep")
    process = start(where)
    end = time.monotonic() + 200
    while not list(where.path.glob("runs/*/s*/checkpoints/*")):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "stopped; what is saved stays" in err
    for arm, seed in SWEEP.runs:  # the workers have ended too
        with where.lock(arm.name, seed, patience=20.0) as held:
            assert held
    process = start(where)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "4 of 4 runs are done" in out
    rows = [where.read_row(arm.name, seed) for arm, seed in SWEEP.runs]
    assert [row["status"] for row in rows] == ["done"] * 4


@needs_ray
@pytest.mark.slow
def test_runs_that_fail_on_a_cluster_give_the_exit_code(tmp_path):
    where = Directory(tmp_path / "sweep")
    process = start(where, "--set", "data.dir=/nowhere", "--set", "data.name=cifar10")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 3, out + err
    assert "failed    original s0: cifar10" in out


def test_without_ray_an_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    order = launch.Order(DIGITS, "tiny", on="ray", directory=tmp_path / "sweep")
    with pytest.raises(ConfigError, match="pip install 'ray"):
        launch.launch(order)
    assert list(tmp_path.iterdir()) == []
