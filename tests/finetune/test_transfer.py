"""The textbook transfer at tiny widths: with weights, and without."""

from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from resnet_jax import checkpoint, cli, train

CONFIG = str(Path(configs.__file__).parent / "cifar10_resnet50_transfer.py")


@pytest.fixture
def config():
    """The config on digits, with one narrow unit a stage."""
    config = cli.load(CONFIG, "size=32,hidden=6,drop=0.1")
    config.data.name = "digits"
    config.augment = "crop(1)"
    config.num_steps = 2
    config.batch_size = 16
    config.eval_batch_size = 120
    config.model.stage_widths = (4, 4, 4, 8)
    config.model.stage_sizes = (1, 1, 1, 1)
    return config


def same(one, other) -> bool:
    leaves = [jax.tree.leaves(tree) for tree in (one, other)]
    return all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


def test_a_new_head_with_a_hidden_layer_is_trained_on_a_frozen_body(
    config, one_device, tmp_path, capsys
):
    source = config.copy_and_resolve_references()
    source.finetune.reinit = ()
    source.model.head = ""
    source.num_steps = 1
    train.train_and_evaluate(source, tmp_path / "source", one_device)
    config.finetune.init_from = str(tmp_path / "source")
    capsys.readouterr()
    train.train_and_evaluate(config, tmp_path / "run", one_device)
    shown = capsys.readouterr().out
    assert "4 fresh (head, head_hidden1)" in shown
    assert "resized to 32x32" in shown
    assert "random initial values" not in shown
    before = checkpoint.read_variables(tmp_path / "source", 1)
    after = checkpoint.read_variables(tmp_path / "run", 2)
    assert same(before["batch_stats"], after["batch_stats"])
    for part in before["params"].keys() - {"head"}:
        assert same(before["params"][part], after["params"][part]), part
    assert after["params"]["head_hidden1"]["kernel"].shape == (32, 6)


def test_without_weights_it_runs_and_says_what_it_is_worth(config, one_device, tmp_path, capsys):
    result = train.train_and_evaluate(config, tmp_path / "run", one_device)
    assert result["step"] == 2
    shown = capsys.readouterr().out
    assert "random initial values; add --config.finetune.init_from=WORKDIR" in shown
