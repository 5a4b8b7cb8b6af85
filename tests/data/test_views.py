import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.data import views
from resnet_jax.errors import ConfigError

SHAPE = (6, 5, 3)
IMAGES = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    result = np.zeros_like(image)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            if 0 <= row - down < image.shape[0] and 0 <= column - right < image.shape[1]:
                result[row, column] = image[row - down, column - right]
    return result


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 1), ("flip", 2), ("crops", 5), ("crops(9, 1)", 9), ("flip crops(5)", 10)],
)
def test_the_first_view_is_the_image_and_all_of_an_image_are_neighbours(text, count):
    parsed = views.parse(text, SHAPE)
    assert (len(parsed), parsed.text) == (count, text)
    seen = np.asarray(parsed.of(jnp.asarray(IMAGES))).reshape(4, count, *SHAPE)
    np.testing.assert_array_equal(seen[:, 0], IMAGES)
    assert len({view.tobytes() for view in seen[0]}) == count


def test_crops_are_shifts_to_the_corners_and_sides_filled_with_the_mean():
    parsed = views.parse("crops(9, 2)", SHAPE)
    seen = np.asarray(parsed.of(jnp.asarray(IMAGES))).reshape(4, 9, *SHAPE)
    expected = {(down, right) for down in (-2, 0, 2) for right in (-2, 0, 2)}
    found = {
        pair
        for view in seen[1]
        for pair in expected
        if np.array_equal(view, shifted(IMAGES[1], *pair))
    }
    assert found == expected
    corners = views.parse("crops(5, 2)", SHAPE).shifts
    assert set(corners) == {(0, 0), *(pair for pair in expected if 0 not in pair)}


def test_merging_is_the_mean_of_probabilities():
    parsed = views.parse("flip crops(5)", SHAPE)
    logits = np.random.default_rng(1).normal(size=(4 * 10, 7)).astype(np.float32) * 5
    each = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.log(each.reshape(4, 10, 7).mean(1))
    np.testing.assert_allclose(parsed.merge(jnp.asarray(logits)), expected, rtol=1e-4, atol=1e-6)


def test_without_views_nothing_is_computed():
    logits = jnp.asarray(IMAGES[:, 0, 0])
    assert views.parse("", SHAPE).merge(logits) is logits


@pytest.mark.parametrize(
    ("text", "words"),
    [("flop", "did you mean 'flip'"), ("crops(4)", "5, 9"), ("crops(5, 5)", "less than 5"),
     ("crops(5, 0)", "at least 1"), ("flip flip", "once")],
)  # fmt: skip
def test_a_wrong_string_is_refused_with_what_to_write(text, words):
    with pytest.raises(ConfigError, match=r"config\.eval_augment") as error:
        views.parse(text, SHAPE)
    assert words in str(error.value)
