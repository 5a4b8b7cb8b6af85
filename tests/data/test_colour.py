import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from resnet_jax import rng
from resnet_jax.data import colour
from resnet_jax.data.colour import Colours

COLOURS = Colours((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Six kinds of images: noise, dark, bright, one colour, two colours, a gradient."""
    noise = RANDOM.integers(0, 256, (32, 32, 3))
    two = np.where(RANDOM.random((32, 32, 1)) < 0.3, [10, 20, 30], [200, 100, 50])
    ramp = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3)
    kinds = [noise, noise // 4, 200 + noise // 8, np.full((32, 32, 3), 77), two, ramp]
    return np.stack([np.round(kind).astype(np.uint8) for kind in kinds])


def with_pillow(images: np.ndarray, function) -> np.ndarray:
    return np.stack([np.asarray(function(Image.fromarray(image))) for image in images])


def test_colours_come_back_from_normalised_images(images):
    back = COLOURS.of(COLOURS.normalised(jnp.asarray(images)))
    np.testing.assert_array_equal(np.round(back), images)
    np.testing.assert_allclose(COLOURS.of(jnp.zeros((1, 1, 1, 3)))[0, 0, 0], COLOURS.fill())


@pytest.mark.parametrize(
    ("ours", "pillow"),
    [
        (colour.auto_contrast, ImageOps.autocontrast),
        (colour.equalize, ImageOps.equalize),
        (colour.smooth, lambda image: image.filter(ImageFilter.SMOOTH)),
        (lambda x: colour.grey(x)[..., 0], lambda image: image.convert("L")),
    ],
    ids=["auto_contrast", "equalize", "smooth", "grey"],
)
def test_an_operation_is_pillows_but_for_rounding(images, ours, pillow):
    found = np.asarray(ours(jnp.asarray(images, jnp.float32)))
    expected = with_pillow(images, pillow).astype(np.float32)
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.98
    np.testing.assert_array_equal(found, np.round(found))


def test_grey_images_are_their_own_grey():
    images = jnp.asarray(RANDOM.integers(0, 256, (2, 8, 8, 1)), jnp.float32)
    np.testing.assert_array_equal(colour.grey(images), images)


def test_jitter_is_pillows_brightness_contrast_and_saturation_in_this_order(images):
    own = rng.keys_at(jnp.uint32(0), rng.Stream.AUGMENT, jnp.arange(len(images)))
    found = COLOURS.of(colour.jitter(COLOURS.normalised(jnp.asarray(images)), own, 0.4, COLOURS))
    factors = [np.asarray(jax.random.uniform(k, (3,), minval=0.6, maxval=1.4)) for k in own]
    assert np.ptp(factors) > 0.3
    for image, result, each in zip(images, found, factors, strict=True):
        expected = Image.fromarray(image)
        for kind, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), each, strict=True
        ):
            expected = kind(expected).enhance(float(factor))
        # Pillow cuts fractions off after each, so that ours are up to a few colours brighter.
        difference = np.abs(np.asarray(result) - np.asarray(expected, np.float32))
        assert difference.max() < 6
        assert difference.mean() < 2


def test_jitter_by_nothing_leaves_the_image(images):
    own = rng.keys_at(jnp.uint32(0), rng.Stream.AUGMENT, jnp.arange(len(images)))
    before = COLOURS.normalised(jnp.asarray(images))
    np.testing.assert_allclose(colour.jitter(before, own, 0.0, COLOURS), before, atol=1e-4)
