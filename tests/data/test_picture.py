import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.picture import picture

RANDOM = np.random.default_rng(0)


def saved(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_an_image_of_the_size_stays_as_it_is(tmp_path):
    pixels = RANDOM.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(picture(path, 32), pixels)


@pytest.mark.parametrize("turned", [False, True])
def test_the_middle_square_is_taken(tmp_path, turned):
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 16:48] = RANDOM.integers(0, 256, (32, 32, 3))
    pixels[:, :16], pixels[:, 48:] = (255, 0, 0), (0, 255, 0)
    path = saved(tmp_path, Image.fromarray(pixels.swapaxes(0, 1) if turned else pixels))
    expected = pixels[:, 16:48]
    np.testing.assert_array_equal(
        picture(path, 32), expected.swapaxes(0, 1) if turned else expected
    )


@pytest.mark.parametrize("size", [8, 100])
def test_images_become_smaller_and_larger(tmp_path, size):
    path = saved(tmp_path, Image.new("RGB", (40, 30), (10, 200, 30)), "x.jpg", quality=100)
    found = picture(path, size)
    assert (found.shape, found.dtype) == ((size, size, 3), np.uint8)
    assert np.abs(found.astype(int) - [10, 200, 30]).max() <= 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA"])
def test_every_kind_of_image_becomes_colour(tmp_path, mode):
    grey = Image.fromarray(RANDOM.integers(0, 2, (16, 16)).astype(np.uint8) * 255)
    found = picture(saved(tmp_path, grey.convert(mode)), 16)
    np.testing.assert_array_equal(found, np.repeat(np.asarray(grey)[..., None], 3, -1))


def test_a_printers_colours_become_red_green_and_blue(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (16, 16), (10, 200, 30)).convert("CMYK"), "x.jpg")
    assert np.abs(picture(path, 16).astype(int) - [10, 200, 30]).max() <= 5


def test_the_upper_bits_of_16_are_kept(tmp_path):
    deep = RANDOM.integers(0, 2**16, (16, 16)).astype(np.uint16)
    path = saved(tmp_path, Image.fromarray(deep))
    np.testing.assert_array_equal(picture(path, 16), np.repeat((deep >> 8)[..., None], 3, -1))


def test_transparency_is_laid_on_white(tmp_path):
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert (picture(saved(tmp_path, clear), 16) == 255).all()


def test_a_cameras_orientation_is_applied(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = saved(tmp_path, Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(picture(path, 16), pixels[::-1])


def test_a_truncated_file_is_an_error(tmp_path):
    path = saved(tmp_path, Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3)).astype(np.uint8)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises((OSError, SyntaxError), match=r"\w"):
        picture(path, 32)
