"""The head trained on cached features is the head trained on images."""

import dataclasses

import jax
import numpy as np
import pytest

from resnet_jax import checkpoint, params, plan, step, train
from resnet_jax import config as configs
from resnet_jax.commands.evaluate import evaluate
from resnet_jax.data import pipeline
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import features
from resnet_jax.finetune.features import FeatureBatches


@pytest.fixture
def probe_config(tiny_config):
    """A linear probe with cached features."""
    tiny_config.augment = ""
    tiny_config.finetune.freeze = ("all_but_head",)
    tiny_config.finetune.cache_features = True
    tiny_config.optimizer.warmup = 0.0
    return tiny_config


@pytest.mark.parametrize("augment", ["", "flip"])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_on_features_is_the_step_on_images(probe_config, augment, devices):
    probe_config.augment = augment
    run = plan.make(probe_config, jax.devices()[:devices])
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
    labels = random.integers(0, 10, 50).astype(np.int32)
    examples = pipeline.place(pipeline.Examples(images, labels), run.recipe.batches.mesh)
    state = step.init_state(run.recipe, 0, (8, 8, 1))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    cached = features.compile_cache(run.recipe.model, run.recipe.batches, 16)(variables, examples)
    assert cached.images.shape == (50, 1, 2 if augment else 1, 8)
    fast = dataclasses.replace(run.recipe, batches=FeatureBatches.of(run.recipe.batches))
    ends = []
    for recipe, given in ((run.recipe, examples), (fast, cached)):
        end, one = state, jax.jit(lambda s, e, r=recipe: step.train_step(r, s, e))
        for _ in range(4):
            end, metrics = one(end, given)
        ends.append((end, metrics.means()))
    (slow, slow_means), (quick, quick_means) = ends
    assert quick_means == pytest.approx(slow_means, rel=1e-5)
    for name in ("kernel", "bias"):
        before, a, b = (np.asarray(s.params["head"][name]) for s in (state, slow, quick))
        assert np.abs(a - before).max() > 1e-3
        np.testing.assert_allclose(b, a, atol=1e-5)
    body = [{k: v for k, v in s.params.items() if k != "head"} for s in (slow, quick)]
    jax.tree.map(np.testing.assert_array_equal, *body)
    jax.tree.map(np.testing.assert_array_equal, slow.batch_stats, quick.batch_stats)


def test_a_run_on_features_ends_as_that_on_images_and_is_a_whole_network(
    probe_config, one_device, tmp_path, capsys
):
    train_config = probe_config.copy_and_resolve_references()
    train_config.finetune.freeze, train_config.finetune.cache_features = (), False
    train.train_and_evaluate(train_config, tmp_path / "first", one_device)
    probe_config.finetune.init_from = str(tmp_path / "first")
    probe_config.finetune.reinit = ("head",)
    probe_config.data.validation = 200
    probe_config.num_steps = 60
    probe_config.ema_decay = 0.5
    fast = train.train_and_evaluate(probe_config, tmp_path / "fast", one_device)
    assert "features  1,237 x 1x8 computed once" in capsys.readouterr().out
    probe_config.finetune.cache_features = False
    slow = train.train_and_evaluate(probe_config, tmp_path / "slow", one_device)
    assert fast["test_accuracy"] == pytest.approx(slow["test_accuracy"], abs=0.004)
    assert fast["test_loss"] == pytest.approx(slow["test_loss"], rel=1e-3)
    states = [checkpoint.read_variables(tmp_path / name, 60) for name in ("fast", "slow")]
    assert params.names(states[0]) == params.names(states[1])
    again = evaluate(tmp_path / "fast")
    assert again["accuracy"] == fast["test_accuracy"]
    assert again["state_sha256"] == fast["state_sha256"]
    assert evaluate(tmp_path / "fast", eval_augment="flip")["eval_augment"] == "flip"


def test_a_run_on_features_that_dies_and_goes_on_ends_in_the_same_bits(
    probe_config, one_device, tmp_path, monkeypatch
):
    probe_config.checkpoint.every = 3
    whole = train.train_and_evaluate(probe_config, tmp_path / "whole", one_device)
    save = checkpoint.Checkpoints.save

    def save_and_die(self, *args):
        save(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as inner:
        inner.setattr(checkpoint.Checkpoints, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(probe_config, tmp_path / "broken", one_device)
    result = train.train_and_evaluate(probe_config, tmp_path / "broken", one_device)
    assert result["state_sha256"] == whole["state_sha256"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"augment": "crop(1) flip"}, "augment='crop\\(1\\) flip' asks for more"),
        ({"finetune.frozen_norms": "batch"}, "frozen_norms at 'running'"),
        ({"probe.every": 2}, "probe.every=0"),
        ({"finetune.freeze": ("stem",)}, "stage1/block1/conv1/kernel is not"),
        ({"finetune.freeze": ()}, "is not; write .*all_but_head"),
        ({"model.drop_path": 0.5}, "drops out at random"),
        ({"model.branch": "conv norm act drop(0.1) conv norm"}, "drops out at random"),
    ],
    ids=str,
)
def test_where_features_change_they_are_not_cached_and_nothing_is_written(
    probe_config, one_device, tmp_path, fields, words
):
    probe_config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=words) as caught:
        train.train_and_evaluate(probe_config, tmp_path / "run", one_device)
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_without_cached_features_anything_goes(probe_config):
    probe_config.finetune.cache_features = False
    probe_config.augment = "crop(1)"
    configs.validate(probe_config)
