import base64

import numpy as np
import pytest

from configs import cifar10_resnet
from resnet_jax import plan, train
from resnet_jax import workdir as files
from resnet_jax.ablation import directory, estimate, worker
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.ablation.directory import Directory
from resnet_jax.ablation.job import Job
from resnet_jax.errors import NonFiniteError
from resnet_jax.programs import Programs


@pytest.fixture
def job(tiny_config, tmp_path) -> Job:
    return Job(tmp_path / "sweep", "a", (0, 1), tiny_config, {"model.depth": 8})


def run(job) -> tuple[dict, list]:
    events = []
    rows = worker.run(job, events.append)
    return rows, [(e["event"], e["seed"]) for e in events if e["event"] != "progress"]


def test_the_seeds_of_an_arm_are_compiled_once_and_their_rows_say_what_was_measured(
    job, monkeypatch
):
    created = []
    create = Programs.create.__func__

    def counted(cls, run):
        created.append(create(cls, run))
        return created[-1]

    monkeypatch.setattr(Programs, "create", classmethod(counted))
    rows, events = run(job)
    assert events == [("start", 0), ("row", 0), ("start", 1), ("row", 1)]
    assert len(created) == 1
    assert created[0].steps.program._cache_size() == 1
    where = Directory(job.directory)
    for seed in (0, 1):
        row, result = where.read_row("a", seed), files.read_result(where.workdir("a", seed))
        assert row == rows[seed]
        assert (row["format"], row["arm"], row["seed"]) == (1, "a", seed)
        assert (row["status"], row["exit_code"], row["error"]) == ("done", 0, None)
        assert result.items() - {("eval_augment", "")} <= row.items()
        packed = np.frombuffer(base64.b64decode(row["correct"]), np.uint8)
        correct = np.unpackbits(packed, count=row["test_examples"]).astype(bool)
        assert correct.tolist() == files.read_correct(where.workdir("a", seed)).tolist()
        assert correct.mean() == pytest.approx(row["test_accuracy"])
        assert row["config_sha256"] == directory.config_sha256(job.config)
        assert row["overrides"] == {"model.depth": 8}
        assert set(row["versions"]) == {"jax", "jaxlib", "flax", "optax", "resnet_jax", "python"}
        assert all(row["versions"].values())
        assert (row["device"], row["devices"]) == ("cpu", 8)
        assert row["data"]["name"] == "digits"
        assert np.isfinite(row["train_loss"])
        assert len(where.row_path("a", seed).read_bytes()) < 5000
    assert rows[0]["state_sha256"] != rows[1]["state_sha256"]
    assert run(job)[1] == [("row", 0), ("row", 1)]  # nothing is done twice


def test_a_failed_run_is_recorded_and_the_next_one_begun(job, monkeypatch):
    errors = {0: NonFiniteError("the loss is nan"), 1: RuntimeError("a bug\nof two lines")}
    monkeypatch.setattr(Programs, "create", lambda run: None)
    monkeypatch.setattr(plan, "make", lambda config, dataset: None)

    def failing(config, *args, **kwargs):
        raise errors[config.seed]

    monkeypatch.setattr(train, "train_and_evaluate", failing)
    rows, events = run(job)
    assert events == [("start", 0), ("row", 0), ("start", 1), ("row", 1)]
    assert [(rows[s]["status"], rows[s]["exit_code"]) for s in (0, 1)] == [
        ("diverged", 5),
        ("failed", 1),
    ]
    assert "a bug" in rows[1]["error"]
    assert "\n" not in rows[1]["error"]
    assert run(job)[1] == [("row", 0), ("start", 1), ("row", 1)]  # what diverged would again


def test_devices_that_do_not_divide_the_batch_fail_every_seed(job):
    job.config.batch_size = 15
    rows, _ = run(job)
    assert [row["exit_code"] for row in rows.values()] == [2, 2]
    assert "batch_size" in rows[0]["error"]


def test_a_run_that_another_process_holds_is_left_to_it(job, monkeypatch):
    lock = Directory.lock
    monkeypatch.setattr(Directory, "lock", lambda self, arm, seed: lock(self, arm, seed, 0))
    where = Directory(job.directory)
    with where.lock("a", 0), where.lock("a", 1):
        rows, events = run(job)
    assert (rows, events) == ({}, [("busy", 0), ("busy", 1)])


def test_an_estimate_follows_the_size_of_networks_until_runs_are_timed(tiny_config):
    arms = (Arm("small", {}), Arm("large", {"model.stage_widths": (8, 16, 16)}))
    sweep = Sweep("s", "Why?", tiny_config, arms, (0, 1))
    guess = estimate.estimate(sweep, [], {"JAX_PLATFORMS": "cpu"})
    assert guess.timed == 0
    ratio = guess.seconds["large"] / guess.seconds["small"]
    assert 3 < ratio < 4  # twice the channels are four times the work, but not in the stem
    row = {"arm": "small", "seed": 0, "status": "done", "seconds": 50.0}
    timed = estimate.estimate(sweep, [row, {**row, "status": "failed"}])
    assert timed.timed == 1
    assert timed.seconds == pytest.approx({"small": 50.0, "large": 50.0 * ratio})
    assert estimate.in_words(3 * 86_400) == "3 days"
    assert timed.total(sweep.runs) == pytest.approx(100 + 100 * ratio + 2 * estimate.START)


def test_multiplications_of_resnet_20_are_counted_by_hand():
    """Stem, 6 convolutions of each stage, one of them from the stage before at half size; head."""
    stem, head = 1024 * 9 * 3 * 16, 64 * 10
    stages = [size * 9 * width**2 for size, width in ((1024, 16), (256, 32), (64, 64))]
    expected = stem + head + 6 * stages[0] + sum(5.5 * stage for stage in stages[1:])
    assert estimate.network(cifar10_resnet.get_config()).multiplications == expected
