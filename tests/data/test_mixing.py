import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from resnet_jax import rng, sharding
from resnet_jax.data import mixing, pipeline
from resnet_jax.data.order import images_at_numpy

POSITIONS = jnp.arange(200)


def train(dataset, examples, augment, positions=POSITIONS, devices=1, seed=0):
    """Images as 0..1 colours [B, H, W, C], and targets [B, classes]."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    batches = pipeline.Batches.create(dataset, augment, mesh)
    placed = pipeline.place(examples, mesh)
    images, targets = jax.jit(batches.train)(placed, jnp.uint32(seed), positions)
    colours = np.asarray(images) * np.asarray(dataset.std) + np.asarray(dataset.mean)
    return colours, np.asarray(targets)


@pytest.fixture
def own(tiny_examples):
    """The images and labels that the stream shows at the positions."""
    index = images_at_numpy(0, np.asarray(POSITIONS), len(tiny_examples))
    return tiny_examples.images[index] / 255, tiny_examples.labels[index]


def test_mixup_is_the_mean_of_two_images_of_the_set_with_the_weights_of_their_labels(
    tiny_dataset, tiny_examples, own
):
    images, targets = train(tiny_dataset, tiny_examples, "mixup(1)")
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    everything = tiny_examples.images.reshape(40, -1) / 255
    partners = set()
    for image, target, first, label in zip(images, targets, *own, strict=True):
        # image = first + (1 - share) * (other - first): try every other image of the set.
        moved, towards = (image - first).ravel(), everything - first.ravel()
        length = np.square(towards).sum(1)
        rest = np.where(length > 0, towards @ moved / np.maximum(length, 1e-9), 0)
        error = np.abs(rest[:, None] * towards - moved).max(1)
        partner = int(error.argmin())
        assert error[partner] < 1e-4
        partners.add(partner)
        expected = np.zeros(4)
        expected[label] += 1 - rest[partner]
        expected[tiny_examples.labels[partner]] += rest[partner]
        np.testing.assert_allclose(target, expected, atol=1e-3)
    assert len(partners) > 30


def test_cutmix_puts_one_rectangle_of_another_image_in_and_its_share_into_the_label(
    tiny_dataset, tiny_examples, own
):
    images, targets = train(tiny_dataset, tiny_examples, "cutmix(1)")
    everything = tiny_examples.images / 255
    found = []
    for image, target, first, label in zip(images, targets, *own, strict=True):
        changed = np.abs(image - first).max(-1) > 1e-3
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed.sum() == len(rows) * len(columns)
        share = 1 - changed.mean()
        if changed.any():
            errors = np.abs(everything - image).max(-1)[:, changed].max(1)
            partner = int(errors.argmin())
            assert errors[partner] < 1e-4
            expected = np.zeros(4)
            expected[label] += share
            expected[tiny_examples.labels[partner]] += 1 - share
            np.testing.assert_allclose(target, expected, atol=1e-5)
        found.append(share)
    assert np.ptp(found) > 0.7


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_are_the_quantiles_of_beta(alpha):
    uniform = jax.random.uniform(jax.random.key(0), (4000,))
    errors = np.abs(mixing._beta(uniform, alpha) - scipy.stats.beta.ppf(uniform, alpha, alpha))
    assert errors.mean() < 1e-4
    assert errors.max() < 0.05  # beyond the first and the last of 4096 quantiles


def test_the_share_that_cutmix_keeps_is_about_what_was_drawn():
    shares = jnp.linspace(0, 1, 101)
    centre = jnp.full((101, 2), 0.5)  # the box then lies inside
    keep, found = mixing._outside_boxes((32, 32), shares, centre)
    np.testing.assert_allclose(found, shares, atol=0.07)
    np.testing.assert_allclose(np.asarray(keep)[..., 0].mean((1, 2)), found, atol=1e-6)


def test_each_image_draws_one_of_the_tokens(tiny_dataset, tiny_examples, own):
    both, _ = train(tiny_dataset, tiny_examples, "mixup(1) cutmix(1)")
    kept = np.isclose(both, own[0], atol=1e-3).all(-1)
    whole = kept.mean((1, 2))
    blended = (whole < 0.05).sum()  # mixup changes nearly every pixel, cutmix a part of them
    assert 60 < blended < 140


def test_images_are_mixed_with_the_probability_that_is_written(tiny_dataset, tiny_examples, own):
    images, targets = train(tiny_dataset, tiny_examples, "mixup(1, 0.5)")
    same = np.isclose(images, own[0], atol=1e-4).all((1, 2, 3))
    assert 60 < same.sum() < 140
    np.testing.assert_array_equal(targets[same], np.eye(4)[own[1][same]])


def test_nobody_is_mixed_at_probability_0(tiny_dataset, tiny_examples, own):
    images, targets = train(tiny_dataset, tiny_examples, "cutmix(1, 0)")
    np.testing.assert_allclose(images, own[0], atol=1e-5)
    np.testing.assert_array_equal(targets, np.eye(4)[own[1]])


def test_a_partner_is_augmented_by_draws_of_its_own(tiny_dataset, tiny_examples):
    """Over one repeated image, a mixture of flips shows that both are drawn."""
    one = tiny_examples.__class__(
        np.repeat(tiny_examples.images[:1], 40, 0), np.zeros(40, np.int32)
    )
    images, _ = train(tiny_dataset, one, "flip mixup(1)")
    image = one.images[0] / 255
    pure = [np.isclose(images, each, atol=1e-3).all((1, 2, 3)) for each in (image, image[:, ::-1])]
    assert 60 < (~(pure[0] | pure[1])).sum() < 140  # half of the pairs differ


def test_tokens_behind_a_mixture_see_the_mixture(tiny_dataset, tiny_examples):
    mixed, _ = train(tiny_dataset, tiny_examples, "mixup(1)")
    cut, _ = train(tiny_dataset, tiny_examples, "mixup(1) cutout(4)")
    hidden = np.isclose(cut, np.asarray(tiny_dataset.mean), atol=1e-4).all(-1)
    np.testing.assert_allclose(cut[~hidden], mixed[~hidden], atol=1e-5)
    assert 0.05 < hidden.mean() < 0.3


def test_a_mixture_is_a_pure_function_of_seed_and_position(tiny_dataset, tiny_examples):
    text = "flip mixup(0.2) cutmix(1)"
    images, targets = train(tiny_dataset, tiny_examples, text, jnp.arange(48))
    for first, last in ((0, 8), (8, 48), (40, 48)):
        part = train(tiny_dataset, tiny_examples, text, jnp.arange(first, last))
        np.testing.assert_array_equal(part[0], images[first:last])
        np.testing.assert_array_equal(part[1], targets[first:last])
    other = train(tiny_dataset, tiny_examples, text, jnp.arange(48), seed=1)
    assert not np.array_equal(other[1], targets)


def test_partners_differ_from_epoch_to_epoch(tiny_examples):
    keys = [
        rng.keys_at(jnp.uint32(0), rng.Stream.AUGMENT, jnp.arange(40) + 40 * epoch)
        for epoch in (0, 1)
    ]
    first, second = (np.asarray(mixing.partners(each, 40)[0]) for each in keys)
    assert (first == second).mean() < 0.2
    assert len(set(first)) > 15
