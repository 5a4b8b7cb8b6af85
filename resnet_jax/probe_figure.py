"""The rows of `probes.jsonl` as a picture: by depth, and over time."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_jax import figure as pictures
from resnet_jax import probes
from resnet_jax.errors import WorkdirError

_LOGARITHMIC = ("ratio", "gradient_norm", "variance")
"""Measures of which factors matter, not differences."""

_MOST_LINES = 7
"""Steps that are shown by depth."""


def draw(workdir: Path, out: Path) -> None:
    """Draws every measure by depth, at a few steps, and over the epochs, for every unit.

    Args:
        workdir: of a run with `probe.every`.
        out: picture to write.

    Raises:
        ConfigError: `out` is no png, svg or pdf.
        WorkdirError: no rows to draw, or `out` cannot be written.
    """
    pictures.check(out)
    path = workdir / probes.FILE
    if workdir.is_dir() and not path.exists():
        raise WorkdirError(
            f"{workdir} has no {probes.FILE}; train with, say, --config.probe.every=100"
        )
    rows = probes.rows(path)
    if not rows:
        raise WorkdirError(f"{path}: no rows to draw yet; run the training first")
    pictures.save(_figure(rows, workdir.absolute().name), out, dpi=110)


def _figure(rows: Sequence[dict[str, Any]], title: str) -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    shown = [name for name in probes.MEASURES if _has_values(rows, name)]
    units, epochs = rows[-1]["units"], [row["epoch"] for row in rows]
    figure = Figure(figsize=(11, 1.2 + 2.6 * len(shown)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(shown), 2, sharex="col", squeeze=False)
    times = Normalize(epochs[0], max(epochs[-1], epochs[0] + 1e-9))
    depths = Normalize(1, max(len(units), 2))
    early_to_late, shallow_to_deep = colormaps["viridis"].reversed(), colormaps["plasma"]
    for (by_depth, over_time), name in zip(grid, shown, strict=True):
        by_depth.set_title(probes.MEASURES[name], loc="left", fontsize="medium")
        for row in _spread(rows):
            _plot(by_depth, range(1, len(units) + 1), row[name], early_to_late(times(row["epoch"])))
        for number in range(len(units)):
            values = [row[name][number] for row in rows]
            _plot(over_time, epochs, values, shallow_to_deep(depths(number + 1)))
        for axes in (by_depth, over_time):
            axes.grid(alpha=0.3)
            if name in _LOGARITHMIC:
                _logarithmic(axes)
        _mark_stages(by_depth, units)
    grid[-1][0].set(xlabel="unit, by depth (dashed: a stage begins)")
    grid[-1][1].set(xlabel="epoch")
    for column, norm, colours, label in (
        (0, times, early_to_late, "epoch"),
        (1, depths, shallow_to_deep, "unit"),
    ):
        axes = list(grid[:, column])
        mappable = ScalarMappable(norm, colours)
        figure.colorbar(mappable, ax=axes, location="top", label=label, aspect=50, shrink=0.8)
    return figure


def _has_values(rows: Sequence[dict[str, Any]], name: str) -> bool:
    """Plain nets have no shortcut to compare with."""
    return any(value is not None for row in rows for value in row[name])


def _spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first, the last and some rows between."""
    count = min(len(rows), _MOST_LINES)
    return [rows[round(i * (len(rows) - 1) / max(1, count - 1))] for i in range(count)]


def _plot(axes: Any, x: Sequence[float], values: Sequence[float | None], colour: Any) -> None:
    y = [math.nan if value is None else value for value in values]
    axes.plot(x, y, color=colour, marker=".", markersize=4, linewidth=1.2)


def _logarithmic(axes: Any) -> None:
    """A logarithmic y axis with plain numbers, and enough of them where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not math.isfinite(axes.dataLim.minposy):
        return  # nothing but zeros
    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5, 7)))
    axes.yaxis.set_minor_formatter(plain if high < 20 * low else NullFormatter())


def _mark_stages(axes: Any, units: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number, name in enumerate(units, 1):
        if number > 1 and name.endswith("/block1"):
            axes.axvline(number - 0.5, color="0.6", linewidth=0.8, linestyle="--")
