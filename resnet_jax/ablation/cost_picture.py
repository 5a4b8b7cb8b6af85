"""Accuracy against cost: what an arm gains, and what its training takes."""

from pathlib import Path
from typing import Any

from resnet_jax.ablation.table import ArmResult, Table
from resnet_jax.errors import WorkdirError

# Okabe and Ito's palette; a control and the arms compared with it share a colour.
_COLORS = ("black", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def draw(table: Table, out: Path) -> None:
    """Draws every arm with known cost as its mean, with the spread between seeds.

    Raises:
        WorkdirError: `out` cannot be written.
    """
    figure = _figure(table)
    try:
        figure.savefig(out, dpi=150)
    except OSError as error:
        raise WorkdirError(f"cannot write {out}: {error.strerror}; choose another --to") from None


def _figure(table: Table) -> Any:
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    figure.set_facecolor("white")
    axes = figure.subplots()
    group = -1
    for arm in table.arms:
        group += arm.nesting == 0
        if arm.cost is not None and arm.summary.mean is not None:
            _point(axes, arm, _COLORS[group % len(_COLORS)])
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_xlabel("TFLOP of a run's training")
    axes.set_ylabel("test accuracy after the last epoch, %; bars: spread between seeds")
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.margins(x=0.15)
    axes.set_title(f"{table.declaration.name}: accuracy and cost", loc="left", fontsize=12)
    return figure


def _point(axes: Any, arm: ArmResult, color: str) -> None:
    x, y = arm.cost.flops / 1e12, 100 * arm.summary.mean
    spread = 100 * (arm.summary.spread or 0.0)
    marker = "D" if arm.control is None else "o"
    axes.errorbar([x], [y], yerr=[spread], color=color, marker=marker, capsize=3)
    axes.annotate(
        arm.name, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=9, color=color
    )
