"""Writes the table of a sweep: Markdown, CSV, LaTeX, a picture, and what may be claimed.

Where the rows say what their runs have cost, there is a second picture, cost.png.

python -m resnet_jax table runs/sweeps/NAME
python -m resnet_jax table runs/sweeps/NAME --to docs/ablations/NAME --json

It reads sweep.json and rows/ alone; docs/ablations.md explains how to read it.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("sweep", metavar="SWEEP", type=Path, help="directory of a sweep")
    parser.add_argument(
        "--to", metavar="DIR", type=Path, help="where the files go; default: the sweep's directory"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Writes table.md, .csv, .tex and .png and prints the table; returns the exit code."""
    from resnet_jax.ablation import analysis, cost_picture, cost_table, picture, render

    table = analysis.analyse(args.sweep)
    folder = args.to or args.sweep
    texts = {
        "table.md": render.markdown(table),
        "table.csv": render.comma_separated(table),
        "table.tex": render.latex(table),
    }
    for name, text in texts.items():
        _write(folder / name, text)
    picture.draw(table, folder / "table.png")
    names = [*texts, "table.png"]
    if cost_table.is_known(table):
        cost_picture.draw(table, folder / "cost.png")
        names.append("cost.png")
    if args.json:
        print(render.dumps(table))
    else:
        print(texts["table.md"])
        print(f"written: {', '.join(names[:-1])} and {names[-1]} in {folder}")
    return 0


def _write(path: Path, text: str) -> None:
    from resnet_jax.errors import WorkdirError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise WorkdirError(f"cannot write {path}: {error.strerror}; choose another --to") from None
