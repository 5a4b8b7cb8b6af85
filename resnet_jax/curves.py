"""Learning curves as a picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_jax import figure as pictures
from resnet_jax import workdir as files
from resnet_jax import writer
from resnet_jax.errors import WorkdirError

_STYLES = {
    "train": {"linestyle": "-"},
    "validation": {"linestyle": "--"},
    "test": {"linestyle": "", "marker": "o", "clip_on": False, "zorder": 3},
}


def draw(workdirs: Sequence[Path], out: Path) -> None:
    """Draws loss and error of runs over their epochs, both on logarithmic scales.

    Training and validation rows are lines, the test row is a point. The legend below has a line a
    run, with its test error.

    Args:
        workdirs: of runs, finished or not.
        out: picture to write.

    Raises:
        ConfigError: `out` is no png, svg or pdf.
        WorkdirError: no rows to draw, or `out` cannot be written.
    """
    pictures.check(out)
    runs = {workdir: _rows(workdir) for workdir in workdirs}
    empty = [str(workdir) for workdir, rows in runs.items() if not rows]
    if empty:
        raise WorkdirError(f"{', '.join(empty)}: no rows to draw yet; run the training first")
    pictures.save(_figure(runs), out)


def _rows(workdir: Path) -> list[dict]:
    """The rows of a run; none of one that has stopped before its first."""
    path = workdir / files.METRICS
    if (workdir / files.CONFIG).exists() and not path.exists():
        return []
    return writer.read(path)


def _figure(runs: dict[Path, list[dict]]) -> Any:
    # Figure objects instead of pyplot, which would keep global state and may want a display.
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(10, 4 + 0.25 * len(runs)), layout="constrained")
    loss_axes, error_axes = figure.subplots(1, 2)
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy", title="loss")
    error_axes.set(xlabel="epoch", ylabel="wrong images, %", title="error")
    names = [workdir.absolute().name for workdir in runs]
    labels, splits = [], {}
    for number, (workdir, rows) in enumerate(runs.items()):
        color = f"C{number}"
        by_split = {s: [r for r in rows if r["split"] == s] for s in _STYLES}
        by_split = {split: chosen for split, chosen in by_split.items() if chosen}
        for split, chosen in by_split.items():
            style = {"color": color, **_STYLES[split]}
            if len(chosen) == 1:  # a line of one point is invisible
                style.setdefault("marker", ".")
            epochs = [row["epoch"] for row in chosen]
            loss_axes.plot(epochs, [row["loss"] for row in chosen], **style)
            error_axes.plot(epochs, [_error(row) for row in chosen], **style)
        splits |= by_split
        name = names[number] if names.count(names[number]) == 1 else str(workdir)
        result = (
            f"test error {_error(by_split['test'][-1]):.2f}%"
            if "test" in by_split
            else "not finished"
        )
        labels.append(Line2D([], [], color=color, label=f"{name}: {result}"))
    kinds = [
        Line2D([], [], color="0.3", label=split, **_STYLES[split])
        for split in _STYLES
        if split in splits
    ]
    loss_axes.legend(handles=kinds)
    figure.legend(handles=labels, loc="outside lower center")
    for axes in (loss_axes, error_axes):
        _logarithmic(axes)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    return figure


def _error(row: dict[str, Any]) -> float:
    """In percent."""
    return 100 * (1 - row["accuracy"])


def _logarithmic(axes: Any) -> None:
    """A logarithmic y axis with plain numbers; zeros, of which it has none, lie below its end."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if not math.isfinite(axes.dataLim.minposy):
        return  # nothing but zeros
    axes.set_yscale("log", nonpositive="clip")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
