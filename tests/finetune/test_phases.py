"""Runs one after another, each from the weights of the one before."""

import json
import shutil

import jax
import numpy as np
import pytest

from resnet_jax import checkpoint, config, params, train
from resnet_jax.commands.evaluate import evaluate
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.finetune import phases

HEAD_THEN_ALL = (
    ("head", (("finetune.freeze", ("all_but_head",)), ("num_steps", 4))),
    ("upper", (("finetune.freeze", ("stem", "stage1")), ("num_steps", 3))),
    ("all", (("optimizer.learning_rate", 0.01), ("num_steps", 5))),
)


@pytest.fixture
def phased(tiny_config, one_device, tmp_path):
    """Three phases from the weights of a run of eight steps."""
    train.train_and_evaluate(tiny_config, tmp_path / "first", one_device)
    tiny_config.finetune.init_from = str(tmp_path / "first")
    tiny_config.finetune.reinit = ("head",)
    tiny_config.finetune.phases = HEAD_THEN_ALL
    tiny_config.checkpoint.every = 2
    return tiny_config


def changed(before, after):
    """The modules of parameters that are not the same to the bit."""
    pairs = [
        dict(zip(params.names(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))
        for tree in (before["params"], after["params"])
    ]
    return {n.split("/")[0] for n in pairs[0] if pairs[0][n].tobytes() != pairs[1][n].tobytes()}


def test_each_phase_trains_what_it_says_from_the_weights_of_the_one_before(
    phased, one_device, tmp_path, capsys
):
    workdir = tmp_path / "run"
    result = train.train_and_evaluate(phased, workdir, one_device)
    assert result["step"] == 5
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("phase ")] == [
        f"phase     {n} of 3: {name}" for n, name in ((1, "head"), (2, "upper"), (3, "all"))
    ]
    ends = [
        checkpoint.read_variables(tmp_path / "first", 8),
        checkpoint.read_variables(workdir / "phases/1-head", 4),
        checkpoint.read_variables(workdir / "phases/2-upper", 3),
        checkpoint.read_variables(workdir, 5),
    ]
    assert changed(ends[0], ends[1]) == {"head"}
    assert changed(ends[1], ends[2]) == {"stage2", "stage3", "head"}
    assert changed(ends[2], ends[3]) == {"stem", "stage1", "stage2", "stage3", "head"}
    weights = json.loads((workdir / "parameters.json").read_text())["weights"]
    assert weights["fresh"] == weights["dropped"] == []
    assert evaluate(workdir)["accuracy"] == result["test_accuracy"]
    assert train.train_and_evaluate(phased, workdir, one_device) == result


# Each save of the run is one place to die: 2, 4 | 2, 3 | 2, 4, 5.
@pytest.mark.parametrize("saves", [2, 3, 6])
def test_phases_that_die_and_go_on_end_in_the_same_bits(
    phased, one_device, tmp_path, monkeypatch, saves
):
    whole = train.train_and_evaluate(phased, tmp_path / "whole", one_device)
    save, count = checkpoint.Checkpoints.save, [0]

    def save_and_die(self, *args):
        save(self, *args)
        count[0] += 1
        if count[0] == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as inner:
        inner.setattr(checkpoint.Checkpoints, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(phased, tmp_path / "broken", one_device)
    # Phases refer to each other by their place in the workdir, which may be called otherwise.
    (tmp_path / "broken").rename(tmp_path / "moved")
    result = train.train_and_evaluate(phased, tmp_path / "moved", one_device)
    assert result["state_sha256"] == whole["state_sha256"]


def test_a_workdir_of_phases_is_taken_from_the_start(phased, one_device, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.Checkpoints, "save", _die)
    with pytest.raises(KeyboardInterrupt):
        train.train_and_evaluate(phased, tmp_path / "run", one_device)
    phased.optimizer.learning_rate = 0.3
    phased.finetune.phases = ()
    with pytest.raises(WorkdirError, match="another run"):
        train.train_and_evaluate(phased, tmp_path / "run", one_device)


def _die(self, *args):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((("finetune.freez", ("stem",)),), "did you mean finetune.freeze"),
        ((("seed", 3),), "which all phases share"),
        ((("finetune.init_from", "runs/a"),), "which all phases share"),
        ((("data.name", "cifar10"),), "which all phases share"),
        ((("batch_size", "many"),), "expected a whole number"),
        ((("batch_size", 0),), "batch_size=0: expected a whole number"),
        ((("finetune.freeze", ("stage9",)),), "'stage9' matches no parameter"),
    ],
    ids=str,
)
def test_a_mistake_in_a_late_phase_is_found_before_the_first_begins(
    phased, one_device, tmp_path, fields, words
):
    phased.finetune.phases = (*HEAD_THEN_ALL, ("last", fields))
    with pytest.raises(ConfigError, match=words) as caught:
        train.train_and_evaluate(phased, tmp_path / "run", one_device)
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_a_config_with_phases_survives_json(phased):
    again = config.from_json(config.to_json(phased))
    config.validate(again)
    assert phases.configs(again)[1] == phases.configs(phased)[1]


def test_finished_phases_are_not_needed_any_more(phased, one_device, tmp_path):
    result = train.train_and_evaluate(phased, tmp_path / "run", one_device)
    shutil.rmtree(tmp_path / "run/phases")
    assert train.train_and_evaluate(phased, tmp_path / "run", one_device) == result
