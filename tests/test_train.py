import json
import os
import signal

import jax
import numpy as np
import pytest

from configs import cifar10_resnet
from resnet_jax import checkpoint, optimizer, plan, sharding, step, steps, train, writer
from resnet_jax import workdir as files
from resnet_jax.data import source, spec
from resnet_jax.errors import ConfigError, DataError, NonFiniteError, Stopped, WorkdirError
from resnet_jax.programs import Programs


class Killed(BaseException):
    """Raised in the place of a kill; nothing in the code catches it."""


def rows(workdir):
    """The metrics without the column that depends on the clock."""
    kept = writer.read(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in kept]


@pytest.fixture
def stop_after(monkeypatch):
    """Makes the run die right after its checkpoint of the given step."""

    def install(at):
        save = checkpoint.Checkpoints.save

        def save_and_die(self, state, *args):
            save(self, state, *args)
            if int(state.step) == at:
                raise Killed

        monkeypatch.setattr(checkpoint.Checkpoints, "save", save_and_die)

    return install


@pytest.fixture
def long_config(tiny_config):
    """Twelve steps over two epochs of 90 images, with everything in it that draws or averages."""
    tiny_config.data.validation = 1437 - 90
    tiny_config.num_steps = 12
    tiny_config.eval_every = 4
    tiny_config.log_every = 3
    tiny_config.ema_decay = 0.5
    tiny_config.accumulation = 2
    tiny_config.model.branch = "conv norm act drop(0.2) conv norm"
    return tiny_config


@pytest.fixture
def unbroken(long_config, one_device, tmp_path):
    """Result and rows of the run that nothing interrupts."""
    result = train.train_and_evaluate(long_config, tmp_path / "unbroken", one_device)
    return result, rows(tmp_path / "unbroken")


