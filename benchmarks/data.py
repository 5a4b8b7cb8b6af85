"""What drawing and augmenting a batch costs: a training step as it is beside one on a constant batch.

    python benchmarks/data.py
    python benchmarks/data.py --processes 5 --write docs/speed.md

Both steps in one process, in turn; a process's ratio is the median of its rounds, the figure the
median over processes.
"""

import argparse
import dataclasses
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, tables
from benchmarks.networks import NETWORKS
from benchmarks.workloads import Workload, ours


def one_process(work: Workload, rounds: int, steps: int) -> dict[str, float]:
    """Milliseconds of both steps, and their ratio."""
    kinds = {"augmented": work, "constant": dataclasses.replace(work, constant=True)}
    seconds = processes.rounds({kind: ours(w)[0] for kind, w in kinds.items()}, rounds, steps)
    medians = {kind: 1000 * statistics.median(each) for kind, each in seconds.items()}
    return medians | {"ratio": processes.ratio(seconds["augmented"], seconds["constant"])}


def measure(net: str, args: argparse.Namespace) -> tables.Row:
    """A row for a network."""
    results = [
        processes.call("data:one_process", Workload(net), args.rounds, args.steps)
        for _ in range(args.processes)
    ]
    median = {key: statistics.median(result[key] for result in results) for key in results[0]}
    ratios = [result["ratio"] for result in results]
    return {
        "net": net,
        "constant batch, ms": f"{median['constant']:.1f}",
        "drawn and augmented, ms": f"{median['augmented']:.1f}",
        "ratio": f"{median['ratio']:.3f}",
        "processes": f"{min(ratios):.3f} to {max(ratios):.3f}, n = {len(ratios)} of {args.rounds} rounds",
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", nargs="+", choices=NETWORKS, default=["resnet20"])
    parser.add_argument("--processes", type=int, default=1, help="(default 1)")
    parser.add_argument("--rounds", type=int, default=15, help="of both in turn (default 15)")
    parser.add_argument("--steps", type=int, default=3, help="a round (default 3)")
    parser.add_argument("--write", type=Path, help="put the rows into this file's table as well")
    args = parser.parse_args()
    print(f"{tables.hardware()}; {tables.versions('jax')}; training, batch 128, crop(4) flip")
    tables.show("data", [measure(net, args) for net in args.net], args.write)


if __name__ == "__main__":
    main()
