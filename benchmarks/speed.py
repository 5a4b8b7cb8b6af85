"""Speed of our ResNets beside the same ones in plain PyTorch, as ratios measured in one run.

    pip install torch                                         (only for this comparison)
    python benchmarks/speed.py                       (ResNet-20, batch 128, float32, CPU)
    python benchmarks/speed.py --net wrn16_4 resnet18 --processes 5
    python benchmarks/speed.py --mode inference --backend xla
    python benchmarks/speed.py --net resnet20 --processes 5 --write docs/speed.md

Images per second: both networks in one process, in turn, round by round; a process's ratio is the
median of its rounds' ratios, so that a machine whose speed drifts does not decide it; and the figure is
the median over processes, which differ. Our training step draws, crops and flips its images; PyTorch
gets one constant batch in channels_last layout.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, tables
from benchmarks.networks import NETWORKS
from benchmarks.workloads import SIDES, Workload


def one_process(work: Workload, rounds: int, steps: int) -> dict:
    """Rounds of both in turn, in this process.

    Raises:
        ValueError: the two networks differ.
    """
    # JAX comes first: its process-wide settings must precede its import.
    made = {name: SIDES[name](work) for name in ("resnet_jax", "torch")}
    counts = {count for _, count in made.values()}
    if len(counts) != 1:
        raise ValueError(f"the networks differ, they have {sorted(counts)} parameters")
    seconds = processes.rounds({name: step for name, (step, _) in made.items()}, rounds, steps)
    return {
        "parameters": counts.pop(),
        "speed": {name: work.batch / statistics.median(each) for name, each in seconds.items()},
        "ratio": processes.ratio(seconds["torch"], seconds["resnet_jax"]),
    }


def measure(work: Workload, args: argparse.Namespace) -> tables.Row:
    """The figures of one network over all processes, as a row."""
    results = [
        processes.call("speed:one_process", work, args.rounds, args.steps)
        for _ in range(args.processes)
    ]
    ratios = [result["ratio"] for result in results]
    speed = {side: statistics.median(result["speed"][side] for result in results) for side in SIDES}
    backend = "" if work.backend == "auto" else f", {work.backend}"
    return {
        "what": f"{work.net} {'training' if work.train else 'inference'}{backend}",
        "parameters": f"{results[0]['parameters']:,}",
        "PyTorch, images/s": f"{speed['torch']:,.0f}",
        "resnet_jax, images/s": f"{speed['resnet_jax']:,.0f}",
        "ratio": f"**{statistics.median(ratios):.2f}**",
        "processes": f"{min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)} of {args.rounds} rounds",
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", nargs="+", choices=NETWORKS, default=["resnet20"])
    parser.add_argument("--mode", choices=("train", "inference"), default="train")
    parser.add_argument("--backend", choices=("auto", "xla", "native"), default="auto")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default 128)")
    parser.add_argument("--processes", type=int, default=1, help="(default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="of both in turn (default 9)")
    parser.add_argument("--steps", type=int, default=3, help="a round (default 3)")
    parser.add_argument("--write", type=Path, help="put the rows into this file's table as well")
    args = parser.parse_args()
    print(f"{tables.hardware()}; {tables.versions('jax', 'torch')}; float32, batch {args.batch}")
    rows = []
    for net in args.net:
        work = Workload(net, args.mode == "train", args.batch, args.backend)
        rows.append(measure(work, args))
    tables.show("speed", rows, args.write)


if __name__ == "__main__":
    main()
