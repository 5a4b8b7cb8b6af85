"""Draws loss and accuracy of one or more runs over their epochs, from their metrics.jsonl.

python -m resnet_jax curves runs/cifar10_resnet-s0
python -m resnet_jax curves runs/a runs/b --out comparison.png
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("workdirs", metavar="WORKDIR", nargs="+", type=Path, help="of a run")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="png, svg or pdf; default: curves.png in the first workdir",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the picture and prints where it is; returns the exit code."""
    from resnet_jax import curves

    out = args.out or args.workdirs[0] / "curves.png"
    curves.draw(args.workdirs, out)
    print(f"picture   {out}")
    return 0