# Epochs end at steps 5.6 and 11.25 (90 images, 16 a step); rows are every 3 steps, validation every 4.
@pytest.mark.parametrize("at", [1, 5, 6, 11])
def test_a_run_that_dies_and_goes_on_ends_in_the_same_bits(
    long_config, one_device, tmp_path, monkeypatch, stop_after, unbroken, at
):
    long_config.checkpoint.every = at
    with monkeypatch.context():
        stop_after(at)
        with pytest.raises(Killed):
            train.train_and_evaluate(long_config, tmp_path / "broken", one_device)
        monkeypatch.undo()
    result = train.train_and_evaluate(long_config, tmp_path / "broken", one_device)
    assert result["state_sha256"] == unbroken[0]["state_sha256"]
    assert result["test_loss"] == unbroken[0]["test_loss"]
    assert rows(tmp_path / "broken") == unbroken[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_the_step_at_hand_and_goes_on_in_the_same_bits(
    long_config, one_device, tmp_path, monkeypatch, unbroken, number
):
    before = signal.getsignal(number)
    take = steps.Steps.__call__
    taken = []

    def take_and_ask(self, *args):
        taken.append(args)
        if len(taken) == 7:
            os.kill(os.getpid(), number)
        return take(self, *args)

    with monkeypatch.context() as inner:
        inner.setattr(steps.Steps, "__call__", take_and_ask)
        with pytest.raises(Stopped, match=rf"{number.name}: step 7 of 12 is saved .*continues"):
            train.train_and_evaluate(long_config, tmp_path / "broken", one_device)
    assert signal.getsignal(number) is before
    result = train.train_and_evaluate(long_config, tmp_path / "broken", one_device)
    assert result["state_sha256"] == unbroken[0]["state_sha256"]
    assert rows(tmp_path / "broken") == unbroken[1]


def test_a_damaged_checkpoint_is_moved_aside_and_an_older_one_taken(
    long_config, one_device, tmp_path, stop_after, monkeypatch, unbroken, capsys
):
    long_config.checkpoint.every = 3
    with monkeypatch.context():
        stop_after(6)
        with pytest.raises(Killed):
            train.train_and_evaluate(long_config, tmp_path / "broken", one_device)
        monkeypatch.undo()
    for file in (tmp_path / "broken/checkpoints/6/state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:10])
    result = train.train_and_evaluate(long_config, tmp_path / "broken", one_device)
    shown = capsys.readouterr().out
    assert "6 could not be read" in shown
    assert "resume    from step 4 of 12" in shown  # the best by validation so far
    assert (tmp_path / "broken/checkpoints-damaged/6").is_dir()
    assert result["state_sha256"] == unbroken[0]["state_sha256"]
    assert rows(tmp_path / "broken") == unbroken[1]


def test_a_run_as_on_accelerators_that_dies_and_goes_on_ends_in_the_same_bits(
    long_config, tmp_path, monkeypatch, stop_after
):
    """Many steps per dispatch, micro-batches and evaluation in loops on the device, two devices."""
    monkeypatch.setattr(sharding, "on_accelerator", lambda mesh: True)
    devices = jax.devices()[:2]
    unbroken = train.train_and_evaluate(long_config, tmp_path / "unbroken", devices)
    long_config.checkpoint.every = 5
    with monkeypatch.context() as inner:
        save = checkpoint.Checkpoints.save

        def save_and_die(self, state, *args):
            save(self, state, *args)
            raise Killed

        inner.setattr(checkpoint.Checkpoints, "save", save_and_die)
        with pytest.raises(Killed):
            train.train_and_evaluate(long_config, tmp_path / "broken", devices)
    result = train.train_and_evaluate(long_config, tmp_path / "broken", devices)
    assert result["state_sha256"] == unbroken["state_sha256"]
    assert rows(tmp_path / "broken") == rows(tmp_path / "unbroken")


def test_other_training_images_in_the_same_place_are_refused(
    tiny_config, one_device, tmp_path, monkeypatch
):
    train.train_and_evaluate(tiny_config, tmp_path, one_device)
    (tmp_path / "result.json").unlink()
    load = source.load

    def swapped(dataset, split, dir):
        examples = load(dataset, split, dir)
        return source.Examples(examples.images[::-1], examples.labels[::-1])

    monkeypatch.setattr(source, "load", swapped)
    with pytest.raises(WorkdirError, match="trained on other images"):
        train.train_and_evaluate(tiny_config, tmp_path, one_device)


def test_what_differs_from_the_process_before_is_said_and_kept(
    tiny_config, one_device, tmp_path, monkeypatch, stop_after, capsys
):
    tiny_config.conv_backend = "xla"
    tiny_config.checkpoint.every = 4
    with monkeypatch.context():
        stop_after(4)
        with pytest.raises(Killed):
            train.train_and_evaluate(tiny_config, tmp_path, one_device)
        monkeypatch.undo()
    train.train_and_evaluate(tiny_config, tmp_path, jax.devices()[:2])
    assert "device_count 1, now 2" in capsys.readouterr().out
    versions = json.loads((tmp_path / "versions.json").read_text())
    assert versions["device_count"] == 2
    assert [start["device_count"] for start in versions["earlier"]] == [1]


def test_a_damaged_test_split_is_found_before_training(
    tiny_config, one_device, tmp_path, monkeypatch
):
    load = source.load

    def damaged(dataset, split, dir):
        if split == "test":
            raise DataError("damaged")
        return load(dataset, split, dir)

    monkeypatch.setattr(source, "load", damaged)
    with pytest.raises(DataError):
        train.train_and_evaluate(tiny_config, tmp_path, one_device)
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_the_real_cifar10_trains_a_step(tmp_path, one_device):
    """ResNet-20 on the original pixels: the first batch's loss is near ln(10), and all test images count."""
    if not os.environ.get("TFDS_DATA_DIR") or not spec_is_there("cifar10"):
        pytest.skip("TFDS_DATA_DIR has no cifar10")
    config = cifar10_resnet.get_config()
    config.num_steps = 1
    result = train.train_and_evaluate(config, tmp_path, one_device)
    assert result["parameters"] == 269_722
    assert result["test_examples"] == 10_000
    assert rows(tmp_path)[0]["loss"] == pytest.approx(np.log(10), abs=0.05)


def spec_is_there(name):
    try:
        source.check(spec.get(name), None)
    except DataError:
        return False
    return True


def test_one_step_more_is_another_state(long_config, one_device, tmp_path, unbroken):
    """The test above would be empty if all states were equal."""
    long_config.num_steps = 13
    result = train.train_and_evaluate(long_config, tmp_path / "longer", one_device)
    assert result["state_sha256"] != unbroken[0]["state_sha256"]


def test_rows_are_one_per_logged_step_with_the_contracts_columns(unbroken):
    assert [(row["step"], row["split"]) for row in unbroken[1]] == [
        (3, "train"),
        (4, "validation"),
        (6, "train"),
        (8, "validation"),
        (9, "train"),
        (12, "train"),
        (12, "validation"),
        (12, "test"),
    ]
    columns = {"step", "epoch", "split", "loss", "accuracy", "learning_rate"}
    assert all(set(row) == columns for row in unbroken[1])
    assert unbroken[1][0]["epoch"] == pytest.approx(3 * 16 / 90)


def test_the_logged_rate_is_that_of_the_last_update(long_config, unbroken):
    schedule = optimizer.schedule(long_config.optimizer, long_config.num_steps)
    for row in unbroken[1]:
        expected = float(schedule(row["step"] - 1))
        assert row["learning_rate"] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_seeds_that_share_programs_compile_once_and_end_in_the_same_bits(
    tiny_config, one_device, tmp_path
):
    programs = Programs.create(plan.make(tiny_config, one_device))
    for seed in (0, 1):
        tiny_config.seed = seed
        alone = train.train_and_evaluate(tiny_config, tmp_path / f"alone{seed}", one_device)
        shared = train.train_and_evaluate(
            tiny_config, tmp_path / f"shared{seed}", programs=programs
        )
        assert shared["seed"] == seed
        assert shared["state_sha256"] == alone["state_sha256"]
        assert files.read_config(tmp_path / f"shared{seed}").seed == seed
    assert programs.steps.program._cache_size() == 1


def test_programs_are_not_shared_with_another_config(tiny_config, one_device, tmp_path):
    programs = Programs.create(plan.make(tiny_config, one_device))
    tiny_config.num_steps = 9
    with pytest.raises(ValueError, match="seeds of one config"):
        train.train_and_evaluate(tiny_config, tmp_path, programs=programs)


def test_whoever_watches_sees_every_step_of_this_process(tiny_config, one_device, tmp_path):
    seen = []
    train.train_and_evaluate(
        tiny_config, tmp_path, one_device, watch=lambda *state: seen.append(state)
    )
    assert seen == [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 120), (8, 77)])
