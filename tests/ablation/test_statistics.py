import numpy as np
import pytest
from scipy import stats

from resnet_jax.ablation import statistics


def draws(*shape: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, shape)


def test_a_summary_is_that_of_scipy():
    values = draws(7)
    result = statistics.summary(values, level=0.05)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (result.n, result.median) == (7, np.median(values))
    assert result.spread == pytest.approx(values.std(ddof=1))
    assert (result.low, result.high) == pytest.approx((low, high))


def test_a_summary_of_one_run_has_no_spread_and_of_none_nothing():
    one = statistics.summary(np.array([0.9]))
    assert (one.n, one.mean, one.median) == (1, 0.9, 0.9)
    assert one.spread is one.low is one.high is None
    assert statistics.summary(np.array([])) == statistics.Summary(0, *[None] * 5)


def test_welch_agrees_with_scipy_and_with_its_interval():
    arm, control = draws(6, mean=1), 3 * draws(9, seed=1)
    result = statistics.welch(arm, control, margin=0.5)
    expected = stats.ttest_ind(arm, control, equal_var=False)
    assert result.p == pytest.approx(expected.pvalue)
    assert result.difference == pytest.approx(arm.mean() - control.mean())
    interval = expected.confidence_interval(0.9)
    assert result.interval(0.9) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("test", [statistics.welch, statistics.sign_flip])
def test_tests_and_intervals_say_the_same(test):
    """The interval excludes 0 where the test rejects, and lies within the margin likewise."""
    arm, control = draws(400, 9, mean=0.4), draws(400, 9, seed=1)
    result = test(arm, control, margin=1.1)
    level = 0.11
    low, high = result.interval(1 - level)
    assert ((low > 0) | (high < 0) == (result.p <= level)).all()
    low, high = result.interval(1 - 2 * level)
    within = (low > -1.1) & (high < 1.1)
    assert (within == (result.p_equivalent <= level)).all()
    assert 20 < within.sum() < 380
    assert 20 < (result.p <= level).sum() < 380


@pytest.mark.parametrize("arms", [(np.ones(1), draws(5)), (np.full(4, 0.9), np.full(4, 0.8))])
def test_welch_without_a_spread_is_no_test(arms):
    result = statistics.welch(*arms, margin=0.1)
    assert np.isnan(result.p)
    assert np.isnan(result.p_equivalent)
    assert np.isnan(result.interval(0.95)).all()


@pytest.mark.parametrize("n", [3, 6, 10])
def test_sign_flip_agrees_with_scipys_permutations(n):
    arm, control = draws(n, mean=0.8), draws(n, seed=1)
    expected = stats.permutation_test(
        (arm - control,),
        lambda x, axis: x.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert statistics.sign_flip(arm, control, 0.1).p == pytest.approx(expected.pvalue)


def test_the_smallest_p_of_a_sign_flip_test_is_2_over_2_to_the_n():
    for n in (2, 5, 8):
        assert statistics.sign_flip(np.arange(1.0, n + 1), np.zeros(n), 0.1).p == 2 / 2**n
    low, high = statistics.sign_flip(np.arange(1.0, 6.0), np.zeros(5), 0.1).interval(0.95)
    assert (low, high) == (-np.inf, np.inf)


def test_ties_of_accuracies_are_ties():
    """0.93 - 0.92 and 0.92 - 0.91 differ in their last bits, but are one image in a hundred."""
    arm, control = np.array([0.93, 0.91, 0.95, 0.90]), np.array([0.92, 0.92, 0.94, 0.91])
    assert statistics.sign_flip(arm, control, 0.001).p == 1


def test_sign_flips_of_many_seeds_are_drawn_and_always_the_same():
    arm, control = draws(20, mean=0.5), draws(20, seed=1)
    first, second = (statistics.sign_flip(arm, control, 0.1) for _ in range(2))
    assert first.p == second.p
    assert first.p == pytest.approx(stats.ttest_rel(arm, control).pvalue, abs=0.02)


def test_bca_begins_at_15_seeds_and_is_close_to_welch_for_normal_values():
    arm, control = draws(40, mean=1), draws(40, seed=1)
    assert statistics.bca(arm[:14], control, paired=False) is None
    assert statistics.bca(np.ones(15), np.ones(15), paired=False) is None
    low, high = statistics.bca(arm, control, paired=False)
    expected = statistics.welch(arm, control, 0.1).interval(0.95)
    assert (low, high) == pytest.approx([float(end) for end in expected], abs=0.1)
    assert statistics.bca(arm, control, paired=False) == (low, high)
    common = draws(40, seed=2)
    low, high = statistics.bca(common + 0.01 * arm, common + 0.01 * control, paired=True)
    assert high - low < 0.05


def test_superiority_counts_ties_half():
    assert statistics.superiority(np.array([1.0, 2.0]), np.array([1.0])) == 0.75
    assert statistics.superiority(np.array([0.0]), np.array([1.0])) == 0
    assert statistics.superiority(np.array([]), np.array([1.0])) is None
    arm, control = draws(8), draws(5, seed=1)
    u = stats.mannwhitneyu(arm, control).statistic
    assert statistics.superiority(arm, control) == pytest.approx(u / 40)


def test_correlation_of_seeds():
    values = draws(5)
    assert statistics.correlation(values, -2 * values) == pytest.approx(-1)
    assert statistics.correlation(values[:2], values[:2]) is None
    assert statistics.correlation(values, np.ones(5)) is None
