"""Runs that start from weights and train a part of the network."""

import json
import re

import jax
import numpy as np
import pytest

from resnet_jax import checkpoint, params, plan, step, train
from resnet_jax.data import pipeline
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import freeze
from resnet_jax.native import build


@pytest.fixture
def take(tiny_config):
    """A function that sets fields and takes steps on random digits; returns plan, state before, and after."""

    def run(steps=3, devices=1, **fields):
        tiny_config.optimizer.warmup = 0.0
        tiny_config.optimizer.learning_rate = 0.1
        tiny_config.optimizer.weight_decay = 0.01
        tiny_config.optimizer.decayed = (".*",)
        tiny_config.optimizer.clip_norm = 1.0
        tiny_config.update_from_flattened_dict(fields)
        made = plan.make(tiny_config, jax.devices()[:devices])
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
        labels = random.integers(0, 10, 64).astype(np.int32)
        examples = pipeline.place(pipeline.Examples(images, labels), made.recipe.batches.mesh)
        before = step.init_state(made.recipe, 0, (8, 8, 1))
        state, one = before, jax.jit(lambda s: step.train_step(made.recipe, s, examples)[0])
        for _ in range(steps):
            state = one(state)
        return made, before, state

    return run


def changed(before, after):
    """The names of the arrays that are not the same to the bit."""
    pairs = zip(params.names(before), jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return {name for name, a, b in pairs if np.asarray(a).tobytes() != np.asarray(b).tobytes()}


BODY = (("stem", "stage1"), "(stem|stage1)/.*")

CASES = {
    "float32": (*BODY, {}),
    "bfloat16": (("stage2",), "stage2/.*", {"precision": "bfloat16"}),
    "averaged": (("stages_until=2",), "(stem|stage[12])/.*", {"ema_decay": 0.5}),
    "adamw": (*BODY, {"optimizer.name": "adamw", "optimizer.nesterov": False}),
    "adaptive_clip": (("stage[13]",), "stage[13]/.*", {"optimizer.adaptive_clip": 0.01}),
    "l2_sp": (
        ("stem", "stage2/block1/conv1"),
        "(stem|stage2/block1/conv1)/.*",
        {"finetune.init_from": "first", "finetune.reinit": ("head",), "finetune.l2_sp": 0.1},
    ),
    "micro_batches": (("all_but_head",), "(?!head/).*", {"accumulation": 2}),
    "batchnorm_only": (("batchnorm_only",), ".*/kernel|head/bias", {}),
    "preactivation": (*BODY, {"model.design": "full_preact"}),
    "native": (*BODY, {"conv_backend": "native", "model.stage_widths": (16, 16, 16)}),
}
"""What is written as `finetune.freeze`, a pattern of all parameters that it freezes, and other fields."""


def some(tree, chosen):
    """The leaves whose names `chosen` accepts, by name, and their digest."""
    pairs = zip(params.names(tree), jax.tree.leaves(tree), strict=True)
    found = {name: leaf for name, leaf in pairs if chosen(name)}
    return found, checkpoint.sha256(found)


@pytest.mark.parametrize("case", CASES)
def test_frozen_parameters_and_statistics_stay_to_the_bit(take, case):
    patterns, names, fields = CASES[case]
    if case == "native" and isinstance(built := build.library(), build.Unavailable):
        pytest.skip(built.reason)
    _, before, after = take(**{"finetune.freeze": patterns}, **fields)

    def still(name):
        return re.fullmatch(names, name) is not None

    def still_norm(name):
        return still(name.rpartition("/")[0] + "/scale")

    frozen, digest = some(before.params, still)
    assert frozen
    assert some(after.params, still)[1] == digest
    moved = changed(before.params, after.params)
    assert moved == set(params.names(before.params)) - frozen.keys()
    assert some(after.batch_stats, still_norm)[1] == some(before.batch_stats, still_norm)[1]
    statistics = changed(before.batch_stats, after.batch_stats)
    assert statistics == {n for n in params.names(before.batch_stats) if not still_norm(n)}
    held = params.names(after.opt_state) + params.names(after.ema)
    assert not any(name.endswith(f"/{part}") or name == part for name in held for part in frozen)
    evaluated = after.evaluated()
    assert jax.tree.structure(evaluated["params"]) == jax.tree.structure(after.params)


@pytest.mark.parametrize("backend", ["xla", "auto"])
def test_a_frozen_norm_uses_its_running_statistics_and_one_may_say_otherwise(take, backend):
    fields = {"finetune.freeze": ("stem",), "conv_backend": backend}
    fields |= {"model.stage_widths": (16, 16, 16)}
    _, before, after = take(**fields)
    assert not any("stem" in name for name in changed(before.batch_stats, after.batch_stats))
    _, before, after = take(**fields, **{"finetune.frozen_norms": "batch"})
    moved = changed(before.batch_stats, after.batch_stats)
    assert {"stem/norm/mean", "stem/norm/var"} <= moved
    assert not any("stem" in name for name in changed(before.params, after.params))


def test_no_backward_work_is_done_for_a_frozen_prefix(tiny_config, take):
    """By the multiplications that XLA counts in the compiled step."""

    def flops(*patterns):
        made, state, _ = take(0, **{"finetune.freeze": patterns, "conv_backend": "xla"})
        images = np.zeros((64, 8, 8, 1), np.uint8)
        examples = pipeline.Examples(images, np.zeros(64, np.int32))
        examples = pipeline.place(examples, made.recipe.batches.mesh)
        one = jax.jit(lambda s: step.train_step(made.recipe, s, examples)[0])
        return one.lower(state).compile().cost_analysis()["flops"]

    whole, half, head = flops(), flops("stages_until=2"), flops("all_but_head")
    assert head < half < whole
    assert head < 0.5 * whole  # forward alone is a third


def test_weights_are_loaded_and_a_new_head_trained(tiny_config, one_device, tmp_path, capsys):
    train.train_and_evaluate(tiny_config, tmp_path / "first", one_device)
    source = checkpoint.read_variables(tmp_path / "first", 8)
    tiny_config.num_steps = 4
    tiny_config.finetune.init_from = str(tmp_path / "first")
    tiny_config.finetune.reinit = ("head",)
    tiny_config.finetune.freeze = ("all_but_head",)
    result = train.train_and_evaluate(tiny_config, tmp_path / "second", one_device)
    assert result["step"] == 4
    tuned = checkpoint.read_variables(tmp_path / "second", 4)
    for name in ("params", "batch_stats"):
        moved = changed(source[name], tuned[name])
        assert moved == ({"head/kernel", "head/bias"} if name == "params" else set())
    shown = capsys.readouterr().out
    assert "first at step 8" in shown
    assert "2 fresh (head)" in shown
    saved = json.loads((tmp_path / "second/parameters.json").read_text())
    trained = [row["name"] for row in saved["parameters"] if not row["frozen"]]
    assert trained == ["head/bias", "head/kernel"]
    weights = saved["weights"]
    arrays = len(params.names(source))
    assert len(weights["loaded"]) + len(weights["fresh"]) == arrays
    assert len(weights["loaded"]) + len(weights["dropped"]) == arrays


def test_a_fine_tuning_run_goes_on_without_its_source(
    tiny_config, one_device, tmp_path, monkeypatch
):
    train.train_and_evaluate(tiny_config, tmp_path / "first", one_device)
    tiny_config.finetune.init_from = str(tmp_path / "first")
    tiny_config.checkpoint.every = 3
    whole = train.train_and_evaluate(tiny_config, tmp_path / "whole", one_device)
    save = checkpoint.Checkpoints.save

    def save_and_die(self, *args):
        save(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as inner:
        inner.setattr(checkpoint.Checkpoints, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(tiny_config, tmp_path / "broken", one_device)
    (tmp_path / "first").rename(tmp_path / "gone")
    result = train.train_and_evaluate(tiny_config, tmp_path / "broken", one_device)
    assert result["state_sha256"] == whole["state_sha256"]


@pytest.mark.parametrize(
    ("path", "words"),
    [("nowhere", "does not exist.*file of PyTorch"), (".", "no workdir")],
)
def test_what_is_no_workdir_is_an_error_and_nothing_is_written(
    tiny_config, one_device, tmp_path, monkeypatch, path, words
):
    monkeypatch.chdir(tmp_path)
    tiny_config.finetune.init_from = path
    with pytest.raises(ConfigError, match=words):
        train.train_and_evaluate(tiny_config, tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


def test_a_frozen_run_may_be_split_over_devices(take):
    results = [take(2, devices, **{"finetune.freeze": ("stem",)})[2].params for devices in (1, 2)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *results)


def test_a_frozen_tree_is_put_together_again(tiny_config):
    made = plan.make(tiny_config, jax.devices()[:1])
    variables = step.init_variables(made.recipe.model, 0, (8, 8, 1))
    frozen = freeze.resolve(variables["params"], variables["batch_stats"], ("stage[12]",))
    chosen, others = params.split(variables["params"], frozen.params)
    assert params.count(chosen) + params.count(others) == params.count(variables["params"])
    merged = params.merge(others, chosen)
    assert jax.tree.structure(merged) == jax.tree.structure(variables["params"])
