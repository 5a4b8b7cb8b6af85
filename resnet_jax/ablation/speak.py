"""Whether a sweep can find anything at all: asked before it starts."""

import math

from resnet_jax.ablation.design import Sweep


def seeds_to_speak(comparisons: int, test: str, level: float) -> int:
    """Seeds that a test needs before its smallest p-value can pass the correction.

    Welch's test needs two for a spread. Flipping the signs of n paired differences has 2^n
    outcomes, so that the smallest two-sided p-value is 2^(1-n); Holm's correction first asks for
    level / comparisons.
    """
    if test == "welch":
        return 2
    return max(2, 1 + math.ceil(math.log2(comparisons / level) - 1e-9))


def warning(sweep: Sweep) -> str | None:
    """What to say about a sweep with too few seeds for its test; None if there are enough."""
    comparisons = sum(arm.control is not None for arm in sweep.arms)
    needed = seeds_to_speak(max(1, comparisons), sweep.test, sweep.level)
    if not comparisons or len(sweep.seeds) >= needed:
        return None
    few = "1 seed is" if len(sweep.seeds) == 1 else f"{len(sweep.seeds)} seeds are"
    return (
        f"{few} too few: no difference, however large, can be significant with "
        f"{sweep.test} and {comparisons} comparisons at level {sweep.level:g}; write --seeds {needed}"
    )
