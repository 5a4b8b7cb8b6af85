import jax.numpy as jnp
import numpy as np

from resnet_jax import rng
from resnet_jax.data import masks
from resnet_jax.data.colour import Colours

COLOURS = Colours((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def erase(count, probability, smallest, largest):
    """Which pixels are erased, [count, 32, 32], and the colours of all."""
    own = rng.keys_at(jnp.uint32(0), rng.Stream.AUGMENT, jnp.arange(count))
    images = jnp.full((count, 32, 32, 3), 100.0)  # a colour that no byte has
    found = masks.erase(images, own, probability, smallest, largest, COLOURS)
    return np.asarray((found != images).any(-1)), np.asarray(COLOURS.of(found))


def test_erase_fills_one_rectangle_of_a_share_between_its_bounds():
    erased, _ = erase(300, 1.0, 0.1, 0.3)
    shares, aspects = [], []
    for mask in erased:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)
        assert len(rows) == np.ptp(rows) + 1
        shares.append(mask.mean())
        aspects.append(len(rows) / len(columns))
    assert 0.08 < min(shares) < 0.12  # rounded to whole pixels
    assert 0.27 < max(shares) < 0.33
    assert min(aspects) < 0.5
    assert max(aspects) > 2


def test_erase_happens_with_its_probability():
    erased, _ = erase(600, 0.25, 0.02, 0.4)
    assert 100 < erased.any((1, 2)).sum() < 200  # 4.7 standard deviations of Binomial(600, 1/4)
    assert not erase(20, 0.0, 0.02, 0.4)[0].any()


def test_erased_pixels_have_all_colours_alike():
    erased, colours = erase(100, 1.0, 0.2, 0.4)
    values = colours[erased]
    np.testing.assert_allclose(values, np.round(values), atol=1e-3)
    counts = np.bincount(np.round(values).astype(int).ravel(), minlength=256)
    assert len(counts) == 256
    expected = counts.sum() / 256
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)
    # Images have colours of their own, and so have pixels of an image.
    assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.02
