"""Peak resident memory of a process that trains, beside PyTorch's, and what `model.remat` saves.

    pip install torch                                         (only for this comparison)
    python benchmarks/memory.py
    python benchmarks/memory.py --net resnet20 resnet110 --write docs/speed.md

Each figure is a process of its own that takes some steps at batch 128: with the training set in memory
on our side (154 MB), with one batch on PyTorch's.
"""

import argparse
import resource
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, tables
from benchmarks.networks import NETWORKS
from benchmarks.workloads import SIDES, Workload

VARIANTS = {
    "PyTorch": ("torch", {}),
    "resnet_jax": ("resnet_jax", {}),
    "resnet_jax, remat": ("resnet_jax", {"remat": True}),
    "resnet_jax, memory given back": ("resnet_jax", {"memory": False}),
    "resnet_jax, xla": ("resnet_jax", {"backend": "xla"}),
    "resnet_jax, xla, remat": ("resnet_jax", {"backend": "xla", "remat": True}),
}


def one_process(side: str, work: Workload, steps: int) -> dict[str, float]:
    """Peak resident megabytes, and seconds a step."""
    step, _ = SIDES[side](work)
    seconds = processes.rounds({"": step}, steps, 1)[""]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux
    return {"megabytes": peak * 1024 / 1e6, "seconds": statistics.median(seconds)}


def measure(net: str, steps: int) -> list[tables.Row]:
    """A row for each variant of a network."""
    rows = []
    for name, (side, more) in VARIANTS.items():
        result = processes.call("memory:one_process", side, Workload(net, **more), steps)
        rows.append(
            {
                "what": f"{net} {name}",
                "peak, MB": f"{result['megabytes']:,.0f}",
                "ms a step": f"{1000 * result['seconds']:,.0f}",
            }
        )
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", nargs="+", choices=NETWORKS, default=["resnet20", "resnet110"])
    parser.add_argument("--steps", type=int, default=5, help="(default 5)")
    parser.add_argument("--write", type=Path, help="put the rows into this file's table as well")
    args = parser.parse_args()
    print(f"{tables.hardware()}; {tables.versions('jax', 'torch')}; training, batch 128, float32")
    rows = [row for net in args.net for row in measure(net, args.steps)]
    tables.show("memory", rows, args.write)


if __name__ == "__main__":
    main()
