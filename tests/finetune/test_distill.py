"""Knowledge distillation: a run learns from the outputs of another run's network."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from resnet_jax import checkpoint, params, plan, sharding, step, train, versions, writer
from resnet_jax.ablation import cost
from resnet_jax.commands.evaluate import evaluate
from resnet_jax.data import pipeline, spec
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.finetune import distill
from resnet_jax.finetune.teacher import TaughtExamples, Teacher, divergence
from resnet_jax.programs import Programs


@pytest.fixture
def taught_config(tiny_config, one_device, tmp_path):
    """Eight steps with a larger network of eight steps as teacher."""
    first = tiny_config.copy_and_resolve_references()
    first.model.stage_widths = (8, 8, 16)
    train.train_and_evaluate(first, tmp_path / "teacher", one_device)
    tiny_config.finetune.teacher = str(tmp_path / "teacher")
    tiny_config.checkpoint.every = 3
    return tiny_config


def test_networks_that_agree_have_no_divergence_and_others_that_of_kullback_and_leibler():
    random = np.random.default_rng(0)
    teacher, student = (random.normal(0, 3, (6, 5)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(divergence(teacher, teacher, 3.0), 0, atol=1e-5)
    p, q = (np.exp(x / 2) / np.exp(x / 2).sum(1, keepdims=True) for x in (teacher, student))
    expected = 4 * (p * np.log(p / q)).sum(1)
    np.testing.assert_allclose(divergence(teacher, student, 2.0), expected, rtol=1e-4)
    shifted = divergence(teacher + 7, student - 2, 2.0)
    np.testing.assert_allclose(shifted, expected, rtol=1e-3)


def test_at_a_high_temperature_it_matches_logits():
    """Hinton et al. 2015, section 2.1: the gradient is then (z - v) / N for logits of mean 0."""
    random = np.random.default_rng(0)
    teacher, student = (random.normal(0, 1, (1, 8)).astype(np.float32) for _ in range(2))
    teacher, student = teacher - teacher.mean(), student - student.mean()
    gradient = jax.grad(lambda z: divergence(teacher, z, 100.0).sum())(student)
    np.testing.assert_allclose(gradient, (student - teacher) / 8, rtol=0.05, atol=5e-3)


class _Colours(nn.Module):
    """Its logits are the colours that it sees in the middle of an image."""

    @nn.compact
    def __call__(self, images, *, train):
        assert not train
        return images[:, 4, 4]


def test_the_teacher_sees_images_normalised_as_it_expects(tiny_dataset, tiny_examples):
    mesh = sharding.make_mesh(jax.devices()[:1])
    means, deviations = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    pairs = list(zip(tiny_dataset.mean, tiny_dataset.std, means, deviations, strict=True))
    teacher = Teacher(None, 0, _Colours(), *distill.between(pairs), temperature=1.0, weight=1.0)
    ours = pipeline.Batches.create(tiny_dataset, "", mesh).normalise(tiny_examples.images)
    theirs = (tiny_examples.images / 255 - np.array(means)) / np.array(deviations)
    placed = pipeline.place(tiny_examples, mesh)
    examples = TaughtExamples.of(placed, {}, mesh)
    losses = teacher.losses(
        jnp.zeros(40), jnp.asarray(theirs[:, 4, 4], jnp.float32), examples, ours
    )
    np.testing.assert_allclose(losses, 0, atol=1e-4)


def test_the_student_comes_near_to_its_teacher_and_nothing_of_it_is_saved(
    taught_config, one_device, tmp_path
):
    taught_config.finetune.teacher_weight = 1.0
    taught_config.num_steps, taught_config.log_every = 60, 10
    result = train.train_and_evaluate(taught_config, tmp_path / "student", one_device)
    rows = writer.read(tmp_path / "student/metrics.jsonl")
    losses = [row["loss"] for row in rows if row["split"] == "train"]
    assert losses[-1] < 0.6 * losses[0]
    alone = taught_config.copy_and_resolve_references()
    alone.finetune.teacher = None
    shapes = step.state_shapes(plan.make(alone, one_device).recipe, (8, 8, 1))
    state = checkpoint.read(tmp_path / "student", shapes, "latest")
    assert params.count(state.params) == result["parameters"]
    (tmp_path / "teacher").rename(tmp_path / "gone")
    assert evaluate(tmp_path / "student")["accuracy"] == result["test_accuracy"]
    assert train.train_and_evaluate(taught_config, tmp_path / "student", one_device) == result


def test_a_step_costs_the_forward_pass_of_the_teacher_too(taught_config):
    taught = cost.measure(taught_config, spec.of(taught_config.data))
    taught_config.finetune.teacher = None
    alone = cost.measure(taught_config, spec.of(taught_config.data))
    assert taught["step_flops"] > 1.3 * alone["step_flops"]
    assert taught["optimizer_bytes"] == alone["optimizer_bytes"]


def test_devices_and_recomputation_do_not_change_what_is_learnt(taught_config):
    ends = []
    for devices, fields in ((1, {}), (2, {}), (1, {"model.remat": True})):
        taught_config.update_from_flattened_dict(fields)
        run = Programs.create(plan.make(taught_config, jax.devices()[:devices])).plan
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
        labels = random.integers(0, 10, 64).astype(np.int32)
        mesh = run.recipe.batches.mesh
        examples = pipeline.place(pipeline.Examples(images, labels), mesh)
        examples = TaughtExamples.of(examples, distill.read(run.recipe.teacher), mesh)
        state = step.init_state(run.recipe, 0, (8, 8, 1))
        one = jax.jit(lambda s, e, r=run.recipe: step.train_step(r, s, e))
        state, metrics = one(state, examples)
        ends.append((metrics.means()["loss"], state.params["head"]["kernel"]))
    for loss, kernel in ends[1:]:
        assert loss == pytest.approx(ends[0][0], rel=1e-4)
        np.testing.assert_allclose(kernel, ends[0][1], atol=1e-4)


def _die_after_a_save(monkeypatch):
    save = checkpoint.Checkpoints.save

    def save_and_die(self, *args):
        save(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoints, "save", save_and_die)


def test_a_taught_run_goes_on_in_the_same_bits_with_its_teacher_and_with_no_other(
    taught_config, one_device, tmp_path, monkeypatch
):
    whole = train.train_and_evaluate(taught_config, tmp_path / "whole", one_device)
    with monkeypatch.context() as inner:
        _die_after_a_save(inner)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(taught_config, tmp_path / "broken", one_device)
    stored = json.loads((tmp_path / "broken/versions.json").read_text())["teacher"]
    assert stored["step"] == 8
    (tmp_path / "teacher").rename(tmp_path / "right")
    other = taught_config.copy_and_resolve_references()
    other.finetune.teacher, other.seed, other.checkpoint.every = None, 5, 100
    train.train_and_evaluate(other, tmp_path / "teacher", one_device)
    with pytest.raises(WorkdirError, match="began with another teacher"):
        train.train_and_evaluate(taught_config, tmp_path / "broken", one_device)
    (tmp_path / "teacher").rename(tmp_path / "wrong")
    (tmp_path / "right").rename(tmp_path / "teacher")
    result = train.train_and_evaluate(taught_config, tmp_path / "broken", one_device)
    assert result["state_sha256"] == whole["state_sha256"]


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({"classes": tuple("abc")}, "knows images of 3 classes, .*has 10"),
        ({"image_shape": (16, 16, 1)}, "knows images of \\(16, 16, 1\\) height"),
    ],
)
def test_a_teacher_of_other_classes_or_images_is_an_error_and_nothing_is_written(
    taught_config, one_device, tmp_path, monkeypatch, dataset, words
):
    stored = versions.dataset

    def other(workdir, config):
        return _replaced(stored(workdir, config), dataset)

    monkeypatch.setattr(versions, "dataset", other)
    with pytest.raises(ConfigError, match=words) as caught:
        train.train_and_evaluate(taught_config, tmp_path / "run", one_device)
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_images_resized_otherwise_is_an_error(taught_config, one_device, tmp_path):
    taught_config.data.resize = 16
    with pytest.raises(ConfigError, match=r"knows images of \(8, 8, 1\) height.*has \(16, 16, 1\)"):
        train.train_and_evaluate(taught_config, tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


def _replaced(dataset: spec.Dataset, fields: dict) -> spec.Dataset:
    return dataclasses.replace(dataset, **fields)


def test_a_teacher_that_is_not_there_is_an_error_and_nothing_is_written(
    taught_config, one_device, tmp_path
):
    taught_config.finetune.teacher = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"finetune\.teacher=.*does not exist"):
        train.train_and_evaluate(taught_config, tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()
