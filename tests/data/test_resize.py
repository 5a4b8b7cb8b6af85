import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import plan, sharding, train
from resnet_jax.commands.evaluate import evaluate
from resnet_jax.data import pipeline, resize


def test_training_and_evaluation_see_images_of_the_size_behind_augmentation(
    tiny_dataset, tiny_examples
):
    mesh = sharding.make_mesh()
    plain = pipeline.Batches.create(tiny_dataset, "crop(2) flip", mesh)
    large = pipeline.Batches.create(tiny_dataset, "crop(2) flip", mesh, size=12)
    placed = pipeline.place(tiny_examples, mesh)
    seed, positions = jnp.uint32(3), jnp.arange(16)
    small, labels = jax.jit(plain.train)(placed, seed, positions)
    images, same = jax.jit(large.train)(placed, seed, positions)
    assert images.shape == (16, 12, 12, 3)
    np.testing.assert_array_equal(labels, same)
    np.testing.assert_allclose(images, resize.apply(small, 12), atol=1e-5)
    start = jnp.int32(0)
    seen = jax.jit(large.evaluation, static_argnums=2)(placed, start, 16)[0]
    whole = jax.jit(plain.evaluation, static_argnums=2)(placed, start, 16)[0]
    np.testing.assert_allclose(seen, resize.apply(whole, 12), atol=1e-5)


def test_resizing_interpolates_linearly():
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, None, :, None], (1, 8, 8, 1))
    row = np.asarray(resize.apply(ramp, 16))[0, 5, :, 0]
    np.testing.assert_allclose(row[1:-1], (np.arange(16) + 0.5)[1:-1] / 2 - 0.5, atol=1e-6)


@pytest.mark.parametrize("size", [None, 8])
def test_the_own_size_leaves_every_bit(size):
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    assert resize.apply(images, size) is images


def test_a_run_is_evaluated_at_its_size(tiny_config, one_device, tmp_path):
    tiny_config.num_steps = 2
    tiny_config.data.resize = 16
    tiny_config.model.stem = "imagenet"
    assert plan.make(tiny_config, one_device).image_shape == (16, 16, 1)
    result = train.train_and_evaluate(tiny_config, tmp_path / "run", one_device)
    again = evaluate(tmp_path / "run")
    assert again["accuracy"] == pytest.approx(result["test_accuracy"], abs=0.01)
    assert again["state_sha256"] == result["state_sha256"]
