import argparse
import json
import shutil

import pytest

from resnet_jax import atomic, writer
from resnet_jax import workdir as files
from resnet_jax.commands import evaluate as command
from resnet_jax.errors import ConfigError, DataError, NonFiniteError, WorkdirError
from resnet_jax.metrics import Metrics


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def result(trained):
    return files.read_result(trained)


def test_agrees_with_the_result_of_the_run_exactly(trained, result):
    found = command.evaluate(trained)
    assert found == {
        "accuracy": result["test_accuracy"],
        "loss": result["test_loss"],
        "examples": result["test_examples"],
        "step": result["step"],
        "parameters": result["parameters"],
        "state_sha256": result["state_sha256"],
        "eval_augment": "",
    }


def test_json_is_one_object_and_all_that_is_printed(trained, result, capfd):
    assert run(trained, "--json") == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    assert set(found) == {
        "accuracy",
        "loss",
        "examples",
        "step",
        "parameters",
        "state_sha256",
        "eval_augment",
    }
    assert found["state_sha256"] == result["state_sha256"]


def test_people_read_percentage_and_count(trained, result, capfd):
    assert run(trained) == 0
    right = round(result["test_accuracy"] * 360)
    assert capfd.readouterr().out == (
        f"{trained} at step 6: accuracy {right / 360:.2%} ({right} of 360), "
        f"loss {result['test_loss']:.4f}\n"
    )


def test_every_example_counts_once_whatever_the_batch_size(trained, result):
    for batch_size in (1000, 77):
        found = command.evaluate(trained, batch_size=batch_size)
        assert found["examples"] == 360
        assert found["accuracy"] == result["test_accuracy"]
        assert found["loss"] == pytest.approx(result["test_loss"], rel=1e-5)


def test_views_are_named_in_the_result_and_every_example_still_counts_once(trained, result, capfd):
    found = command.evaluate(trained, eval_augment="flip crops(5, 1)")
    assert (found["eval_augment"], found["examples"]) == ("flip crops(5, 1)", 360)
    assert found["loss"] != result["test_loss"]
    assert run(trained, "--eval-augment", "flip") == 0
    assert "over views 'flip' (" in capfd.readouterr().out


def test_another_split_can_be_named(trained):
    assert command.evaluate(trained, split="train")["examples"] == 1437 - 37


def test_the_validation_row_can_be_repeated(trained):
    row = next(
        r for r in writer.read(trained / "metrics.jsonl")[::-1] if r["split"] == "validation"
    )
    found = command.evaluate(trained, split="validation", step=str(row["step"]))
    assert found["examples"] == 37
    assert found["accuracy"] == row["accuracy"]
    assert found["loss"] == pytest.approx(row["loss"], rel=1e-5)


def test_a_loss_that_is_not_finite_is_an_error(trained, monkeypatch):
    means = Metrics.means
    monkeypatch.setattr(Metrics, "means", lambda self: means(self) | {"loss": float("nan")})
    with pytest.raises(NonFiniteError, match="at step 6 is nan"):
        command.evaluate(trained)


def test_the_best_step_by_validation_and_a_step_by_number_can_be_named(trained):
    saved = sorted(int(path.name) for path in (trained / "checkpoints").iterdir())
    best = command.evaluate(trained, step="best")
    by_number = command.evaluate(trained, step=str(best["step"]))
    assert best == by_number
    assert best["step"] in saved
    assert command.evaluate(trained, step="6")["step"] == saved[-1] == 6


def test_evaluating_changes_nothing_in_the_workdir(trained, contents):
    before = contents(trained)
    command.evaluate(trained)
    with pytest.raises(WorkdirError):
        command.evaluate(trained, step="5")
    assert contents(trained) == before


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (["--split", "tset"], ConfigError, "there are train, test"),
        (["--step", "first"], ConfigError, "latest, best or a number"),
        (["--step", "-1"], ConfigError, "latest, best or a number"),
        (["--batch-size", "0"], ConfigError, "at least 1"),
        (["--eval-augment", "flop"], ConfigError, "--eval-augment: 'flop' is no token"),
        (["--eval-augment", "crops(5, 8)"], ConfigError, "8x8"),
        (["--step", "5"], WorkdirError, "the steps saved are: "),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(trained, arguments, error, named):
    with pytest.raises(error, match=named) as caught:
        run(trained, *arguments)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(WorkdirError, match=r"no config\.json"):
            command.evaluate(path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_checkpoint_is_refused(tiny_config, tmp_path):
    files.claim(tmp_path, tiny_config)
    with pytest.raises(WorkdirError, match="no checkpoint yet"):
        command.evaluate(tmp_path)


def test_a_config_that_the_code_cannot_run_is_the_workdirs_fault(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    stored = json.loads((trained / files.CONFIG).read_text())
    stored["model"]["design"] = "of_the_future"
    atomic.write_json(tmp_path / "run" / files.CONFIG, stored)
    with pytest.raises(WorkdirError, match="of_the_future"):
        command.evaluate(tmp_path / "run")


def test_a_damaged_checkpoint_is_refused_in_two_lines(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WorkdirError) as caught:
        command.evaluate(tmp_path / "run")
    assert len(str(caught.value).splitlines()) <= 2


def test_missing_data_is_a_data_error(trained, tmp_path, monkeypatch):
    def missing(dataset, where):
        raise DataError(f"no data in {where}")

    monkeypatch.setattr("resnet_jax.data.source.check", missing)
    with pytest.raises(DataError, match="no data in /elsewhere"):
        run(trained, "--data-dir", "/elsewhere")
