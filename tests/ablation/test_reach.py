import numpy as np
import pytest

from resnet_jax.ablation import reach


def test_images_on_which_nothing_varies_leave_the_interval_of_the_seeds():
    """Every image as easy as the others: only the seeds matter, and one arm has no spread at all."""
    correct = {"a": np.zeros((3, 50), bool), "b": np.ones((4, 50), bool)}
    seeds = {"a": range(3), "b": range(4)}
    low, high = reach.intervals(correct, [("b", "a")], seeds, paired=False)[0]
    assert (low, high) == pytest.approx((1, 1))


def test_an_interval_contains_the_difference_and_repeats_itself():
    random = np.random.default_rng(0)
    correct = {"a": random.random((5, 400)) < 0.8, "b": random.random((5, 400)) < 0.9}
    seeds = {"a": range(5), "b": range(5)}
    for paired in (False, True):
        first, again = (reach.intervals(correct, [("b", "a")], seeds, paired)[0] for _ in range(2))
        assert first == again
        assert first[0] < correct["b"].mean() - correct["a"].mean() < first[1]


def test_pairs_are_made_by_seed_in_any_order():
    """With equal runs under equal seeds, paired differences are exactly 0."""
    random = np.random.default_rng(0)
    runs = random.random((3, 100)) < random.random((3, 1))
    correct = {"a": runs, "b": runs[[2, 0]]}
    seeds = {"a": [0, 1, 2], "b": [2, 0]}
    assert reach.intervals(correct, [("b", "a")], seeds, paired=True)[0] == (0, 0)
    low, high = reach.intervals(correct, [("b", "a")], seeds, paired=False)[0]
    assert low < 0 < high


def test_it_covers_the_difference_on_all_images_which_the_seeds_alone_do_not(monkeypatch):
    """Of 300 drawn test images with two arms whose seeds hardly differ.

    The chance that an arm classifies an image is the image's own; over all images the arms are equal.
    """
    monkeypatch.setattr(reach, "RESAMPLES", 500)
    random = np.random.default_rng(0)
    covered, narrow = 0, 0
    for _ in range(150):
        correct = {}
        for arm in "ab":
            fixed = random.random((1, 300)) < 0.8
            correct[arm] = fixed ^ (random.random((6, 300)) < 0.005)
        seeds = {"a": range(6), "b": range(6)}
        low, high = reach.intervals(correct, [("b", "a")], seeds, paired=False)[0]
        covered += low <= 0 <= high
        of_seeds = correct["b"].mean(1) - correct["a"].mean(1)
        narrow += abs(of_seeds.mean()) <= 2.6 * of_seeds.std(ddof=1) / np.sqrt(6)
    assert covered >= 150 * 0.95 - 3 * np.sqrt(150 * 0.95 * 0.05)
    assert narrow < 60


def test_disagreements_are_ordered_by_how_far_the_arms_are_apart():
    right = {"a": [1.0, 1.0, 0.5, 1.0], "b": [1.0, 0.0, 0.5, 0.5], "c": [1.0, 0.0, 0.5, 0.5]}
    correct = {arm: np.stack([np.array(p) > 0.25, np.array(p) > 0.75]) for arm, p in right.items()}
    found = reach.disagreements(correct)
    assert [d.image for d in found] == [1, 3]
    assert found[1].right == {"a": 1.0, "b": 0.5, "c": 0.5}
    assert len(reach.disagreements(correct, most=1)) == 1
