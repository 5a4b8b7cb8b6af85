import numpy as np
import pytest
from PIL import Image

from resnet_jax.data import image_files
from resnet_jax.data.picture import picture
from resnet_jax.errors import DataError


@pytest.fixture
def images(tmp_path):
    """Three images in two directories, and a text."""
    random = np.random.default_rng(0)
    (tmp_path / "below").mkdir()
    for name in ("b.png", "a.JPG", "below/c.jpeg"):
        pixels = random.integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


def test_files_are_taken_as_named_and_directories_searched(images):
    found, others = image_files.find([images / "b.png", images])
    assert [file.relative_to(images).as_posix() for file in found] == [
        "b.png",
        "a.JPG",
        "b.png",
        "below/c.jpeg",
    ]
    assert others == [str(images / "notes.txt")]


@pytest.mark.parametrize(("name", "words"), [("x.png", "no image"), ("empty", "has no images")])
def test_what_is_not_there_is_an_error(images, name, words):
    (images / "empty").mkdir()
    with pytest.raises(DataError, match=words):
        image_files.find([images / "b.png", images / name])


def test_pixels_are_those_of_a_folder_of_images(images):
    files = [images / "b.png", images / "a.JPG"]
    found = image_files.read(files, (16, 16, 3))
    assert (found.shape, found.dtype) == ((2, 16, 16, 3), np.uint8)
    for pixels, file in zip(found, files, strict=True):
        np.testing.assert_array_equal(pixels, picture(file, 16))


def test_for_a_network_of_one_channel_they_become_grey(images):
    found = image_files.read([images / "b.png"], (16, 16, 1))
    expected = np.asarray(Image.fromarray(picture(images / "b.png", 16)).convert("L"))
    np.testing.assert_array_equal(found[0, ..., 0], expected)


def test_what_cannot_be_read_is_named_and_nothing_skipped(images):
    for number in range(7):
        (images / f"broken{number}.png").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        image_files.read(image_files.find([images])[0], (16, 16, 3))
    text = str(caught.value)
    assert "7 of 10 images" in text
    assert "broken0.png (no image)" in text
    assert "and 2 more" in text
    assert len(text.splitlines()) == 2


def test_a_network_of_images_that_are_no_squares_is_refused(images):
    with pytest.raises(DataError, match="16x24"):
        image_files.read([images / "b.png"], (16, 24, 3))
