import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import sharding
from resnet_jax.data import augment, pipeline
from resnet_jax.data.order import images_at_numpy
from resnet_jax.data.source import Examples


@pytest.fixture
def batches(tiny_dataset):
    return pipeline.Batches.create(tiny_dataset, "crop(1) flip", sharding.make_mesh())


def normalised(images, dataset):
    return (images / 255 - np.asarray(dataset.mean)) / np.asarray(dataset.std)


def test_train_images_without_augmentation_are_those_of_the_order(tiny_dataset, tiny_examples):
    batches = pipeline.Batches.create(tiny_dataset, "", sharding.make_mesh())
    placed = pipeline.place(tiny_examples, batches.mesh)
    positions = np.arange(32, 48)  # crosses the end of the first epoch at 40
    images, labels = jax.jit(batches.train)(placed, jnp.uint32(5), jnp.asarray(positions))
    index = images_at_numpy(5, positions, len(tiny_examples))
    np.testing.assert_array_equal(labels, tiny_examples.labels[index])
    expected = normalised(tiny_examples.images[index], tiny_dataset)
    np.testing.assert_allclose(images, expected, atol=1e-5)


def test_a_batch_is_a_pure_function_of_seed_and_position(batches, tiny_examples):
    placed = pipeline.place(tiny_examples, batches.mesh)
    train = jax.jit(batches.train)
    whole, _ = train(placed, jnp.uint32(0), jnp.arange(0, 32))
    part, _ = train(placed, jnp.uint32(0), jnp.arange(16, 32))
    np.testing.assert_array_equal(part, whole[16:])
    other_seed, _ = train(placed, jnp.uint32(1), jnp.arange(0, 32))
    assert not np.array_equal(other_seed, whole)


def test_an_image_is_augmented_differently_in_the_next_epoch(batches, tiny_examples):
    placed = pipeline.place(tiny_examples, batches.mesh)
    train = jax.jit(batches.train)
    first, _ = train(placed, jnp.uint32(0), jnp.arange(0, 40))
    second, _ = train(placed, jnp.uint32(0), jnp.arange(40, 80))
    order = [np.argsort(images_at_numpy(0, np.arange(40) + 40 * epoch, 40)) for epoch in (0, 1)]
    same = [
        np.array_equal(a, b)
        for a, b in zip(np.asarray(first)[order[0]], np.asarray(second)[order[1]], strict=True)
    ]
    # crop(1) flip has 18 outcomes, so about 40/18 images repeat theirs.
    assert sum(same) < 12


def test_device_count_does_not_change_a_batch(tiny_dataset, tiny_examples):
    results = []
    for count in (1, 2, 8):
        mesh = sharding.make_mesh(jax.devices()[:count])
        batches = pipeline.Batches.create(tiny_dataset, "crop(1) flip cutout(3)", mesh)
        placed = pipeline.place(tiny_examples, mesh)
        results.append(jax.jit(batches.train)(placed, jnp.uint32(0), jnp.arange(16)))
    for images, labels in results[1:]:
        np.testing.assert_array_equal(images, results[0][0])
        np.testing.assert_array_equal(labels, results[0][1])


# Every token, in as few programs as their kinds allow.
TOKENS = [
    "rotate(30) translate shear zoom cutout(3)",
    "jitter erase(1)",
    "randaugment(2, 9)",
    "crop(1) flip mixup(0.2) cutmix(1, 0.5) cutout(2)",
]


def test_the_strings_of_these_tests_have_every_token():
    assert {name for text in TOKENS for name in augment.VOCABULARY if name in text} == set(
        augment.VOCABULARY
    )


@pytest.mark.parametrize("text", TOKENS)
def test_no_token_depends_on_the_batch_or_on_the_devices(tiny_dataset, tiny_examples, text):
    whole = None
    for count in (1, 2, 8):
        mesh = sharding.make_mesh(jax.devices()[:count])
        batches = pipeline.Batches.create(tiny_dataset, text, mesh)
        placed = pipeline.place(tiny_examples, mesh)
        train = jax.jit(batches.train)
        images, labels = train(placed, jnp.uint32(0), jnp.arange(16))
        whole = whole or (np.asarray(images), np.asarray(labels))
        assert np.isfinite(images).all()
        np.testing.assert_array_equal(images, whole[0])
        np.testing.assert_array_equal(labels, whole[1])
        if count < 8:  # two batches are one batch, cut
            for half in (slice(0, 8), slice(8, 16)):
                images, labels = train(placed, jnp.uint32(0), jnp.arange(16)[half])
                np.testing.assert_array_equal(images, whole[0][half])
                np.testing.assert_array_equal(labels, whole[1][half])


