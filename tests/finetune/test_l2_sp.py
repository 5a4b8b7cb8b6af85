"""Weight decay towards the weights that a run starts from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import checkpoint, plan, step, train
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import l2_sp


@pytest.fixture
def config(tiny_config):
    """A run that would start from weights, with a new head."""
    tiny_config.finetune.init_from = "runs/first"
    tiny_config.finetune.reinit = ("head",)
    tiny_config.finetune.l2_sp = 0.1
    tiny_config.optimizer.weight_decay = 0.01
    tiny_config.optimizer.warmup = 0.0
    return tiny_config


def test_without_a_gradient_loaded_weights_go_back_to_where_they_were_and_new_ones_to_zero(
    config, one_device
):
    config.optimizer.schedule, config.optimizer.learning_rate = "constant", 1.0
    config.optimizer.momentum, config.optimizer.nesterov = 0.0, False
    recipe = plan.make(config, one_device).recipe
    state = step.init_state(recipe, 0, (8, 8, 1))
    zero = jax.tree.map(jnp.zeros_like, state.params)
    moved = jax.tree.map(lambda p: p + 1, state.params)
    updates, _ = recipe.optimizer.update(zero, state.opt_state, moved)
    conv, head = updates["stage1"]["block1"]["conv1"]["kernel"], updates["head"]["kernel"]
    np.testing.assert_allclose(conv, -0.1, rtol=1e-5)
    np.testing.assert_allclose(head, -0.01 * moved["head"]["kernel"], rtol=1e-5)
    assert not np.any(updates["stem"]["norm"]["scale"])  # not of optimizer.decayed
    updates, _ = recipe.optimizer.update(zero, state.opt_state, state.params)
    assert not np.any(updates["stage1"]["block1"]["conv1"]["kernel"])


def test_memory_is_taken_for_loaded_weights_that_are_trained_and_decay_alone(config, one_device):
    config.finetune.freeze = ("stem", "stage1")
    made = plan.make(config, one_device)
    state = step.init_state(made.recipe, 0, (8, 8, 1))
    held = [x for x in jax.tree.leaves(state.opt_state, is_leaf=_is_start) if _is_start(x)]
    assert len(held) == 1
    kernels = [
        leaf
        for stage in ("stage2", "stage3")
        for leaf in jax.tree.leaves(state.params[stage])
        if leaf.ndim == 4
    ]
    assert len(jax.tree.leaves(held[0])) == len(kernels)


def _is_start(x):
    return isinstance(x, l2_sp.Start)


def test_the_reference_point_survives_a_restart_without_the_source(
    config, one_device, tmp_path, monkeypatch
):
    first = config.copy_and_resolve_references()
    first.finetune.init_from, first.finetune.reinit, first.finetune.l2_sp = None, (), 0.0
    train.train_and_evaluate(first, tmp_path / "first", one_device)
    config.finetune.init_from = str(tmp_path / "first")
    config.checkpoint.every = 3
    whole = train.train_and_evaluate(config, tmp_path / "whole", one_device)
    save = checkpoint.Checkpoints.save

    def save_and_die(self, *args):
        save(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as inner:
        inner.setattr(checkpoint.Checkpoints, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(config, tmp_path / "broken", one_device)
    (tmp_path / "first").rename(tmp_path / "gone")
    result = train.train_and_evaluate(config, tmp_path / "broken", one_device)
    assert result["state_sha256"] == whole["state_sha256"]


def test_a_strong_pull_keeps_the_loaded_weights_near(config, one_device, tmp_path):
    first = config.copy_and_resolve_references()
    first.finetune.init_from, first.finetune.reinit, first.finetune.l2_sp = None, (), 0.0
    train.train_and_evaluate(first, tmp_path / "first", one_device)
    start = checkpoint.read_variables(tmp_path / "first", 8)["params"]
    config.finetune.init_from = str(tmp_path / "first")
    distances = []
    for name, pull in (("weak", 1e-6), ("strong", 5.0)):
        config.finetune.l2_sp = pull
        train.train_and_evaluate(config, tmp_path / name, one_device)
        end = checkpoint.read_variables(tmp_path / name, 8)["params"]
        gaps = [
            np.sum(
                (start[s]["block1"]["conv1"]["kernel"] - end[s]["block1"]["conv1"]["kernel"]) ** 2
            )
            for s in ("stage1", "stage2", "stage3")
        ]
        distances.append(sum(gaps))
    assert distances[1] < 0.5 * distances[0]


def test_without_weights_to_start_from_it_is_an_error(config):
    config.finetune.init_from, config.finetune.reinit = None, ()
    with pytest.raises(ConfigError, match=r"l2_sp=0\.1 decays towards loaded weights.*init_from"):
        l2_sp.check(config)
