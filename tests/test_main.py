"""The program as a person starts it: exit codes, streams and files."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import main
from resnet_jax import config as configs
from resnet_jax import workdir as files

ROOT = Path(main.__file__).resolve().parent
QUICKSTART = ROOT / "configs" / "digits_quickstart.py"
FLAGS = [
    "--config.num_steps=8",
    "--config.batch_size=16",
    "--config.log_every=3",
    "--config.data.validation=300",
    "--config.eval_every=4",
    "--config.model.stage_widths=(4,8,8)",
    "--config.tensorboard",
]
STEP_ROWS = [("train", 3), ("validation", 4), ("train", 6), ("train", 8), ("validation", 8)]


def start(*command, cwd: Path) -> subprocess.CompletedProcess:
    """A program in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the program is started."""
    return tmp_path_factory.mktemp("folder")


@pytest.fixture(scope="module")
def trained(folder):
    """A finished run in its default workdir; every import and every warning is on stderr."""
    loud = ["-Ximporttime", "-Walways"]
    return start(*loud, ROOT / "main.py", "--config", QUICKSTART, *FLAGS, cwd=folder)


@pytest.fixture
def workdir(trained, folder):
    return folder / "runs" / "digits_quickstart-s0"


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    """However often it comes in the way of a callback of JAX, where exceptions are lost."""
    command = [sys.executable, ROOT / "main.py", "--config", QUICKSTART]
    command += ["--config.num_steps=1000000", "--config.log_every=1"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in running.stdout:
        if line.startswith("step"):
            break
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 75
    assert re.fullmatch(r"stopped by SIGINT: step [\d,]+ of 1,000,000 is saved .*\n", err)
    assert list((tmp_path / "runs/digits_quickstart-s0/checkpoints").iterdir())


def call(monkeypatch, *arguments) -> int:
    """The exit code of `main` in this process, which has eight devices."""
    monkeypatch.setattr(main.platform, "prepare", lambda: ())  # too late: JAX is imported
    monkeypatch.setattr(sys, "argv", ["main.py", *map(str, arguments)])
    return main.main()


class TestTraining:
    def test_ends_with_exit_code_0_and_a_line_about_the_result(self, trained, workdir):
        assert trained.returncode == 0, trained.stderr[-2000:]
        result = files.read_result(workdir)
        last = trained.stdout.splitlines()[-1]
        assert last.startswith("done      ResNet-8 original: test accuracy ")
        assert f"{result['test_accuracy']:.2%} " in last
        assert last.endswith(f"; {workdir.relative_to(workdir.parents[1])}")
        assert "\x1b" not in trained.stdout
        assert "\r" not in trained.stdout

    def test_imports_neither_tensorflow_nor_torch(self, trained):
        lines = trained.stderr.splitlines()
        imported = [line.rpartition("|")[2].strip() for line in lines if "import time:" in line]
        packages = {name.partition(".")[0] for name in imported}
        assert {"jax", "flax", "tensorboard"} <= packages
        assert packages & {"tensorflow", "torch"} == set()

    def test_says_nothing_on_stderr_and_meets_no_warning(self, trained):
        lines = trained.stderr.splitlines()
        assert [line for line in lines if not line.startswith("import time:")] == []

    def test_writes_the_files_of_the_contract_and_no_others(self, trained, workdir, folder):
        assert [path.name for path in folder.iterdir()] == ["runs"]
        assert sorted(os.listdir(workdir)) == [
            "checkpoints",
            "config.json",
            "metrics.jsonl",
            "result.json",
            "tensorboard",
            "test_correct.npy",
            "versions.json",
        ]
        assert "8" in os.listdir(workdir / "checkpoints")

    def test_stores_the_resolved_config(self, trained, workdir):
        config = files.read_config(workdir)
        assert (config.num_steps, config.batch_size) == (8, 16)
        assert config.model.stage_widths == (4, 8, 8)
        assert configs.flatten(config).keys() == configs.RULES.keys()

    def test_result_has_the_keys_of_the_contract(self, trained, workdir):
        result = json.loads((workdir / files.RESULT).read_text())
        assert set(result) == files.RESULT_FIELDS
        assert 0 <= result["test_accuracy"] <= 1
        assert (result["test_examples"], result["step"], result["seed"]) == (360, 8, 0)
        assert re.fullmatch("[0-9a-f]{64}", result["state_sha256"])
        assert result["parameters"] > 1000
        assert 0 < result["seconds"] < 300
        assert result["images_per_second"] > 0

    def test_rows_have_the_keys_of_the_contract(self, trained, workdir):
        rows = [json.loads(line) for line in (workdir / files.METRICS).read_text().splitlines()]
        assert [(row["split"], row["step"]) for row in rows] == [*STEP_ROWS, ("test", 8)]
        for row in rows:
            assert list(row) == [
                "step",
                "epoch",
                "split",
                "loss",
                "accuracy",
                "learning_rate",
                "images_per_second",
            ]
            assert row["epoch"] == pytest.approx(row["step"] * 16 / 1137)
            assert row["loss"] > 0
            assert 0 <= row["accuracy"] <= 1
        result = files.read_result(workdir)
        assert rows[-1]["accuracy"] == result["test_accuracy"]
        assert rows[-1]["loss"] == result["test_loss"]

    def test_again_prints_the_result_again_and_changes_nothing(self, trained, workdir, folder):
        before = contents(folder)
        again = start(ROOT / "main.py", "--config", QUICKSTART, *FLAGS, cwd=folder)
        assert again.returncode == 0
        assert again.stderr == ""
        assert "has finished" in again.stdout.splitlines()[0]
        assert again.stdout.splitlines()[-1] == trained.stdout.splitlines()[-1]
        assert contents(folder) == before

    def test_agrees_with_the_command_evaluate_exactly(self, trained, workdir):
        done = start("-m", "resnet_jax", "evaluate", workdir, "--json", cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, "")
        evaluated, result = json.loads(done.stdout), files.read_result(workdir)
        for name in ("accuracy", "loss", "examples"):
            assert evaluated[name] == result[f"test_{name}"]
        for name in ("step", "parameters", "state_sha256"):
            assert evaluated[name] == result[name]


class TestMistakes:
    @pytest.fixture(autouse=True)
    def empty(self, tmp_path, monkeypatch):
        """Starts every test in an empty folder, without data, and without a network."""

        def no_network(*arguments, **more):
            raise AssertionError("the network was used")

        folder = tmp_path / "empty"
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no data"))
        monkeypatch.setattr(socket.socket, "connect", no_network)
        monkeypatch.setattr(socket, "getaddrinfo", no_network)
        return folder

    def refusal(self, monkeypatch, capfd, code: int, *arguments) -> str:
        """What stands on stderr: two lines at most. Nothing on stdout, and nothing is written."""
        before = contents(Path())
        assert call(monkeypatch, *arguments) == code
        captured = capfd.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert len(captured.err.splitlines()) <= 2
        assert contents(Path()) == before
        return captured.err

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ([], "--config"),
            (["--config=nope.py"], "nope.py"),
            (["--config", f"{QUICKSTART}:depth=8"], "depth=8"),
            (["--config", QUICKSTART, "--config.sed=1"], "config.sed"),
            (["--config", QUICKSTART, "--config.seed=-1"], "config.seed=-1"),
            (["--config", QUICKSTART, "config.seed=1"], "config.seed=1"),
            (["--config", QUICKSTART, "--config.model.branch=conv nrm"], "'nrm'"),
            (["--config", QUICKSTART, "--config.batch_size=60"], "config.batch_size"),
            (["--config", QUICKSTART, "--config.accumulation=16"], "config.accumulation"),
            (["--config", QUICKSTART, "--config.optimizer.decayed=.*/kernl"], ".*/kernl"),
            (["--config", QUICKSTART, "--config.optimizer.decayed=("], "config.optimizer.decayed"),
        ],
    )
    def test_of_the_config_and_the_command_line_end_with_2(
        self, monkeypatch, capfd, arguments, named
    ):
        text = self.refusal(monkeypatch, capfd, 2, *arguments, "--workdir=w")
        assert named in text

    def test_missing_data_ends_with_3_and_names_directory_and_command(
        self, monkeypatch, capfd, tmp_path
    ):
        began = time.perf_counter()
        text = self.refusal(
            monkeypatch, capfd, 3, "--config", ROOT / "configs" / "cifar10_resnet.py"
        )
        assert time.perf_counter() - began < 10
        assert str(tmp_path / "no data" / "cifar10" / "3.0.2") in text
        assert f"python -m resnet_jax prepare cifar10 --data-dir '{tmp_path}/no data'" in text

    def test_a_used_workdir_ends_with_4_and_names_the_field(
        self, monkeypatch, capfd, trained, workdir
    ):
        before = contents(workdir)
        text = self.refusal(
            monkeypatch,
            capfd,
            4,
            "--config",
            QUICKSTART,
            *FLAGS,
            "--config.seed=5",
            "--workdir",
            workdir,
        )
        assert "seed: 0 there, 5 now" in text
        assert contents(workdir) == before

    def test_a_folder_of_something_else_ends_with_4(self, monkeypatch, capfd):
        Path("precious").write_text("x")
        for workdir in (".", "precious", "precious/sub"):
            text = self.refusal(
                monkeypatch, capfd, 4, "--config", QUICKSTART, f"--workdir={workdir}"
            )
            assert "--workdir" in text

    def test_in_a_process_of_their_own_are_quick_and_leave_no_traceback(self, tmp_path, empty):
        for arguments, code in (
            ([QUICKSTART, "--config.sed=1"], 2),
            ([ROOT / "configs" / "default.py"], 3),
        ):
            began = time.perf_counter()
            done = start(ROOT / "main.py", "--config", *arguments, cwd=empty)
            assert time.perf_counter() - began < 10
            assert (done.returncode, done.stdout) == (code, "")
            assert done.stderr.startswith("error: ")
            assert len(done.stderr.splitlines()) <= 2
            assert list(empty.iterdir()) == []

    def test_help_ends_with_0(self, monkeypatch, capfd):
        with pytest.raises(SystemExit) as caught:
            call(monkeypatch, "--help")
        assert caught.value.code == 0
        assert "--workdir DIR" in capfd.readouterr().out
