import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import rng
from resnet_jax.data import augment
from resnet_jax.data.colour import Colours
from resnet_jax.errors import ConfigError

SHAPE = (8, 8, 3)
COLOURS = Colours((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def keys(count: int, seed: int = 0) -> jax.Array:
    return rng.keys_at(jnp.uint32(seed), rng.Stream.AUGMENT, jnp.arange(count))


def images(count: int) -> jax.Array:
    """Every pixel has a value of its own, none of them 0."""
    return 1 + jnp.arange(count * 8 * 8 * 3, dtype=jnp.float32).reshape(count, *SHAPE)


def run(text: str, batch: jax.Array, batch_keys: jax.Array) -> np.ndarray:
    return np.asarray(augment.apply(augment.parse(text, SHAPE), batch, batch_keys, COLOURS))


def test_no_tokens_change_nothing():
    np.testing.assert_array_equal(run("", images(4), keys(4)), images(4))


@pytest.mark.parametrize(("padding", "mode"), [("zero", "constant"), ("reflect", "reflect")])
def test_crop_is_a_window_of_the_padded_image_and_takes_every_offset(padding, mode):
    batch = np.asarray(images(200))
    cropped = run(f"crop(2, {padding})", batch, keys(200))
    padded = np.pad(batch, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)
    offsets = set()
    for before, after in zip(padded, cropped, strict=True):
        fits = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(before[top : top + 8, left : left + 8], after)
        ]
        assert len(fits) == 1
        offsets.update(fits)
    # 200 draws miss one of 25 offsets with probability 25 * (24/25)**200 = 0.7%; the seed is fixed.
    assert len(offsets) == 25


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    batch = np.asarray(images(400))
    flipped = run("flip", batch, keys(400))
    mirrored = np.array(
        [np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, batch, strict=True)]
    )
    same = np.array([np.array_equal(a, b) for a, b in zip(flipped, batch, strict=True)])
    assert (mirrored ^ same).all()
    assert 150 < mirrored.sum() < 250  # 5 standard deviations of Binomial(400, 1/2)


@pytest.mark.parametrize("pixels", [3, 4])
def test_cutout_zeroes_one_square_that_may_reach_over_the_edge(pixels):
    cut = run(f"cutout({pixels})", images(300), keys(300))
    holes = (cut == 0).all(-1)
    np.testing.assert_array_equal(holes, (cut == 0).any(-1))
    areas = set()
    for hole in holes:
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)  # one rectangle
        assert len(rows) == np.ptp(rows) + 1
        areas.add(int(hole.sum()))
    assert max(areas) == pixels**2
    assert min(areas) < pixels**2  # some are cut off by the edge


def test_tokens_apply_from_left_to_right():
    both = run("crop(2) cutout(4)", images(8), keys(8))
    other = run("cutout(4) crop(2)", images(8), keys(8))
    assert not np.array_equal(both, other)


def test_two_tokens_of_a_kind_draw_independently():
    once, twice = run("flip", images(64), keys(64)), run("flip flip", images(64), keys(64))
    # Had both used one draw, two flips would cancel and the images come back.
    assert not np.array_equal(twice, images(64))
    assert not np.array_equal(twice, once)


def test_an_image_is_augmented_by_its_own_key_whatever_the_batch():
    whole = run("crop(2) flip cutout(3)", images(12), keys(12))
    part = run("crop(2) flip cutout(3)", images(12)[5:7], keys(12)[5:7])
    np.testing.assert_array_equal(part, whole[5:7])


def test_the_tokens_of_the_issue_are_read_with_their_defaults():
    text = "crop(4) flip randaugment(2,9) mixup(0.2) cutmix(1.0) cutout(8) erase jitter rotate(15)"
    parsed = augment.parse(f"{text} translate shear zoom", (32, 32, 3))
    assert {token.name for token in parsed} == set(augment.VOCABULARY)
    assert parsed[augment.mixing_span(parsed)] == parsed[3:5]
    assert str(parsed[6]) == "erase(0.5, 0.02, 0.4)"


def test_another_seed_augments_otherwise():
    a, b = (run("crop(2) flip", images(32), keys(32, seed)) for seed in (0, 1))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crop", "needs pixels"),
        ("crop(0)", "at least 1"),
        ("crop(8)", "too large"),
        ("cutout(9)", "too large"),
        ("crop(2, mirror)", "zero, reflect"),
        ("flop", "did you mean 'flip'"),
        ("rotate(181)", "no number from 0 to 180"),
        ("zoom(1)", "no number from 0 to 0.9"),
        ("erase(2)", "no number from 0 to 1"),
        ("erase(0.5, 0.3, 0.2)", "smaller share first"),
        ("jitter(-1)", "no number from 0 to 1"),
        ("randaugment(2)", "needs magnitude"),
        ("randaugment(15, 5)", "more than 14"),
        ("mixup(0)", "no number from 0.01 to 100"),
        ("cutmix(1, nan)", "no number from 0 to 1"),
        ("mixup(1) crop(2) cutmix(1)", "crop(2, zero) stands between"),
    ],
)
def test_a_wrong_string_is_refused_with_what_to_write(text, words):
    with pytest.raises(ConfigError, match=r"config\.augment") as error:
        augment.parse(text, SHAPE)
    assert words in str(error.value)
