"""Every arm against its control: the test, its correction, and what stands beside it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from resnet_jax.ablation import correction, reach, statistics
from resnet_jax.ablation.rows import Declaration
from resnet_jax.ablation.table import ArmResult, Comparison
from resnet_jax.ablation.verdict import Plan, Side, judge


def compare(
    declared: Declaration, arms: Sequence[ArmResult], correct: Mapping[str, np.ndarray]
) -> tuple[Comparison, ...]:
    """Compares every arm that has a control with it.

    Args:
        declared: the test, the margin, the smallest difference of interest, the level.
        arms: all of them.
        correct: bool `[n, N]` by arm, where it is known: runs, test images.
    """
    by_name = {arm.name: arm for arm in arms}
    pairs = [_Pair.make(declared, arm, by_name[arm.control]) for arm in arms if arm.control]
    contrasts = [pair.contrast(declared) for pair in pairs]
    # Every declared comparison counts in the correction, also one whose runs are missing.
    p = np.array([contrast.p for contrast in contrasts])
    adjusted = correction.holm(p)
    p_equivalent = np.array([contrast.p_equivalent for contrast in contrasts])
    decisions = correction.decide(p, p_equivalent, declared.level)
    plan = Plan(
        declared.test, declared.margin / 100, declared.smallest / 100, declared.level, len(pairs)
    )
    reaches = _reaches(declared, pairs, by_name, correct)
    found = []
    for pair, contrast, holm, decision in zip(pairs, contrasts, adjusted, decisions, strict=True):
        low, high = contrast.interval(1 - declared.level)
        sides = pair.sides(len(declared.seeds))
        found.append(
            Comparison(
                arm=pair.arm.name,
                control=pair.control.name,
                n=min(len(pair.a), len(pair.b)),
                difference=_number(contrast.difference),
                low=_number(low),
                high=_number(high),
                bca=statistics.bca(pair.a, pair.b, pair.paired, declared.level),
                p=_number(contrast.p),
                p_holm=None if np.isnan(contrast.p) else float(holm),
                p_equivalent=_number(contrast.p_equivalent),
                superiority=statistics.superiority(pair.a, pair.b),
                correlation=statistics.correlation(*pair.by_seed()),
                other_images=reaches.get(pair.arm.name),
                verdict=judge(contrast, decision, *sides, plan, pair.spread()),
            )
        )
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """An arm, its control, and the results that the test compares.

    For the paired test these are the seeds that both have finished, else all finished runs.
    """

    arm: ArmResult
    control: ArmResult
    paired: bool
    a: np.ndarray
    b: np.ndarray

    @classmethod
    def make(cls, declared: Declaration, arm: ArmResult, control: ArmResult) -> "_Pair":
        pair = cls(arm, control, False, np.array(arm.accuracies), np.array(control.accuracies))
        if declared.test == "sign_flip":
            return cls(arm, control, True, *pair.by_seed())
        return pair

    def by_seed(self) -> tuple[np.ndarray, np.ndarray]:
        """The results of the seeds that both have finished, in one order."""
        a, b = (
            dict(zip(side.seeds, side.accuracies, strict=True)) for side in (self.arm, self.control)
        )
        both = [seed for seed in a if seed in b]
        return np.array([a[seed] for seed in both]), np.array([b[seed] for seed in both])

    def contrast(self, declared: Declaration) -> statistics.Contrast:
        if not len(self.a) or not len(self.b):
            nan = np.float64(np.nan)
            return statistics.Contrast(nan, nan, nan, lambda level: (nan, nan))
        test = statistics.sign_flip if self.paired else statistics.welch
        return test(self.a, self.b, declared.margin / 100)

    def sides(self, runs: int) -> tuple[Side, Side]:
        return (
            Side(self.arm.name, len(self.a), self.arm.diverged, runs),
            Side(self.control.name, len(self.b), self.control.diverged, runs),
        )

    def spread(self) -> float | None:
        """As `power.power` wants it; None with too few runs to know."""
        if min(len(self.a), len(self.b)) < 2:
            return None
        if self.paired:
            return float(np.std(self.a - self.b, ddof=1))
        return float(np.sqrt((np.var(self.a, ddof=1) + np.var(self.b, ddof=1)) / 2))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _reaches(
    declared: Declaration,
    pairs: Sequence[_Pair],
    by_name: Mapping[str, ArmResult],
    correct: Mapping[str, np.ndarray],
) -> dict[str, tuple[float, float]]:
    """By arm; only where both arms have two runs that count."""
    names = [
        (pair.arm.name, pair.control.name)
        for pair in pairs
        if {pair.arm.name, pair.control.name} <= correct.keys()
        and min(len(pair.a), len(pair.b)) > 1
    ]
    if not names:
        return {}
    seeds = {name: by_name[name].seeds for name in correct}
    paired = declared.test == "sign_flip"
    ends = reach.intervals(correct, names, seeds, paired, declared.level)
    return {arm: span for (arm, _), span in zip(names, ends, strict=True)}
