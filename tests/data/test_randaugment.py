import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from resnet_jax import rng
from resnet_jax.data import geometry, randaugment
from resnet_jax.data.colour import Colours
from resnet_jax.data.randaugment import OPERATIONS

COLOURS = Colours((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
LEVEL = 0.9

PILLOW = {
    "identity": lambda image, sign: image,
    "auto_contrast": lambda image, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, sign: ImageOps.equalize(image),
    "solarize": lambda image, sign: ImageOps.solarize(image, 256 * (1 - LEVEL)),
    "posterize": lambda image, sign: ImageOps.posterize(image, 8 - round(4 * LEVEL)),
    "color": lambda image, sign: ImageEnhance.Color(image).enhance(1 + sign * 0.9 * LEVEL),
    "contrast": lambda image, sign: ImageEnhance.Contrast(image).enhance(1 + sign * 0.9 * LEVEL),
    "brightness": lambda image, sign: ImageEnhance.Brightness(image).enhance(
        1 + sign * 0.9 * LEVEL
    ),
    "sharpness": lambda image, sign: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.9 * LEVEL),
}
ANGLE = math.radians(30 * LEVEL)
# The map of a pixel of the result to where it is read, for sign 1: ranges of AutoAugment, table 6.
WARPS = {
    "rotate": (math.cos(ANGLE), -math.sin(ANGLE), 0, math.sin(ANGLE), math.cos(ANGLE), 0),
    "shear_x": (1, 0.3 * LEVEL, 0, 0, 1, 0),
    "shear_y": (1, 0, 0, 0.3 * LEVEL, 1, 0),
    "translate_x": (1, 0, 150 / 331 * LEVEL * 32, 0, 1, 0),
    "translate_y": (1, 0, 0, 0, 1, 150 / 331 * LEVEL * 32),
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    return np.concatenate([noise, noise // 3 + 20])


@pytest.fixture(scope="module")
def operated(images):
    """Every operation with both signs on every image: {(name, sign): float32 [N, H, W, C]}."""
    pairs = [(name, sign) for name in OPERATIONS for sign in (1.0, -1.0)]
    run = jax.jit(lambda x, o, s: randaugment.operate(x, o, s, LEVEL, COLOURS.fill()))
    pixels = jnp.tile(jnp.asarray(images, jnp.float32), (len(pairs), 1, 1, 1))
    numbers = np.repeat([OPERATIONS.index(name) for name, _ in pairs], len(images))
    signs = np.repeat([sign for _, sign in pairs], len(images)).astype(np.float32)
    found = np.asarray(run(pixels, jnp.asarray(numbers), jnp.asarray(signs)))
    return dict(zip(pairs, np.split(found, len(pairs)), strict=True))


def test_the_operations_are_the_fourteen_of_the_paper():
    assert len(OPERATIONS) == len(set(OPERATIONS)) == 14
    assert set(OPERATIONS) == {*PILLOW, *WARPS}


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", PILLOW)
def test_an_operation_on_colours_is_pillows_but_for_rounding(operated, images, name, sign):
    expected = np.stack(
        [np.asarray(PILLOW[name](Image.fromarray(image), sign), np.float32) for image in images]
    )
    difference = np.abs(operated[name, sign] - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.5


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", WARPS)
def test_an_operation_that_moves_pixels_is_a_warp(operated, images, name, sign):
    a, b, c, d, e, f = WARPS[name]
    entries = (a, sign * b, sign * c, sign * d, e, sign * f)
    affine = geometry.affine(*(jnp.full(len(images), entry) for entry in entries))
    expected = geometry.warp(jnp.asarray(images, jnp.float32), affine, COLOURS.fill())
    assert np.abs(operated[name, sign] - np.round(expected)).max() <= 1


def test_results_are_colours(operated):
    for result in operated.values():
        assert result.min() >= 0
        assert result.max() <= 255
        np.testing.assert_array_equal(result, np.round(result))


def run(images, count, magnitude, seed=0):
    own = rng.keys_at(jnp.uint32(seed), rng.Stream.AUGMENT, jnp.arange(len(images)))
    before = COLOURS.normalised(jnp.asarray(images))
    return np.asarray(COLOURS.of(randaugment.randaugment(before, own, count, magnitude, COLOURS)))


def test_images_draw_all_operations_on_their_own(images):
    same = np.broadcast_to(images[:1], (400, 32, 32, 3))
    found = np.round(run(same, 1, 9.0)).astype(np.uint8)
    # 14 operations, 9 of them with two signs, of which the identity is the image itself.
    assert 20 <= len({image.tobytes() for image in found}) <= 23


def test_a_stronger_magnitude_changes_images_more(images):
    many = np.repeat(images, 20, 0)
    changes = [np.abs(run(many, 1, magnitude) - many).mean() for magnitude in (1.0, 5.0, 10.0)]
    assert changes[0] < changes[1] < changes[2]


def test_more_operations_change_images_more(images):
    many = np.repeat(images, 20, 0)
    changes = [np.abs(run(many, count, 5.0) - many).mean() for count in (1, 3)]
    assert changes[0] < changes[1]


def test_grey_images_stay_grey_images():
    grey = Colours((0.3,), (0.4,))
    images = np.random.default_rng(0).integers(0, 256, (28, 8, 8, 1)).astype(np.uint8)
    own = rng.keys_at(jnp.uint32(0), rng.Stream.AUGMENT, jnp.arange(28))
    found = randaugment.randaugment(grey.normalised(jnp.asarray(images)), own, 2, 9.0, grey)
    assert found.shape == images.shape
    assert np.isfinite(found).all()
