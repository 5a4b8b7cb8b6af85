"""What each setting for the CPU is worth, beside plain Flax and PyTorch, in processes that alternate.

    pip install torch                                         (only for this comparison)
    python benchmarks/settings.py
    python benchmarks/settings.py --rounds 9 --write docs/speed.md

Settings of a process cannot be changed within it, so each variant has processes of its own, which
take turns; a round's ratio is to plain Flax of the same round, and the figure the median of the rounds.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, tables
from benchmarks.networks import NETWORKS
from benchmarks.workloads import SIDES, Workload

PLAIN = "plain Flax"
VARIANTS = {
    PLAIN: {"backend": "xla", "memory": False, "flag": False},
    "memory that stays": {"backend": "xla", "flag": False},
    "XLA's flag": {"backend": "xla", "memory": False},
    "both settings": {"backend": "xla"},
    "native convolutions": {},
}


def one_process(side: str, work: Workload, steps: int) -> float:
    """Images per second."""
    step, _ = SIDES[side](work)
    seconds = processes.rounds({"": step}, steps, 1)[""]
    return work.batch / statistics.median(seconds)


def measure(args: argparse.Namespace) -> list[tables.Row]:
    """A row for each variant."""
    runs = [(name, "resnet_jax", Workload(args.net, **more)) for name, more in VARIANTS.items()]
    runs.append(("PyTorch", "torch", Workload(args.net)))
    speeds: dict[str, list[float]] = {name: [] for name, _, _ in runs}
    for _ in range(args.rounds):
        for name, side, work in runs:
            speeds[name].append(processes.call("settings:one_process", side, work, args.steps))
    return [
        {
            "setting": name,
            "images/s": f"{statistics.median(speed):,.0f}",
            "times plain Flax": f"{processes.ratio(speed, speeds[PLAIN]):.2f}",
            "of PyTorch": f"{processes.ratio(speed, speeds['PyTorch']):.2f}",
        }
        for name, speed in speeds.items()
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=NETWORKS, default="resnet20")
    parser.add_argument("--rounds", type=int, default=3, help="processes a variant (default 3)")
    parser.add_argument("--steps", type=int, default=15, help="a process (default 15)")
    parser.add_argument("--write", type=Path, help="put the rows into this file's table as well")
    args = parser.parse_args()
    print(f"{tables.hardware()}; {tables.versions('jax', 'torch')}; {args.net} training, batch 128")
    tables.show("settings", measure(args), args.write)


if __name__ == "__main__":
    main()
