"""The table of a sweep, as data; all numbers are fractions of the test images."""

import dataclasses

from resnet_jax.ablation.reach import Disagreement
from resnet_jax.ablation.rows import Cost, Declaration
from resnet_jax.ablation.statistics import Summary
from resnet_jax.ablation.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """One arm; accuracies are fractions.

    Attributes:
        nesting: 0 for a control, 1 for an arm compared with it, and so on.
        seeds, accuracies: of the finished runs.
        missing: runs that were declared and have no row.
        cost: mean of the finished runs; None where one of them does not say.
    """

    name: str
    control: str | None
    added: bool
    nesting: int
    summary: Summary
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    diverged: int
    failed: int
    missing: int
    cost: Cost | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An arm against its control; differences are fractions, arm minus control.

    Attributes:
        low, high: interval at 1 - level, not corrected for the number of comparisons.
        bca: the same by bootstrap, from 15 seeds on.
        p, p_holm, p_equivalent: None where no test was possible.
        superiority: P(A > B).
        correlation: of runs with the same seed.
        other_images: interval over new seeds and new test images.
    """

    arm: str
    control: str
    n: int
    difference: float | None
    low: float | None
    high: float | None
    bca: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    p_equivalent: float | None
    superiority: float | None
    correlation: float | None
    other_images: tuple[float, float] | None
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class Table:
    """Everything that is printed about a sweep.

    Attributes:
        warnings: what a reader must know first: incomplete, extended, or differing runs.
        arms: every control followed by the arms compared with it.
        comparisons: in the order of `arms`.
        disagreements: the test images on which the arms differ most.
    """

    declaration: Declaration
    warnings: tuple[str, ...]
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    disagreements: tuple[Disagreement, ...]
