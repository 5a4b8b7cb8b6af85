import pytest
from scipy import stats

from resnet_jax.ablation import power, statistics


@pytest.mark.parametrize(("comparisons", "seeds"), [(1, 17), (4, 24)])
def test_seeds_for_0_2_points_at_a_spread_of_0_2(comparisons, seeds):
    """As standard power tables have it: d = 1, two-sided, 80%."""
    assert power.seeds_needed(0.2, 0.2, comparisons) == seeds
    assert power.power(seeds, 0.2, 0.2, comparisons) >= 0.8
    assert power.power(seeds - 1, 0.2, 0.2, comparisons) < 0.8


@pytest.mark.parametrize(("comparisons", "seeds"), [(1, 6), (3, 7), (6, 8)])
def test_a_sign_flip_test_cannot_speak_with_fewer_seeds(comparisons, seeds):
    assert power.seeds_to_speak(comparisons, "sign_flip") == seeds
    assert power.can_speak(seeds, comparisons, "sign_flip")
    assert not power.can_speak(seeds - 1, comparisons, "sign_flip")
    for n in (seeds - 1, seeds):
        assert (2 / 2**n <= 0.05 / comparisons) == power.can_speak(n, comparisons, "sign_flip")


def test_welchs_test_needs_two_seeds_for_a_spread():
    assert power.can_speak(2, 12)
    assert not power.can_speak(1, 1)


def test_power_without_any_difference_is_the_level():
    assert power.power(9, 0.2, 0.0) == pytest.approx(0.05)
    assert power.power(9, 0.2, 0.0, comparisons=5) == pytest.approx(0.01)


def test_more_seeds_and_smaller_spreads_have_more_power():
    assert power.power(5, 0.2, 0.2) < power.power(9, 0.2, 0.2) < power.power(9, 0.1, 0.2)
    assert power.power(5, 0.2, 0.5, 1, "sign_flip") == 0  # it cannot speak
    assert power.seeds_needed(0.2, 0.2) > power.seeds_needed(0.1, 0.2) >= 2
    assert power.seeds_needed(0.01, 0.2, 6, "sign_flip") == 8


def test_unreachable_numbers_of_seeds_end():
    assert power.seeds_needed(1.0, 1e-9) == power.MOST_SEEDS
    assert power.seeds_needed(1.0, 1e-9, 1, "sign_flip") == power.MOST_SEEDS
    assert power.seeds_needed(0.0) == 2


def test_seeds_needed_are_the_fewest():
    """Also where the levels that sign flips can attain make the power jump."""
    for test in power.TESTS:
        for difference in (0.1, 0.2, 0.3, 0.5):
            for m in (1, 3, 6):
                n = power.seeds_needed(0.2, difference, m, test)
                powers = [power.power(k, 0.2, difference, m, test) for k in range(2, n + 1)]
                assert powers[-1] >= 0.8 > max(powers[:-1], default=0)


def test_equivalence_needs_more_than_a_difference_of_the_margin():
    n = power.seeds_for_equivalence(0.2, 0.2)
    assert n >= power.seeds_needed(0.2, 0.2)
    least = stats.norm.isf(0.05) + stats.norm.isf(0.1)  # 80% on both sides together
    assert n == pytest.approx(2 * least**2, rel=0.1)


def test_a_sweep_finds_the_planning_beside_the_statistics():
    assert statistics.seeds_needed is power.seeds_needed
    assert statistics.can_speak is power.can_speak
    assert statistics.seeds_to_speak is power.seeds_to_speak
