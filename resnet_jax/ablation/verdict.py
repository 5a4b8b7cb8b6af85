"""What may be said about an arm beside its control, in words."""

import dataclasses

import numpy as np

from resnet_jax.ablation import power
from resnet_jax.ablation.correction import Decision
from resnet_jax.ablation.statistics import Contrast

KINDS = ("better", "worse", "equivalent", "underpowered", "undecided", "withheld")
"""The first three are claims; all claims of a table are false with at most its level together."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Attributes:
    kind: one of `KINDS`.
    text: the verdict in words, in points.
    needs: seeds an arm, where more of them are what is missing.
    """

    kind: str
    text: str
    needs: int | None = None


@dataclasses.dataclass(frozen=True)
class Side:
    """One arm of a comparison: its name, the runs that count, and how many of all diverged."""

    name: str
    n: int
    diverged: int
    runs: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was declared beforehand, in the unit of the results.

    Attributes:
        margin, smallest: region of practical equivalence, smallest difference of interest.
        comparisons: arms with a control.
    """

    test: str
    margin: float
    smallest: float
    level: float
    comparisons: int


def judge(
    contrast: Contrast,
    decision: Decision,
    arm: Side,
    control: Side,
    plan: Plan,
    spread: float | None,
) -> Verdict:
    """Puts a decision into words, and withholds what divergence would bias.

    The mean of an arm with diverged runs is over those that did not diverge, so it flatters the arm.
    A claim that the flattery works against stands ("worse" of such an arm, "better" than such a
    control); one that it works for, and any equivalence, is withheld. Withholding removes claims
    only, so the error of the table stays under its level.

    Args:
        contrast: of the two arms.
        decision: of `correction.decide`.
        arm: how its runs ended.
        control: likewise.
        plan: what was declared.
        spread: as `power.power` wants it for the test; None with too few runs to know.
    """
    aside = _aside(arm, control)
    if not arm.n or not control.n:
        return Verdict("withheld", f"withheld: {aside or 'no finished runs to compare'}")
    size, higher = points(abs(contrast.difference)), contrast.difference > 0
    # At the level of the test, so that the interval excludes 0 exactly where a difference is claimed.
    low, high = contrast.interval(1 - decision.level)
    found = f"{size} points {_span(low, high) if higher else _span(-high, -low)}"
    if decision.equivalent and not (arm.diverged or control.diverged):
        span = _span(*contrast.interval(1 - 2 * decision.equivalence_level))
        text = f"equivalent: within {points(plan.margin)} points {span}"
        if decision.different:
            text += f", though {'higher' if higher else 'lower'} by {found}"
        return Verdict("equivalent", text)
    if decision.different and not (arm.diverged if higher else control.diverged):
        kind = "better" if higher else "worse"
        text = f"{kind} by {found}"
        return Verdict(kind, f"{text}; {aside}" if aside else text)
    if decision.different or decision.equivalent:
        return Verdict("withheld", f"withheld: {aside}; the mean of the rest flatters")
    verdict = _short_of(contrast, min(arm.n, control.n), plan, spread)
    if aside:
        return dataclasses.replace(verdict, text=f"{verdict.text}; {aside}")
    return verdict


def _short_of(contrast: Contrast, n: int, plan: Plan, spread: float | None) -> Verdict:
    """Why there is no claim: too few seeds, for a difference or else for equivalence."""
    if spread is None:
        fewest = power.seeds_to_speak(plan.comparisons, plan.test, plan.level)
        needs = max(fewest, n + 1)
        return Verdict(
            "underpowered", f"underpowered: needs n = {needs} to know the spread (has {n})", needs
        )
    if np.isnan(contrast.p):
        return Verdict("undecided", "undecided: no spread between seeds to measure an error with")
    rest = plan.comparisons, plan.test, plan.level
    needs = power.seeds_needed(spread, plan.smallest, *rest)
    if n < needs:
        return Verdict("underpowered", f"underpowered: needs n = {needs:,} (has {n})", needs)
    needs = power.seeds_for_equivalence(spread, plan.margin, *rest)
    if n < needs:
        text = f"underpowered: needs n = {needs:,} to show equivalence (has {n})"
        return Verdict("underpowered", text, needs)
    return Verdict(
        "undecided", f"undecided: n = {n} would show most differences and most equivalences"
    )


def _aside(*sides: Side) -> str:
    """Which runs diverged."""
    return " and ".join(
        f"{side.diverged} of {side.runs} runs of {side.name} diverged"
        for side in sides
        if side.diverged
    )


def _span(low: float, high: float) -> str:
    return f"({points(low)} to {points(high)})"


def points(fraction: float) -> str:
    """A fraction of the test images in percentage points."""
    text = f"{100 * fraction:.2f}"
    return "0.00" if text == "-0.00" else text