def test_what_is_classified_correctly_is_kept(tiny_config, tmp_path, devices, batch_size):
    tiny_config.eval_batch_size = batch_size
    result = train.train_and_evaluate(tiny_config, tmp_path, jax.devices()[:devices])
    correct = files.read_correct(tmp_path)
    assert (correct.dtype, correct.shape) == (bool, (360,))
    assert correct.mean() == pytest.approx(result["test_accuracy"])


def test_the_workdir_holds_what_the_contract_says(tiny_config, one_device, tmp_path):
    result = train.train_and_evaluate(tiny_config, tmp_path / "run", one_device)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    expected = {"config.json", "versions.json", "metrics.jsonl", "checkpoints", "result.json"}
    assert names == expected | {"test_correct.npy"}
    assert result == json.loads((tmp_path / "run/result.json").read_text())
    assert set(result) >= {
        "test_accuracy",
        "test_loss",
        "test_examples",
        "step",
        "seed",
        "parameters",
        "state_sha256",
        "seconds",
        "images_per_second",
    }
    assert result["test_examples"] == 360
    assert result["step"] == 8


def test_a_finished_run_gives_its_result_again_and_changes_nothing(
    tiny_config, one_device, tmp_path, capsys
):
    first = train.train_and_evaluate(tiny_config, tmp_path, one_device)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert train.train_and_evaluate(tiny_config, tmp_path, one_device) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "has finished" in capsys.readouterr().out


def test_a_run_that_dies_before_its_result_only_evaluates(
    tiny_config, one_device, tmp_path, monkeypatch, stop_after
):
    expected = train.train_and_evaluate(tiny_config, tmp_path / "unbroken", one_device)
    with monkeypatch.context():
        stop_after(8)
        with pytest.raises(Killed):
            train.train_and_evaluate(tiny_config, tmp_path / "broken", one_device)
        monkeypatch.undo()
    result = train.train_and_evaluate(tiny_config, tmp_path / "broken", one_device)
    assert result["state_sha256"] == expected["state_sha256"]
    assert [row["split"] for row in rows(tmp_path / "broken")].count("test") == 1


def test_the_test_images_are_evaluated_once(tiny_config, one_device, tmp_path, monkeypatch):
    loaded = []
    load = source.load

    def record(dataset, split, dir):
        loaded.append(split)
        return load(dataset, split, dir)

    monkeypatch.setattr(source, "load", record)
    tiny_config.data.validation = 37
    tiny_config.eval_every = 2
    train.train_and_evaluate(tiny_config, tmp_path, one_device)
    assert loaded == ["train", "test"]
    assert [row["split"] for row in rows(tmp_path)].count("test") == 1


