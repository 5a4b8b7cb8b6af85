"""How many seeds a comparison needs, before or after it is made.

Every number is for a difference that was named beforehand. Power at the observed difference would be a
restatement of its p-value (Hoenig & Heisey 2001, doi:10.1198/000313001300339897).
"""

import math
from collections.abc import Callable

from scipy import stats

EQUIVALENCE_SHARE = 0.1
"""The part of the error that claims of equivalence get in a table of several comparisons."""

POWER = 0.8
"""The probability of finding the difference of interest that is planned for."""

MOST_SEEDS = 100_000

TESTS = ("welch", "sign_flip")


def seeds_to_speak(comparisons: int, test: str = "welch", level: float = 0.05) -> int:
    """The fewest seeds with which the first step of Holm's correction can find any difference.

    The smallest two-sided p of a sign-flip test of n pairs is 2 / 2^n. Welch's test needs a spread.
    """
    if test == "welch":
        return 2
    return max(2, 1 + math.ceil(math.log2(max(comparisons, 1) / level) - 1e-9))


def can_speak(seeds: int, comparisons: int, test: str = "welch", level: float = 0.05) -> bool:
    """Whether a sweep could claim any difference at all, however large."""
    return seeds >= seeds_to_speak(comparisons, test, level)


def power(
    seeds: int,
    spread: float,
    difference: float,
    comparisons: int = 1,
    test: str = "welch",
    level: float = 0.05,
) -> float:
    """The probability that one true difference is found in the first step of Holm's correction.

    By the noncentral t distribution: for Welch's test at equal spreads, but for its estimated degrees
    of freedom, exact; for the sign-flip test within about 0.05.

    Args:
        seeds: of each arm.
        spread: standard deviation between the runs of an arm; for `sign_flip`, of the differences
            between the runs of a pair.
        difference: the true one, in the unit of the spread.
        comparisons: arms that have a control.
        test: `welch` or `sign_flip`.
        level: probability of any false claim in the table.
    """
    if test == "sign_flip":
        return _sign_flip_power(seeds, difference / spread, level / comparisons)
    if not can_speak(seeds, comparisons, test, level):
        return 0.0
    shift = difference / (spread * math.sqrt(2 / seeds))
    limit = stats.t.isf(level / comparisons / 2, 2 * seeds - 2)
    return float(sum(_tails(limit, 2 * seeds - 2, shift)))


def _sign_flip_power(pairs: int, effect: float, level: float) -> float:
    """As the t test at the level that 2^n sign flips can attain; exact where all signs must agree."""
    one_side = level / 2
    if pairs < 30:  # beyond, any level can be attained
        extreme = math.floor(level / 2 * 2**pairs + 1e-9)  # patterns of signs that reject
        if extreme < 1:
            return 0.0
        if extreme == 1:
            return float(stats.norm.cdf(effect) ** pairs + stats.norm.cdf(-effect) ** pairs)
        one_side = extreme / 2**pairs
    limit = stats.t.isf(one_side, pairs - 1)
    return float(sum(_tails(limit, pairs - 1, effect * math.sqrt(pairs))))


def _tails(limit: float, freedom: int, shift: float) -> tuple[float, float]:
    return stats.nct.sf(limit, freedom, shift), stats.nct.cdf(-limit, freedom, shift)


def equivalence_power(
    seeds: int,
    spread: float,
    margin: float,
    comparisons: int = 1,
    test: str = "welch",
    level: float = 0.05,
) -> float:
    """The probability that two equal means are shown to be equivalent; arguments as for `power`.

    Of both one-sided tests by the noncentral t distribution, an approximation for the sign-flip test.
    """
    freedom, scale = (2 * seeds - 2, 2) if test == "welch" else (seeds - 1, 1)
    share = 1.0 if comparisons == 1 else EQUIVALENCE_SHARE
    limit = stats.t.isf(share * level / comparisons, freedom)
    one_side = stats.nct.sf(limit, freedom, margin / (spread * math.sqrt(scale / seeds)))
    return max(0.0, float(2 * one_side - 1))


def seeds_needed(
    spread: float,
    difference: float = 0.2,
    comparisons: int = 1,
    test: str = "welch",
    level: float = 0.05,
    target: float = POWER,
) -> int:
    """The fewest seeds an arm that find `difference` with probability `target` after Holm.

    0.2 points at a spread of 0.2 need 17 for one comparison and 24 for four. Arguments as for
    `power`; the unit of spread and difference is free.
    """
    fewest = seeds_to_speak(comparisons, test, level)
    if spread <= 0:
        return fewest
    return _first(
        fewest, lambda n: power(n, spread, difference, comparisons, test, level) >= target
    )


def seeds_for_equivalence(
    spread: float,
    margin: float = 0.1,
    comparisons: int = 1,
    test: str = "welch",
    level: float = 0.05,
    target: float = POWER,
) -> int:
    """The fewest seeds an arm that show two equal means to be equivalent with this probability."""
    fewest = seeds_to_speak(comparisons, test, level)
    if spread <= 0:
        return fewest
    return _first(
        fewest, lambda n: equivalence_power(n, spread, margin, comparisons, test, level) >= target
    )


def _first(low: int, enough: Callable[[int], bool]) -> int:
    """The first n from `low` on for which the monotone `enough(n)` holds, at most 100,000."""
    high = low
    while not enough(high) and high < MOST_SEEDS:
        low, high = high + 1, min(2 * high, MOST_SEEDS)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