@pytest.mark.parametrize("text", TOKENS)
def test_augmentation_sends_no_messages_between_devices(tiny_dataset, tiny_examples, text):
    batches = pipeline.Batches.create(tiny_dataset, text, sharding.make_mesh())
    placed = pipeline.place(tiny_examples, batches.mesh)
    compiled = jax.jit(batches.train).lower(placed, jnp.uint32(0), jnp.arange(16)).compile()
    text = compiled.as_text()
    assert "f32[16,8,8,3]" not in text
    assert "all-gather" not in text
    assert "all-reduce" not in text


def test_each_device_makes_its_own_rows_only(batches, tiny_examples):
    placed = pipeline.place(tiny_examples, batches.mesh)
    compiled = jax.jit(batches.train).lower(placed, jnp.uint32(0), jnp.arange(16)).compile()
    images, _ = compiled(placed, jnp.uint32(0), jnp.arange(16))
    assert images.sharding == sharding.split_batch(batches.mesh)
    # Had every device made the whole batch, a tensor of all 16 images would be in the program.
    text = compiled.as_text()
    assert "f32[2,8,8,3]" in text
    assert "f32[16,8,8,3]" not in text
    assert "all-gather" not in text
    assert "all-reduce" not in text


@pytest.mark.parametrize("size", [1, 7, 24, 100])
def test_evaluation_counts_every_example_once(batches, tiny_dataset, size):
    labels = np.arange(24, dtype=np.int32)
    images = np.zeros((24, 8, 8, 3), np.uint8)
    placed = pipeline.place(Examples(images, labels), batches.mesh)
    size = batches.evaluation_size(size, 24)
    assert size % 8 == 0
    seen = []
    for start in range(0, 24, size):
        x, y, mask = batches.evaluation(placed, jnp.int32(start), size)
        assert x.shape == (size, 8, 8, 3)
        seen += y[mask].tolist()
    assert seen == list(range(24))


def test_evaluation_images_are_not_augmented(batches, tiny_dataset, tiny_examples):
    placed = pipeline.place(tiny_examples, batches.mesh)
    images, _, _ = batches.evaluation(placed, jnp.int32(0), 40)
    np.testing.assert_allclose(images, normalised(tiny_examples.images, tiny_dataset), atol=1e-5)


def test_normalisation_gives_mean_0_and_deviation_1_for_the_sets_own_statistics(
    batches, tiny_dataset
):
    mean = np.asarray(tiny_dataset.mean) * 255
    std = np.asarray(tiny_dataset.std) * 255
    for deviations in (-1, 0, 1):
        value = batches.normalise(jnp.asarray(mean + deviations * std, jnp.float32))
        np.testing.assert_allclose(value, deviations, atol=1e-5)


def test_held_out_images_are_a_fixed_share_and_nothing_is_lost(tiny_examples):
    kept, held_out = pipeline.hold_out(tiny_examples, 10)
    assert (len(kept), len(held_out)) == (30, 10)
    rows = {image.tobytes() for part in (kept, held_out) for image in part.images}
    assert rows == {image.tobytes() for image in tiny_examples.images}
    again = pipeline.hold_out(tiny_examples, 10)[1]
    np.testing.assert_array_equal(held_out.images, again.images)


def test_held_out_images_come_from_all_of_a_sorted_split():
    labels = np.repeat(np.arange(10, dtype=np.int32), 100)
    _, held_out = pipeline.hold_out(Examples(np.zeros((1000, 1, 1, 1), np.uint8), labels), 200)
    counts = np.bincount(held_out.labels, minlength=10)
    assert counts.min() >= 8
    assert counts.max() <= 34


def test_holding_nothing_out_changes_nothing(tiny_examples):
    kept, held_out = pipeline.hold_out(tiny_examples, 0)
    np.testing.assert_array_equal(kept.images, tiny_examples.images)
    assert len(held_out) == 0
