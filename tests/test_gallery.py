import numpy as np
import pytest
from PIL import Image

from resnet_jax import gallery
from resnet_jax.gallery import Exhibit


def exhibits(count: int, channels: int = 3) -> list[Exhibit]:
    pixels = np.arange(8 * 8 * channels, dtype=np.uint8).reshape(8, 8, channels)
    return [Exhibit(pixels + number, f"number {number}\nof {count}") for number in range(count)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (8, 1), (9, 2), (24, 3)])
def test_every_image_has_its_place_and_its_caption(count, rows, channels):
    figure = gallery._figure(exhibits(count, channels), "a run")
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_xlabel() for axes in drawn] == [e.caption for e in exhibits(count)]
    assert len({round(axes.get_position().y0, 3) for axes in drawn}) == rows
    for axes, exhibit in zip(drawn, exhibits(count, channels), strict=True):
        shown = axes.images[0].get_array()
        np.testing.assert_array_equal(shown, exhibit.pixels.squeeze())


@pytest.mark.parametrize("count", [1, 6, 9])
def test_captions_lie_within_the_picture(count, tmp_path):
    path = tmp_path / "x.png"
    gallery.draw(exhibits(count), "a run", path)
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels.min() < 100
    assert (pixels[[0, -1]] == 255).all(), "something is cut off above or below"


@pytest.mark.parametrize("name", [r"a$\frac$b", "b\udcff", "花", "long " * 20])
def test_any_name_can_be_drawn_and_stays_below_its_image(name, tmp_path, recwarn):
    path = tmp_path / "x.png"
    gallery.draw([Exhibit(np.full((8, 8, 3), 255, np.uint8), name)] * 3, name, path)
    pixels = np.asarray(Image.open(path).convert("L"))
    assert (pixels[:, [0, -1]] == 255).all(), "something is cut off at a side"
    assert [str(w.message) for w in recwarn] == []
