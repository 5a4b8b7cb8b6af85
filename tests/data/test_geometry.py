import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from resnet_jax import rng, tokens
from resnet_jax.data import augment, geometry
from resnet_jax.data.colour import Colours

SHAPE = (9, 7, 3)
COLOURS = Colours((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
RANDOM = np.random.default_rng(0)


def keys(count: int) -> jax.Array:
    return rng.keys_at(jnp.uint32(0), rng.Stream.AUGMENT, jnp.arange(count))


def maps(text: str, count: int) -> np.ndarray:
    """The drawn maps of one token, [count, 2, 3]."""
    (token,) = tokens.parse(text, augment.VOCABULARY, "config.augment")
    return np.asarray(geometry.random_warp([token], [keys(count)], SHAPE))


def square(affine: np.ndarray) -> np.ndarray:
    """As 3x3 matrices, which can be multiplied."""
    last = np.broadcast_to(np.asarray([0.0, 0.0, 1.0]), (len(affine), 1, 3))
    return np.concatenate([affine, last], 1)


@pytest.mark.parametrize("fill", [0.0, np.asarray([3.0, -1.0, 0.5])])
def test_a_warp_interpolates_as_scipy_does(fill):
    images = RANDOM.normal(size=(6, *SHAPE)).astype(np.float32)
    affine = RANDOM.normal(size=(6, 2, 3)).astype(np.float32)
    found = np.asarray(geometry.warp(jnp.asarray(images), jnp.asarray(affine), fill))
    height, width, channels = SHAPE
    rows, columns = np.mgrid[:height, :width]
    points = np.stack([columns - (width - 1) / 2, rows - (height - 1) / 2, np.ones(rows.shape)])
    fills = np.broadcast_to(fill, (channels,))
    for image, matrix, result in zip(images, affine, found, strict=True):
        x, y = np.tensordot(matrix, points, 1)
        at = [y + (height - 1) / 2, x + (width - 1) / 2]
        for channel in range(channels):
            expected = scipy.ndimage.map_coordinates(
                image[..., channel], at, order=1, mode="grid-constant", cval=fills[channel]
            )
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-4)


def test_the_map_that_moves_nothing_changes_no_bit():
    images = jnp.asarray(RANDOM.normal(size=(3, *SHAPE)), jnp.float32)
    still = geometry.affine(jnp.ones(3), 0, 0, 0, 1, 0)
    np.testing.assert_array_equal(geometry.warp(images, still), images)


def test_maps_of_tokens_that_follow_each_other_are_multiplied():
    first, second = (RANDOM.normal(size=(5, 2, 3)).astype(np.float32) for _ in range(2))
    found = np.asarray(geometry.compose(jnp.asarray(first), jnp.asarray(second)))
    np.testing.assert_allclose(square(found), square(first) @ square(second), rtol=1e-5)


def test_a_run_of_warps_interpolates_once():
    images = jnp.asarray(RANDOM.normal(size=(4, *SHAPE)), jnp.float32)
    parsed = augment.parse("rotate(30) zoom(0.3) shear", SHAPE)
    own = [jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys(4), n) for n in range(3)]
    once = geometry.warp(images, geometry.random_warp(parsed, own, SHAPE))
    np.testing.assert_array_equal(augment.apply(parsed, images, keys(4), COLOURS), once)


def test_a_rotation_keeps_lengths_and_reaches_its_angle_on_both_sides():
    affine = maps("rotate(20)", 500)
    turn = affine[:, :, :2]
    identity = np.broadcast_to(np.eye(2), turn.shape)
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), identity, atol=1e-6)
    angles = np.rad2deg(np.arctan2(affine[:, 1, 0], affine[:, 0, 0]))
    assert -20.01 < angles.min() < -19
    assert 19 < angles.max() < 20.01
    assert (affine[:, :, 2] == 0).all()


def test_a_translation_is_a_share_of_each_side():
    affine = maps("translate(0.5)", 500)
    np.testing.assert_array_equal(affine[:, :, :2], np.broadcast_to(np.eye(2), (500, 2, 2)))
    height, width, _ = SHAPE
    for axis, side in ((0, width), (1, height)):
        assert 0.48 * side < np.abs(affine[:, axis, 2]).max() <= 0.5 * side


def test_a_shear_slants_each_axis_along_the_other():
    affine = maps("shear(0.25)", 500)
    np.testing.assert_array_equal(affine[:, [0, 1], [0, 1]], 1)
    slants = affine[:, [0, 1], [1, 0]]
    assert 0.24 < slants.max() <= 0.25
    assert -0.25 <= slants.min() < -0.24
    assert abs(np.corrcoef(slants.T)[0, 1]) < 0.15  # drawn independently


def test_a_zoom_enlarges_and_shrinks_alike_along_both_axes():
    affine = maps("zoom(0.5)", 500)
    np.testing.assert_array_equal(affine[:, 0, 0], affine[:, 1, 1])
    factors = 1 / affine[:, 0, 0]
    assert 0.499 < factors.min() < 0.52
    assert 1.48 < factors.max() < 1.501


@pytest.mark.parametrize("text", ["rotate(0)", "translate(0)", "shear(0)", "zoom(0)"])
def test_a_warp_by_nothing_leaves_the_image(text):
    images = jnp.asarray(RANDOM.normal(size=(4, *SHAPE)), jnp.float32)
    found = augment.apply(augment.parse(text, SHAPE), images, keys(4), COLOURS)
    np.testing.assert_allclose(found, images, atol=1e-6)
