"""The statistics of the results table: pure functions over arrays of results, one value a run.

Where an argument is `[..., n]`, the last axis is the seeds and the others are independent tables, so
that a simulation of thousands of tables is one call. Probabilities and levels are fractions.
docs/ablations.md explains the choices in words.
"""

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats

from resnet_jax.ablation.power import (  # the planning of a sweep needs no arrays
    can_speak,
    seeds_for_equivalence,
    seeds_needed,
    seeds_to_speak,
)

__all__ = [
    "Contrast",
    "Summary",
    "bca",
    "can_speak",
    "correlation",
    "seeds_for_equivalence",
    "seeds_needed",
    "seeds_to_speak",
    "sign_flip",
    "summary",
    "superiority",
    "welch",
]

BOOTSTRAP_FROM = 15
"""Seeds from which a BCa interval covers about what it says; with fewer it covers less."""

RESAMPLES = 9_999

_EXACT_SEEDS = 16
"""Up to here all sign flips are enumerated, 65,536 at most; beyond, as many are drawn."""

_TIE = 1e-12
"""Differences of means below this are rounding; one image in ten thousand is 1e-4."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """One arm.

    Attributes:
        n: finished runs.
        mean: of the runs, None without any; so is the median.
        spread: standard deviation between runs (divisor n - 1), None below two runs.
        median: of the runs.
        low, high: ends of Student's t interval of the mean, None below two runs.
    """

    n: int
    mean: float | None
    spread: float | None
    median: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Contrast:
    """An arm against its control; arrays, or numbers where the arguments had one axis.

    Attributes:
        difference: of the means, arm minus control.
        p: of the two-sided test that there is no difference; NaN where there is no such test.
        p_equivalent: of the test that the difference is the margin or more (two one-sided tests,
            Schuirmann 1987, doi:10.1007/BF01068419).
        interval: the two ends of the interval at a confidence level; it excludes 0 where `p` is below
            1 - level, and lies within the margin where `p_equivalent` is below (1 - level)/2.
    """

    difference: np.ndarray
    p: np.ndarray
    p_equivalent: np.ndarray
    interval: Callable[[float], tuple[np.ndarray, np.ndarray]]


def summary(values: np.ndarray, level: float = 0.05) -> Summary:
    """Describes the runs of one arm.

    Args:
        values: `[n]`, one a run.
        level: 1 minus the confidence of the interval.
    """
    n = len(values)
    if n == 0:
        return Summary(0, None, None, None, None, None)
    mean, median = float(np.mean(values)), float(np.median(values))
    if n == 1:
        return Summary(1, mean, None, median, None, None)
    spread = float(np.std(values, ddof=1))
    half = float(stats.t.isf(level / 2, n - 1) * spread / np.sqrt(n))
    return Summary(n, mean, spread, median, mean - half, mean + half)


def welch(arm: np.ndarray, control: np.ndarray, margin: float) -> Contrast:
    """Welch's test and interval (1947, doi:10.1093/biomet/34.1-2.28): unequal spreads, unpaired.

    Args:
        arm: `[..., n]`. Below two runs a side, or where neither has any spread, there is no test:
            its numbers are NaN.
        control: `[..., m]`.
        margin: of the region of practical equivalence, in the unit of the values.
    """
    arm, control = np.asarray(arm), np.asarray(control)
    difference = arm.mean(-1) - control.mean(-1)
    nothing = np.full_like(difference, np.nan)
    if min(arm.shape[-1], control.shape[-1]) < 2:
        return Contrast(difference, nothing, nothing, lambda level: (nothing, nothing))

    def test(shift: float = 0.0, side: str = "two-sided"):
        return stats.ttest_ind(arm - shift, control, axis=-1, equal_var=False, alternative=side)

    constant = (np.ptp(arm, axis=-1) <= _TIE) & (np.ptp(control, axis=-1) <= _TIE)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # an arm without any spread
        both = test()
        below, above = test(margin, "less").pvalue, test(-margin, "greater").pvalue

    def interval(level: float) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            ends = both.confidence_interval(level)
        return np.where(constant, np.nan, ends.low), np.where(constant, np.nan, ends.high)

    return Contrast(
        difference,
        np.where(constant, np.nan, both.pvalue),
        np.where(constant, np.nan, np.maximum(below, above)),
        interval,
    )


def sign_flip(arm: np.ndarray, control: np.ndarray, margin: float) -> Contrast:
    """The sign-flip test of runs paired by seed: under no difference every sign is as likely.

    Exact up to 16 seeds, where the smallest two-sided p is 2 / 2^n. The means of all subsets of the
    differences give test and interval together (Hartigan 1969, JASA 64, 1303):
    flipping the signs of a subset raises the mean of `differences - shift` exactly if the subset's
    own mean is at most `shift`. SciPy's `permutation_test` gives the same p, but no interval.

    Args:
        arm: `[..., n]`.
        control: `[..., n]`, the same seeds in the same order.
        margin: of the region of practical equivalence, in the unit of the values.
    """
    differences = np.asarray(arm) - np.asarray(control)
    n = differences.shape[-1]
    subsets = _subsets(n)  # [flips, n], all but the empty one
    means = differences @ (subsets / subsets.sum(1, keepdims=True)).T  # [..., flips]
    flips = len(subsets) + 1

    def above(shift: float) -> np.ndarray:  # p of the test that the difference is `shift` or less
        return (1 + np.sum(means <= shift + _TIE, -1)) / flips

    def below(shift: float) -> np.ndarray:
        return (1 + np.sum(means >= shift - _TIE, -1)) / flips

    def interval(level: float) -> tuple[np.ndarray, np.ndarray]:
        outside = int((1 - level) / 2 * flips + 1e-9)
        if outside < 1:  # too few seeds for any finite interval
            endless = np.full(differences.shape[:-1], np.inf)
            return -endless, endless
        ordered = np.sort(means, -1)
        return ordered[..., outside - 1], ordered[..., flips - 1 - outside]

    return Contrast(
        differences.mean(-1),
        np.minimum(1, 2 * np.minimum(above(0), below(0))),
        np.maximum(below(margin), above(-margin)),
        interval,
    )


def _subsets(n: int) -> np.ndarray:
    """0/1 rows `[flips, n]`: every non-empty subset of n seeds, or a fixed random sample of them."""
    if n <= _EXACT_SEEDS:
        return (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
    drawn = np.random.default_rng(0).integers(0, 2, (2**_EXACT_SEEDS - 1, n))
    return drawn[drawn.any(1)]


def bca(
    arm: np.ndarray, control: np.ndarray, paired: bool, level: float = 0.05
) -> tuple[float, float] | None:
    """BCa bootstrap interval of the difference of means (Efron 1987, JASA 82, 171).

    Args:
        arm: `[n]`.
        control: `[m]`.
        paired: whether seeds are resampled in pairs.
        level: 1 minus the confidence.

    Returns:
        The ends; None below 15 runs, where it covers less than it says, and without any spread.
    """
    if min(len(arm), len(control)) < BOOTSTRAP_FROM:
        return None
    if np.ptp(arm) <= _TIE and np.ptp(control) <= _TIE:
        return None
    result = stats.bootstrap(
        (arm, control),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        n_resamples=RESAMPLES,
        paired=paired,
        vectorized=True,
        confidence_level=1 - level,
        method="BCa",
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def superiority(arm: np.ndarray, control: np.ndarray) -> float | None:
    """P(A > B): how often a run of `arm` beats one of `control`; ties count half. None without runs."""
    if not len(arm) or not len(control):
        return None
    return float(np.mean(np.sign(np.subtract.outer(arm, control)) + 1) / 2)


def correlation(arm: np.ndarray, control: np.ndarray) -> float | None:
    """Pearson's correlation of runs paired by seed; None below three pairs or without spread."""
    if len(arm) < 3 or np.ptp(arm) <= _TIE or np.ptp(control) <= _TIE:
        return None
    return float(np.corrcoef(arm, control)[0, 1])
