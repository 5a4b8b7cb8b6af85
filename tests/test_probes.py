"""What is measured in the units: right, free when off, and the same after a stop."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import plan, probes, step, steps, train
from resnet_jax.data import pipeline
from resnet_jax.metrics import Metrics
from resnet_jax.models import meeting, resnet


class Stopped(BaseException):
    """Raised in the place of a kill; nothing in the code catches it."""


@pytest.fixture
def small(tiny_config):
    """Three units, XLA's convolutions, 6 steps."""
    tiny_config.model.stage_sizes = (1, 1, 1)
    tiny_config.conv_backend = "xla"
    tiny_config.num_steps = 6
    return tiny_config


def measure(config, devices, tiny_dataset, tiny_examples, state=None):
    run = plan.make(config, devices, tiny_dataset)
    recipe = run.recipe
    examples = pipeline.place(tiny_examples, recipe.batches.mesh)
    if state is None:
        state = step.init_state(recipe, 0, tiny_dataset.image_shape)
    measured = jax.device_get(probes.compile_probe(recipe)(state, examples))
    return recipe, state, examples, measured


def test_the_measures_are_what_they_say(small, one_device, tiny_dataset, tiny_examples):
    # Without tokens behind the addition, a unit's output is the sum that the two paths meet in.
    small.model.after = ""
    recipe, state, examples, found = measure(small, one_device, tiny_dataset, tiny_examples)
    assert set(found) == set(probes.MEASURES)
    positions = jnp.arange(small.batch_size, dtype=jnp.uint32)
    images, labels = recipe.batches.train(examples, state.seed, positions)
    seen = []

    def spy(self, shortcut, branch):
        seen.append((shortcut, branch))
        return shortcut, branch

    def loss(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, _ = recipe.model.apply(variables, images, train=True, mutable=["batch_stats"])
        return step.cross_entropy(logits, labels).mean(), list(seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meeting.Meeting, "__call__", spy)
        gradients, met = jax.jit(jax.grad(loss, has_aux=True))(state.params)
    assert len(met) == 3
    for number, paths in enumerate(met):
        x, f = (np.asarray(path, np.float64).ravel() for path in paths)
        leaves = jax.tree.leaves(gradients[f"stage{number + 1}"]["block1"])
        expected = {
            "ratio": np.linalg.norm(f) / np.linalg.norm(x),
            "cosine": x @ f / np.linalg.norm(f) / np.linalg.norm(x),
            "gradient_norm": math.sqrt(sum(np.square(leaf).sum() for leaf in leaves)),
            "mean": (x + f).mean(),
            "variance": (x + f).var(),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][number], value, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "undefined"),
    [
        ({"shortcut": "none"}, {"ratio", "cosine"}),
        ({"branch": "conv norm act conv norm mul(0)"}, {"cosine"}),
    ],
)
def test_what_has_no_value_is_nan_and_the_rest_finite(
    small, one_device, tiny_dataset, tiny_examples, fields, undefined
):
    for field, value in fields.items():
        small.model[field] = value
    found = measure(small, one_device, tiny_dataset, tiny_examples)[-1]
    for name, values in found.items():
        assert (np.isnan(values) if name in undefined else np.isfinite(values)).all(), name
        assert values.shape == (3,)
    assert fields.get("shortcut") or (found["ratio"] == 0).all()


def test_a_frozen_unit_has_no_gradient(small, one_device, tiny_dataset, tiny_examples):
    small.finetune.freeze = ("stages_until=1",)
    recipe, state, examples, found = measure(small, one_device, tiny_dataset, tiny_examples)
    assert np.isnan(found["gradient_norm"]).tolist() == [True, False, False]
    assert np.isfinite(found["mean"]).all()
    small.finetune.freeze = ()
    whole = plan.make(small, one_device, tiny_dataset).recipe
    costs = [_flops(each, state, examples) for each in (recipe, whole)]
    assert costs[0] < 0.8 * costs[1]


def _flops(recipe, state, examples):
    compiled = probes.compile_probe(recipe).lower(state, examples).compile()
    return compiled.cost_analysis()["flops"]


