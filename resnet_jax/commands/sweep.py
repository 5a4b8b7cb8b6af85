"""Runs the arms and seeds of a sweep; the same command goes on where it was stopped.

python -m resnet_jax sweep configs/ablations/digits.py
python -m resnet_jax sweep configs/ablations/he2016_placements.py:cpu --seeds 4 --jobs 2
python -m resnet_jax sweep configs/ablations/digits.py --set model.depth=8,14
python -m resnet_jax sweep configs/ablations/digits.py --only 2/8      (the second of eight shares)
python -m resnet_jax sweep configs/ablations/digits.py --on slurm --jobs 8

Exit code: that of the first run, in the order of the arms and seeds, that failed or diverged; 75
if it was stopped, or runs are under way elsewhere: the same command goes on.
"""

import argparse
import signal
import sys
from pathlib import Path

STOPPED = 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "config", metavar="FILE[:VARIANT]", help="such as configs/ablations/NAME.py"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="0 to N-1; default: the config's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=V1,V2",
        help="in every arm; several values multiply the arms; may be repeated",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes at once, or shares for --on; default: 1"
    )
    parser.add_argument("--only", metavar="I/N", help="the I-th, from 1, of N shares of the runs")
    parser.add_argument(
        "--on",
        choices=("local", "ray", "slurm"),
        default="local",
        help="ray: a share a task, on the cluster of RAY_ADDRESS or on this machine; "
        "slurm: write the script of a job array",
    )
    parser.add_argument(
        "--cpus", type=int, default=1, metavar="N", help="cores that a task of Ray asks for"
    )
    parser.add_argument(
        "--gpus", type=float, default=0, metavar="N", help="GPUs that a task of Ray asks for"
    )
    parser.add_argument("--directory", metavar="DIR", type=Path, help="default: runs/sweeps/NAME")
    parser.add_argument(
        "--dry-run", action="store_true", help="check every arm, estimate the time, write nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the sweep; returns the exit code."""
    from resnet_jax.ablation import launch

    file, _, argument = args.config.partition(":")
    order = launch.Order(
        file=file,
        argument=argument or None,
        seeds=args.seeds,
        settings=tuple(args.set),
        only=args.only,
        jobs=1 if args.jobs is None else args.jobs,
        on=args.on,
        cpus=args.cpus,
        gpus=args.gpus,
        directory=args.directory,
    )
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:  # what a cluster sends some time before it kills
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return launch.launch(order, dry_run=args.dry_run)
    except KeyboardInterrupt:
        print("stopped; what is saved stays: run the same command again", file=sys.stderr)
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
