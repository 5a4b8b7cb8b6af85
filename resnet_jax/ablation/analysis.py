"""From the declaration and the rows of a sweep to its table; `render.py` prints it."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnet_jax.ablation import caveats, comparison, reach, statistics
from resnet_jax.ablation.rows import Cost, Declaration, Row, read_declaration, read_rows
from resnet_jax.ablation.table import ArmResult, Table


def analyse(sweep: Path) -> Table:
    """Reads a sweep directory and computes its table.

    Raises:
        WorkdirError: it is no sweep, has no rows, or one of its files is damaged.
    """
    declaration = read_declaration(sweep)
    return tabulate(declaration, read_rows(sweep, declaration))


def tabulate(declared: Declaration, rows: Sequence[Row]) -> Table:
    """Computes the table of a sweep."""
    arms = tuple(_arm(declared, rows, name, nesting) for name, nesting in _order(declared))
    differing = caveats.differing(declared, rows)
    correct = {} if any("test images" in text for text in differing) else _correct(arms, rows)
    return Table(
        declaration=declared,
        warnings=(*caveats.incomplete(arms), *caveats.extended(declared), *differing),
        arms=arms,
        comparisons=comparison.compare(declared, arms, correct),
        disagreements=reach.disagreements(correct) if len(correct) > 1 else (),
    )


def _order(declared: Declaration) -> list[tuple[str, int]]:
    """Names of arms with their nesting: each control is followed by what is compared with it."""

    def below(control: str | None, nesting: int) -> list[tuple[str, int]]:
        found = []
        for arm in declared.arms:
            if arm.control == control:
                found += [(arm.name, nesting), *below(arm.name, nesting + 1)]
        return found

    return below(None, 0)


def _arm(declared: Declaration, rows: Sequence[Row], name: str, nesting: int) -> ArmResult:
    arm = next(arm for arm in declared.arms if arm.name == name)
    mine = [row for row in rows if row.arm == name]
    done = [row for row in mine if row.status == "done"]
    ends = Counter(row.status for row in mine)
    values = tuple(row.accuracy for row in done)
    return ArmResult(
        name=name,
        control=arm.control,
        added=arm.added,
        nesting=nesting,
        summary=statistics.summary(np.array(values), declared.level),
        seeds=tuple(row.seed for row in done),
        accuracies=values,
        diverged=ends["diverged"],
        failed=ends["failed"],
        missing=len(declared.seeds) - len(mine),
        cost=_cost([row.cost for row in done]),
    )


def _cost(costs: Sequence[Cost | None]) -> Cost | None:
    """The mean of all runs, None if one is unknown."""
    if not costs or None in costs:
        return None
    names = [field.name for field in dataclasses.fields(Cost)]
    return Cost(**{name: float(np.mean([getattr(c, name) for c in costs])) for name in names})


def _correct(arms: Sequence[ArmResult], rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Bool `[n, N]` by arm, for the arms of which every finished run has kept its answers."""
    done = {
        arm.name: [r.correct for r in rows if r.arm == arm.name and r.status == "done"]
        for arm in arms
    }
    return {
        name: np.stack(kept)
        for name, kept in done.items()
        if kept and all(c is not None for c in kept)
    }
