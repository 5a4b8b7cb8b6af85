import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from resnet_jax.data.order import images_at, images_at_numpy

SIZES = (1, 2, 3, 7, 16, 360, 1437, 50_000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_epoch_shows_every_image_once(size, epoch):
    positions = epoch * size + np.arange(size)
    assert sorted(images_at_numpy(3, positions, size)) == list(range(size))


@pytest.mark.parametrize("size", [1, 7, 1437])
def test_jax_and_numpy_compute_the_same_order(size):
    positions = np.concatenate([np.arange(3 * size), 2**31 - 1 - np.arange(5)])
    jitted = jax.jit(images_at, static_argnums=2)(jnp.uint32(11), jnp.asarray(positions), size)
    np.testing.assert_array_equal(jitted, images_at_numpy(11, positions, size))


def test_the_seed_is_data_and_the_largest_seed_works():
    positions = jnp.arange(100)
    orders = jax.jit(jax.vmap(lambda seed: images_at(seed, positions, 100)))(
        jnp.asarray([0, 1, 2**32 - 1], jnp.uint32)
    )
    assert len({tuple(order.tolist()) for order in orders}) == 3
    np.testing.assert_array_equal(orders[2], images_at_numpy(2**32 - 1, np.arange(100), 100))


def test_a_position_does_not_depend_on_the_batch_that_asks():
    whole = images_at_numpy(0, np.arange(3000), 1437)
    np.testing.assert_array_equal(images_at_numpy(0, np.arange(1400, 1500), 1437), whole[1400:1500])


def test_epochs_and_seeds_are_unrelated():
    size = 10_000
    first = images_at_numpy(0, np.arange(size), size)
    for other in (
        images_at_numpy(0, size + np.arange(size), size),
        images_at_numpy(1, np.arange(size), size),
        np.arange(size),
    ):
        # For random orders the correlation is normal with deviation 1/sqrt(size) = 0.01,
        # and the number of fixed points is Poisson with mean 1.
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.04
        assert (first == other).sum() < 8


def test_the_image_at_a_position_is_uniform_over_epochs():
    size, epochs = 50, 20_000
    for place in (0, 1, 49):
        seen = np.bincount(
            images_at_numpy(0, place + size * np.arange(epochs), size), minlength=size
        )
        assert scipy.stats.chisquare(seen).pvalue > 1e-3


def test_neighbours_in_the_stream_are_unrelated():
    size = 50_000
    order = images_at_numpy(0, np.arange(size), size).astype(float)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / np.sqrt(size)
    # Distances between neighbours: for independent places, P(|a - b| < size / 10) = 0.19.
    near = (np.abs(np.diff(order)) < size / 10).mean()
    assert near == pytest.approx(0.19, abs=0.01)


def test_the_order_is_pinned():
    # Another order is another experiment: results of earlier versions could not be repeated.
    assert images_at_numpy(0, np.arange(8), 50_000).tolist() == [
        41337,
        46777,
        45526,
        4670,
        5546,
        49353,
        45435,
        49437,
    ]
