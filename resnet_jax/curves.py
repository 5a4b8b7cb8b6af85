"""Learning curves as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_jax import workdir as files
from resnet_jax import writer
from resnet_jax.errors import ConfigError, WorkdirError

FORMATS = (".png", ".svg", ".pdf")
_STYLES = {"train": "-", "validation": "--"}


def draw(workdirs: Sequence[Path], out: Path) -> None:
    """Draws loss (log scale) and error of runs over their epochs.

    Training and validation rows are lines, the test row is a point with its value.

    Args:
        workdirs: of runs, finished or not.
        out: picture to write.

    Raises:
        ConfigError: `out` is no png, svg or pdf.
        WorkdirError: no rows to draw, or `out` cannot be written.
    """
    if out.suffix not in FORMATS:
        raise ConfigError(f"--out {out}: expected a name that ends in {', '.join(FORMATS)}")
    runs = {workdir: writer.read(workdir / files.METRICS) for workdir in workdirs}
    empty = [str(workdir) for workdir, rows in runs.items() if not rows]
    if empty:
        raise WorkdirError(f"{', '.join(empty)}: no rows to draw yet; run the training first")

    # Figure objects instead of pyplot, which would keep global state and may want a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, error_axes = figure.subplots(1, 2)
    for number, (workdir, rows) in enumerate(runs.items()):
        label = workdir.name if len(runs) > 1 else ""
        _draw_run(loss_axes, error_axes, rows, f"C{number}", label)
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy", title="loss", yscale="log")
    error_axes.set(xlabel="epoch", ylabel="error, %", title="error", ylim=(0, None))
    for axes in (loss_axes, error_axes):
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
    error_axes.legend()
    if len(runs) == 1:
        figure.suptitle(workdirs[0].name)
    try:
        figure.savefig(out, dpi=120)
    except OSError as error:
        raise WorkdirError(f"cannot write {out}: {error.strerror}; choose another --out") from None


def _draw_run(loss_axes: Any, error_axes: Any, rows: list[dict], color: str, label: str) -> None:
    """Adds one run's rows to both axes."""
    for split in dict.fromkeys(row["split"] for row in rows):
        chosen = [row for row in rows if row["split"] == split]
        epochs = [row["epoch"] for row in chosen]
        errors = [100 * (1 - row["accuracy"]) for row in chosen]
        losses = [row["loss"] for row in chosen]
        name = f"{label} {split}".strip()
        if split in _STYLES:
            style = {"color": color, "linestyle": _STYLES[split]}
            loss_axes.plot(epochs, losses, **style)
            error_axes.plot(epochs, errors, label=name, **style)
            continue
        point = {"color": color, "marker": "o", "linestyle": "", "clip_on": False, "zorder": 3}
        loss_axes.plot(epochs[-1:], losses[-1:], **point)
        error_axes.plot(epochs[-1:], errors[-1:], label=f"{name}: {errors[-1]:.2f}%", **point)