def test_eight_devices_measure_what_one_does(small, one_device, tiny_dataset, tiny_examples):
    small.model.branch = "conv norm act drop(0.2) conv norm"
    one = measure(small, one_device, tiny_dataset, tiny_examples)[-1]
    eight = measure(small, jax.devices(), tiny_dataset, tiny_examples)[-1]
    for name in probes.MEASURES:
        np.testing.assert_allclose(eight[name], one[name], rtol=2e-2, atol=1e-3)


def program(config, tiny_dataset, tiny_examples) -> str:
    """The training step as it is given to XLA."""
    recipe = plan.make(config, jax.devices()[:1], tiny_dataset).recipe
    examples = pipeline.place(tiny_examples, recipe.batches.mesh)
    state = step.state_shapes(recipe, tiny_dataset.image_shape)
    return steps.compile(recipe).program.lower(state, Metrics.empty(), examples).as_text()


def test_the_training_step_is_the_same_program_with_probes_without_and_before_they_existed(
    small, tiny_dataset, tiny_examples, monkeypatch
):
    off = program(small, tiny_dataset, tiny_examples)
    small.probe.every = 2
    assert program(small, tiny_dataset, tiny_examples) == off
    monkeypatch.setattr(meeting.Meeting, "sow", lambda *args: pytest.fail("records"), raising=False)
    monkeypatch.setattr(meeting.Meeting, "__call__", lambda self, x, f: (x, f))
    monkeypatch.setattr(resnet.Stage, "sow", lambda *args: False)
    assert program(small, tiny_dataset, tiny_examples) == off


def rows(workdir):
    return probes.rows(workdir / probes.FILE)


def test_a_run_writes_a_row_every_so_many_steps_and_ends_in_the_same_bits(
    small, one_device, tmp_path
):
    without = train.train_and_evaluate(small, tmp_path / "without", one_device)
    assert not (tmp_path / "without" / probes.FILE).exists()
    small.probe.every = 2
    result = train.train_and_evaluate(small, tmp_path / "with", one_device)
    assert result["state_sha256"] == without["state_sha256"]
    found = rows(tmp_path / "with")
    assert [row["step"] for row in found] == [0, 2, 4]
    assert found[1]["epoch"] == 2 * 16 / 1437
    for row in found:
        assert row["units"] == ["stage1/block1", "stage2/block1", "stage3/block1"]
        assert all(len(row[name]) == 3 for name in probes.MEASURES)


@pytest.mark.parametrize("at", [3, 4])
def test_a_run_that_dies_and_goes_on_has_the_rows_of_an_unbroken_one(
    small, one_device, tmp_path, monkeypatch, at
):
    small.probe.every = 2
    train.train_and_evaluate(small, tmp_path / "unbroken", one_device)
    small.checkpoint.every = at
    taken = probes.Probes.before

    def die_after_the_next_row(self, done, *args):
        taken(self, done, *args)
        if done > at or (done == at and at % 2 == 0):
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(probes.Probes, "before", die_after_the_next_row)
        with pytest.raises(Stopped):
            train.train_and_evaluate(small, tmp_path / "broken", one_device)
    assert rows(tmp_path / "broken")[-1]["step"] == 4
    train.train_and_evaluate(small, tmp_path / "broken", one_device)
    assert rows(tmp_path / "broken") == rows(tmp_path / "unbroken")


def test_rows_are_json_without_nan(small, one_device, tmp_path):
    small.model.shortcut = "none"
    small.num_steps = small.probe.every = 1
    train.train_and_evaluate(small, tmp_path, one_device)
    (line,) = (tmp_path / probes.FILE).read_text().splitlines()
    assert "NaN" not in line
    assert json.loads(line)["ratio"] == [None] * 3


def test_the_probe_drops_out_what_the_step_does(small, one_device, tiny_dataset, tiny_examples):
    small.model.branch = "conv norm act drop(0.5) conv norm"
    recipe, state, examples, found = measure(small, one_device, tiny_dataset, tiny_examples)
    gradients, _, _ = jax.jit(lambda s, e: step._gradients(recipe, s, e))(state, examples)
    leaves = jax.tree.leaves(gradients["stage3"]["block1"])
    norm = math.sqrt(sum(float(jnp.square(leaf).sum()) for leaf in leaves))
    np.testing.assert_allclose(found["gradient_norm"][2], norm, rtol=1e-4)
