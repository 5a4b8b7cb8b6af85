import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models import initializers

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("draw", "shape", "deviation"),
    [
        # sqrt(2 / (9 * 64)): the fan-out, 9 * 64, and not the fan-in, 9 * 32.
        (initializers.he_normal, (3, 3, 32, 64), 0.05893),
        # Eight groups leave 4 inputs a filter; the published ResNeXt keeps the fan-out of the whole.
        (initializers.he_normal, (3, 3, 4, 256), np.sqrt(2 / (9 * 256))),
        (initializers.he_normal, (1, 1, 64, 256), np.sqrt(2 / 256)),
        (initializers.lecun_normal, (100, 200), 0.1),
        (initializers.head_normal, (64, 300), 0.01),
    ],
)
def test_values_are_normal_with_the_deviation_of_the_papers(draw, shape, deviation):
    values = np.asarray(draw(KEY, shape)).ravel() / deviation
    n = values.size
    # Within five standard errors of the mean, the deviation and the share beyond two deviations.
    assert abs(values.mean()) < 5 / np.sqrt(n)
    assert abs(values.std() - 1) < 5 / np.sqrt(2 * n)
    beyond = 0.0455
    assert abs((abs(values) > 2).mean() - beyond) < 5 * np.sqrt(beyond * (1 - beyond) / n)


def test_the_normal_is_not_truncated():
    values = np.asarray(initializers.he_normal(KEY, (3, 3, 64, 64))) / np.sqrt(2 / (9 * 64))
    assert abs(values).max() > 3.5  # 17 of 36,864 are expected beyond; truncation would be at 2


DRAWS = [initializers.he_normal, initializers.lecun_normal, initializers.head_normal]


@pytest.mark.parametrize("draw", DRAWS)
def test_values_depend_on_the_key_alone(draw):
    shape = (3, 3, 4, 8)
    np.testing.assert_array_equal(draw(KEY, shape), draw(jax.random.key(0), shape))
    assert (draw(KEY, shape) != draw(jax.random.key(1), shape)).all()


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_have_the_dtype_asked_for(draw, dtype):
    assert draw(KEY, (1, 1, 4, 8), dtype).dtype == dtype
    assert draw(KEY, (1, 1, 4, 8)).dtype == jnp.float32