def test_the_best_by_validation_is_kept_beside_the_last(long_config, one_device, tmp_path):
    train.train_and_evaluate(long_config, tmp_path, one_device)
    scored = {r["step"]: r["accuracy"] for r in rows(tmp_path) if r["split"] == "validation"}
    best = max(scored, key=scored.get)  # the first of equal ones
    kept = checkpoint.Checkpoints(tmp_path, read_only=True)
    assert kept.latest_step() == 12
    assert scored[kept.best_step()] == scored[best]
    kept.close()


def test_eight_devices_train_the_same_run_up_to_rounding(tiny_config, tmp_path):
    tiny_config.optimizer.learning_rate = 0.01  # rounding grows with every step taken
    results = [
        train.train_and_evaluate(tiny_config, tmp_path / str(n), jax.devices()[:n]) for n in (1, 8)
    ]
    assert results[0]["test_loss"] == pytest.approx(results[1]["test_loss"], rel=1e-3)


def test_a_resumed_run_may_have_another_number_of_devices(
    tiny_config, one_device, tmp_path, monkeypatch, stop_after
):
    tiny_config.checkpoint.every = 4
    with monkeypatch.context():
        stop_after(4)
        with pytest.raises(Killed):
            train.train_and_evaluate(tiny_config, tmp_path, one_device)
        monkeypatch.undo()
    assert train.train_and_evaluate(tiny_config, tmp_path, jax.devices())["step"] == 8


def test_training_learns(tiny_config, one_device, tmp_path):
    tiny_config.num_steps = 60
    tiny_config.batch_size = 64
    result = train.train_and_evaluate(tiny_config, tmp_path, one_device)
    assert result["test_accuracy"] > 0.5  # chance is 0.1


def test_a_diverging_run_stops_and_saves_nothing_that_is_not_finite(
    tiny_config, one_device, tmp_path
):
    tiny_config.model.norm = "none"
    tiny_config.optimizer.learning_rate = 1e9
    tiny_config.optimizer.warmup = 0.0
    tiny_config.checkpoint.every = 1
    with pytest.raises(NonFiniteError, match=r"learning_rate \(now 1e\+09\)"):
        train.train_and_evaluate(tiny_config, tmp_path, one_device)
    kept = checkpoint.Checkpoints(tmp_path, read_only=True)
    for at in kept.steps():
        recipe = plan.make(tiny_config, one_device).recipe
        state = step.init_state(recipe, 0, (8, 8, 1))
        restored, _ = kept.restore(state, at)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restored))
    kept.close()
    assert not (tmp_path / "result.json").exists()


def test_another_config_in_a_used_workdir_is_refused(tiny_config, one_device, tmp_path):
    train.train_and_evaluate(tiny_config, tmp_path, one_device)
    tiny_config.optimizer.learning_rate = 0.2
    with pytest.raises(WorkdirError, match=r"learning_rate: 0\.1 there, 0\.2 now"):
        train.train_and_evaluate(tiny_config, tmp_path, one_device)


def test_nothing_is_written_before_the_config_and_the_data_are_right(tiny_config, tmp_path):
    tiny_config.batch_size = 12
    with pytest.raises(ConfigError, match="8 devices do not divide"):
        train.train_and_evaluate(tiny_config, tmp_path / "run")
    tiny_config.batch_size = 16
    tiny_config.data.name = "cifar10"
    tiny_config.data.dir = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match="resnet_jax prepare cifar10"):
        train.train_and_evaluate(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_data_is_prepared_when_the_config_says_so(tiny_config, tmp_path, monkeypatch):
    from resnet_jax.data import prepare

    asked = []
    monkeypatch.setattr(
        prepare, "prepare", lambda dataset, path: asked.append((dataset.name, path))
    )
    tiny_config.data.name = "cifar10"
    tiny_config.data.dir = str(tmp_path / "nowhere")
    tiny_config.data.prepare = True
    with pytest.raises(DataError):  # the stand-in prepared nothing
        train.train_and_evaluate(tiny_config, tmp_path / "run")
    assert asked == [("cifar10", tmp_path / "nowhere")]


def test_event_files_are_written_when_asked_for(tiny_config, one_device, tmp_path):
    tiny_config.tensorboard = True
    train.train_and_evaluate(tiny_config, tmp_path, one_device)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
