"""The cost of each arm as cells of a table."""

from collections.abc import Mapping
from typing import Any

from resnet_jax.ablation.table import Table

NOTE = (
    "Cost: of a run, mean of the finished ones. Seconds: with evaluation and saving, on the machine that "
    "ran it. Optimizer: memory of its state. TFLOP: arithmetic of all training steps as XLA counts it for "
    "its own convolutions. What the weights cost that an arm starts from is not in its row."
)
"""What the columns mean."""


def is_known(table: Table) -> bool:
    """Whether the rows of any arm say what they cost."""
    return any(arm.cost is not None for arm in table.arms)


def cells(table: Table) -> list[list[str]]:
    """A header and one row an arm, as text; accuracy in percent beside its cost."""
    rows = [["arm", "mean", "spread", "seconds", "optimizer", "TFLOP", "TFLOP of its control"]]
    flops = {arm.name: arm.cost.flops for arm in table.arms if arm.cost is not None}
    for arm in table.arms:
        if arm.cost is None or arm.summary.mean is None:
            continue
        spread, control = arm.summary.spread, flops.get(arm.control)
        rows.append(
            [
                "  " * arm.nesting + arm.name,
                f"{100 * arm.summary.mean:.2f}%",
                "-" if spread is None else f"{100 * spread:.2f}",
                f"{arm.cost.seconds:,.0f}",
                _bytes(arm.cost.optimizer_bytes),
                f"{arm.cost.flops / 1e12:,.4g}",
                f"x {arm.cost.flops / control:.2f}" if control else "-",
            ]
        )
    return rows


def record(cost: Any) -> Mapping[str, float | None]:
    """The columns of a CSV; `cost` is that of an arm, or None."""
    names = ("seconds", "optimizer_bytes", "flops")
    return {name: None if cost is None else getattr(cost, name) for name in names}


def _bytes(count: float) -> str:
    """`948 B`, `12.3 kB`, `1.09 MB`."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
