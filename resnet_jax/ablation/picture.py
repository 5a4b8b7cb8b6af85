"""The table of a sweep as a picture: every single run is a point."""

import textwrap
from pathlib import Path
from typing import Any

from resnet_jax.ablation.render import warning
from resnet_jax.ablation.table import ArmResult, Table
from resnet_jax.errors import WorkdirError

# Okabe and Ito's palette, told apart with any colour vision; controls are black.
COLORS = {"better": "#0072B2", "worse": "#D55E00", "equivalent": "#009E73"}
_UNDECIDED, _CONTROL = "0.45", "black"

_ROW_INCHES = 0.42
_GAP = 0.6  # rows between groups


def draw(table: Table, out: Path) -> None:
    """Draws one row an arm: its runs, their mean and its interval, and the verdict beside it.

    The dashed line is the mean of the control that the arms below it are compared with.

    Raises:
        WorkdirError: `out` cannot be written.
    """
    figure = _figure(table)
    try:
        figure.savefig(out, dpi=150)
    except OSError as error:
        raise WorkdirError(f"cannot write {out}: {error.strerror}; choose another --to") from None


def _figure(table: Table) -> Any:
    # A Figure object instead of pyplot, which would keep global state and may want a display.
    from matplotlib.figure import Figure

    heights = _heights(table)
    bottom = max(heights.values()) + 0.7
    figure = Figure(figsize=(11, 1.5 + _ROW_INCHES * (bottom + 0.7)), layout="constrained")
    figure.set_facecolor("white")
    axes = figure.subplots()
    verdicts = {c.arm: c.verdict for c in table.comparisons}
    for arm in table.arms:
        verdict = verdicts.get(arm.name)
        color = _CONTROL if verdict is None else COLORS.get(verdict.kind, _UNDECIDED)
        _row(axes, arm, heights[arm.name], color)
        axes.annotate(
            "\n".join(textwrap.wrap(verdict.text, 46)) if verdict else "",
            (1.01, heights[arm.name]),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=color,
            annotation_clip=False,
        )
    _controls(axes, table, heights)
    axes.set_ylim(bottom, -0.7)  # first arm on top
    axes.set_yticks(list(heights.values()), [_label(arm) for arm in table.arms])
    for arm, label in zip(table.arms, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if arm.control is None else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "test accuracy after the last epoch, %; points: runs, diamonds: means with their "
        f"{100 * (1 - table.declaration.level):g}% interval, dashed: mean of the control"
    )
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    _title(figure, table)
    return figure


def _heights(table: Table) -> dict[str, float]:
    """The y of each arm; a gap comes before each outermost control."""
    heights, y = {}, 0.0
    for number, arm in enumerate(table.arms):
        if number:
            y += 1.0
            # Single arms that nothing is compared with stay together.
            alone = arm.nesting == 0 and table.arms[number - 1].nesting == 0
            y += _GAP if arm.nesting == 0 and not alone else 0.0
        heights[arm.name] = y
    return heights


def _row(axes: Any, arm: ArmResult, y: float, color: str) -> None:
    """Runs lie above the mean, in the order of their seeds one below another, so that all show."""
    values = [100 * accuracy for accuracy in arm.accuracies]
    step = 0.3 / max(len(values) - 1, 1)
    offsets = [y - 0.32 + step * number for number in range(len(values))]
    axes.scatter(values, offsets, s=16, color=color, alpha=0.5, linewidths=0, zorder=2)
    s, below = arm.summary, y + 0.16
    if s.low is not None:
        ends = [100 * s.low, 100 * s.high]
        axes.plot(ends, [below] * 2, color=color, linewidth=1.5, marker="|", zorder=3)
    if s.mean is not None:
        axes.scatter([100 * s.mean], [below], s=30, marker="D", color=color, zorder=4)


def _controls(axes: Any, table: Table, heights: dict[str, float]) -> None:
    """The mean of each control as a line through the arms compared with it."""
    for control in table.arms:
        below = [heights[arm.name] for arm in table.arms if arm.control == control.name]
        if below and control.summary.mean is not None:
            mean = 100 * control.summary.mean
            ends = [heights[control.name], max(below) + 0.4]
            axes.plot([mean, mean], ends, color="0.3", linewidth=1, linestyle="--", zorder=1)


def _label(arm: ArmResult) -> str:
    counts = {"diverged": arm.diverged, "failed": arm.failed, "missing": arm.missing}
    lost = [f"{count} {kind}" for kind, count in counts.items() if count]
    return f"{arm.name}  ({', '.join([f'n = {arm.summary.n}', *lost])})"


def _title(figure: Any, table: Table) -> None:
    declared, first = table.declaration, warning(table)
    lines = textwrap.wrap(f"{declared.name}: {declared.question}", 110)
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=12)
    if first:
        text = "\n".join(textwrap.wrap(first, 105))
        figure.axes[0].set_title(text, loc="left", fontsize=9, color="#B00020")
