import numpy as np
import pytest

from configs import digits_quickstart
from resnet_jax import augment_picture
from resnet_jax.data import source, spec


@pytest.fixture
def config():
    config = digits_quickstart.get_config()
    config.augment = ""
    return config


def test_without_augmentation_every_draw_is_the_image_itself(config):
    """Which also shows that the positions of an image's epochs are found."""
    grid = augment_picture.draw(config, 5, 3)
    assert grid.draws.shape == (5, 3, 8, 8, 1)
    for epoch in range(3):
        np.testing.assert_array_equal(grid.draws[:, epoch], grid.originals)
    known = {image.tobytes() for image in source.load(spec.get("digits"), "train", None).images}
    assert {image.tobytes() for image in grid.originals} <= known
    assert augment_picture.caption(grid, 2, 1) == grid.names[2]


def test_draws_are_those_of_the_seed(config):
    config.augment = "rotate(45)"
    first, again = (augment_picture.draw(config, 3, 3) for _ in range(2))
    np.testing.assert_array_equal(first.draws, again.draws)
    config.seed = 1
    assert not np.array_equal(augment_picture.draw(config, 3, 3).draws, first.draws)


def test_mixtures_are_captioned_with_their_shares(config):
    config.augment = "mixup(1)"
    grid = augment_picture.draw(config, 6, 2)
    captions = [augment_picture.caption(grid, row, epoch) for row in range(6) for epoch in (0, 1)]
    assert any(", " in words for words in captions)
    for words in captions:
        shares = [int(part.split()[1]) for part in words.split(", ")] if ", " in words else [100]
        assert sum(shares) in (99, 100, 101)
        assert shares == sorted(shares, reverse=True)
