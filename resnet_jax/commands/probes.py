"""Draws what a run's residual units do, by depth and over time, from its probes.jsonl.

    python -m resnet_jax probes runs/cifar10_resnet-s0
    python -m resnet_jax probes runs/cifar10_resnet-s0 --out probes.svg

A run writes the file with, say, --config.probe.every=100.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("workdir", metavar="WORKDIR", type=Path, help="of a run")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="png, svg or pdf; default: WORKDIR/probes.png"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the picture and prints where it is; returns the exit code."""
    from resnet_jax import probe_figure

    out = args.out or args.workdir / "probes.png"
    probe_figure.draw(args.workdir, out)
    print(out)
    return 0
