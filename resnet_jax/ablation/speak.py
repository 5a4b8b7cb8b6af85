"""Whether a sweep can find anything at all: asked before it starts."""

from resnet_jax.ablation.design import Sweep
from resnet_jax.ablation.statistics import seeds_to_speak


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
