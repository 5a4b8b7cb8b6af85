"""A run ends when validation has not improved for a while, with the best of its networks."""

import json

import pytest

from resnet_jax import checkpoint, train, writer
from resnet_jax import config as configs
from resnet_jax.commands.evaluate import evaluate as evaluate_workdir
from resnet_jax.early_stopping import Patience
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import source


@pytest.mark.parametrize(
    ("done", "best", "over"),
    [
        (4, None, False),
        (4, 4, False),
        (8, 4, False),
        (12, 4, True),
        (13, 4, False),
        (16, 12, False),
    ],
)
def test_patience_ends_so_many_evaluations_behind_the_best(done, best, over):
    assert Patience(2, 4).is_over(done, best) == over
    assert not Patience(0, 4).is_over(done, best)


ACCURACIES = {2: 0.2, 4: 0.5, 6: 0.5, 8: 0.4, 10: 0.45, 12: 0.9}


@pytest.fixture
def stopping_config(tiny_config):
    """Evaluates every two of at most 12 steps; checkpoints are due every three."""
    tiny_config.num_steps = 12
    tiny_config.data.validation = 200
    tiny_config.eval_every = 2
    tiny_config.early_stopping = 3
    tiny_config.checkpoint.every = 3
    return tiny_config


@pytest.fixture
def scripted(monkeypatch):
    """Lets validation find the accuracies above, whatever the network does."""
    validate = train._Run._validate

    def found(self, state, at):
        validate(self, state, at)
        return ACCURACIES[at]

    monkeypatch.setattr(train._Run, "_validate", found)


def test_the_best_network_is_kept_and_is_the_result(
    stopping_config, one_device, tmp_path, scripted, capsys
):
    result = train.train_and_evaluate(stopping_config, tmp_path / "run", one_device)
    assert (result["step"], result["steps_taken"]) == (4, 10)  # a tie at 6 is no improvement
    assert (result["chosen"], result["validation_accuracy"]) == ("best by validation", 0.5)
    shown = capsys.readouterr().out
    assert (
        "stopped   at step 10: 3 evaluations in a row were no better than that of step 4" in shown
    )
    assert "step 4 of 10, the best by validation" in shown
    assert source.find(str(tmp_path / "run")).step == 4
    again = evaluate_workdir(tmp_path / "run", "best")
    assert again["accuracy"] == result["test_accuracy"]
    assert again["state_sha256"] == result["state_sha256"]
    rows = writer.read(tmp_path / "run/metrics.jsonl")
    assert [(r["step"], r["split"]) for r in rows if r["split"] == "test"] == [(4, "test")]
    assert json.loads((tmp_path / "run/result.json").read_text()) == result


@pytest.mark.parametrize("at", [6, 9])
def test_a_run_that_dies_and_goes_on_stops_at_the_same_step_with_the_same_bits(
    stopping_config, one_device, tmp_path, scripted, monkeypatch, at
):
    whole = train.train_and_evaluate(stopping_config, tmp_path / "whole", one_device)
    save = checkpoint.Checkpoints.save

    def save_and_die(self, state, *args):
        save(self, state, *args)
        if int(state.step) == at:
            raise KeyboardInterrupt

    with monkeypatch.context() as inner:
        inner.setattr(checkpoint.Checkpoints, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(stopping_config, tmp_path / "broken", one_device)
    result = train.train_and_evaluate(stopping_config, tmp_path / "broken", one_device)
    for name in ("step", "steps_taken", "state_sha256", "test_loss", "validation_accuracy"):
        assert result[name] == whole[name], name


@pytest.mark.parametrize("every", [3, 5])
def test_a_run_that_dies_behind_its_last_step_does_not_go_on_training(
    stopping_config, one_device, tmp_path, scripted, monkeypatch, every
):
    stopping_config.checkpoint.every = every  # of 5, there is a checkpoint where it stops
    with monkeypatch.context() as inner:
        inner.setattr(train._Run, "_finish", _die)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(stopping_config, tmp_path / "run", one_device)
    result = train.train_and_evaluate(stopping_config, tmp_path / "run", one_device)
    assert (result["step"], result["steps_taken"]) == (4, 10)


def _die(self, state):
    raise KeyboardInterrupt


def test_a_run_that_improves_to_the_end_is_not_stopped_and_still_gives_the_best(
    stopping_config, one_device, tmp_path, scripted
):
    stopping_config.early_stopping = 4
    result = train.train_and_evaluate(stopping_config, tmp_path / "run", one_device)
    assert (result["step"], result["steps_taken"], result["validation_accuracy"]) == (12, 12, 0.9)


def test_without_validation_images_it_is_an_error(stopping_config):
    stopping_config.data.validation, stopping_config.eval_every = 0, None
    with pytest.raises(ConfigError, match=r"early_stopping=3 needs validation images"):
        configs.validate(stopping_config)
