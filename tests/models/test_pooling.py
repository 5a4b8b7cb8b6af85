import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models import pooling


def features(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)


def blurred(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """By its two-dimensional filter, pixel by pixel."""
    row = np.array([math.comb(size - 1, i) for i in range(size)], np.float64)
    kernel = np.outer(row, row) / row.sum() ** 2
    sides = ((size - 1) // 2, size // 2)
    x = np.pad(x.astype(np.float64), ((0, 0), sides, sides, (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.tensordot(windows[:, ::stride, ::stride], kernel, ((4, 5), (0, 1)))


@pytest.mark.parametrize("size", range(2, 8))
@pytest.mark.parametrize(("shape", "stride"), [((7, 8), 2), ((8, 5), 1)])
def test_a_blur_is_a_binomial_filter_with_a_mirrored_border(size, shape, stride):
    x = features(*shape)
    y = pooling.blur(jnp.asarray(x), size, stride)
    assert y.shape == (2, *(-(-n // stride) for n in shape), 3)
    np.testing.assert_allclose(y, blurred(x, size, stride), atol=1e-6)


def test_the_filter_of_three_pixels_is_the_papers():
    # Zhang 2019, arXiv 1904.11486, section 4: Triangle-3.
    impulse = np.zeros((1, 5, 5, 1), np.float32)
    impulse[0, 2, 2, 0] = 16
    expected = np.outer([0, 1, 2, 1, 0], [0, 1, 2, 1, 0])
    np.testing.assert_array_equal(pooling.blur(jnp.asarray(impulse), 3, 1)[0, ..., 0], expected)


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 1)])
def test_a_constant_stays_however_small_the_image(size, shape):
    x = jnp.full((1, *shape, 2), 3.0)
    np.testing.assert_allclose(pooling.blur(x, size, 2), 3.0, rtol=1e-6)


def test_a_blur_hides_what_subsampling_would_alias():
    """A pattern that changes from pixel to pixel: every other pixel sees a constant, the blur its mean 0."""
    x = np.where(np.arange(8) % 2, -1.0, 1.0)[None, :, None, None] * np.ones((1, 8, 8, 1))
    assert (x[:, ::2, ::2] == 1).all()
    np.testing.assert_allclose(pooling.blur(jnp.asarray(x), 3, 2), 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (1, 1)])
def test_the_average_pool_takes_what_there_is(shape):
    x = features(*shape)
    y = pooling.average_pool(jnp.asarray(x), 2)
    assert y.shape == (2, *(-(-n // 2) for n in shape), 3)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            square = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_allclose(y[:, i, j], square.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    "pool", [lambda x: pooling.blur(x, 3, 2), lambda x: pooling.average_pool(x, 2)]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_pools_keep_the_dtype_and_have_gradients(pool, dtype):
    x = jnp.asarray(features(5, 5), dtype)
    with jax.numpy_dtype_promotion("strict"):
        assert jax.eval_shape(pool, x).dtype == dtype
    gradient = jax.grad(lambda x: pool(x).astype(jnp.float32).sum())(x)
    assert np.isfinite(np.asarray(gradient, np.float32)).all()
    # No pixel is passed over, as every other one is by a stride alone.
    assert (np.asarray(gradient, np.float32) > 0).all()


@pytest.mark.parametrize(("text", "size"), [("stride", None), ("blur", 3), ("blur(5)", 5)])
def test_downsampling_is_stride_or_the_size_of_a_blur(text, size):
    assert pooling.downsampling(text) == size
