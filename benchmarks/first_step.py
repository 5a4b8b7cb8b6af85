"""Seconds from starting Python to the end of the first training step, and of compiling, by depth.

    pip install torch                                         (only for this comparison)
    python benchmarks/first_step.py
    python benchmarks/first_step.py --net resnet20 resnet110 --starts 5 --write docs/speed.md

Both sides start a fresh process that reads the decoded CIFAR-10 and trains one step; their processes
alternate, and figures are medians. Cold: with an empty cache of compiled programs; warm: with the one
that the cold start has filled. `--random` has made-up images instead of CIFAR-10.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, tables
from benchmarks.networks import NETWORKS
from benchmarks.workloads import SIDES, Workload


def one_process(side: str, work: Workload, real: bool) -> float:
    """Takes a step; returns the seconds of making it, compilation included."""
    if real:
        from resnet_jax.data import source, spec

        source.load(spec.get("cifar10"), "train", None)
    step, _ = SIDES[side](work)
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(net: str, starts: int, real: bool) -> tables.Row:
    """A row for a network."""
    kinds = ("torch", "resnet_jax cold", "resnet_jax warm")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    compiling: list[float] = []
    for _ in range(starts):
        with tempfile.TemporaryDirectory() as cache:
            environ = {"JAX_COMPILATION_CACHE_DIR": cache}
            for kind in kinds:
                arguments = ("first_step:one_process", kind.split()[0], Workload(net), real)
                start = time.perf_counter()
                inner = processes.call(*arguments, environ=environ)
                seconds[kind].append(time.perf_counter() - start)
                if kind == "resnet_jax cold":
                    compiling.append(inner)
    median = {kind: statistics.median(each) for kind, each in seconds.items()}
    return {
        "net": net,
        "PyTorch, s": f"{median['torch']:.1f}",
        "resnet_jax cold, s": f"{median['resnet_jax cold']:.1f}",
        "resnet_jax warm, s": f"{median['resnet_jax warm']:.1f}",
        "of it trace, compile and step, s": f"{statistics.median(compiling):.1f}",
        "starts": str(starts),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", nargs="+", choices=NETWORKS, default=["resnet20"])
    parser.add_argument("--starts", type=int, default=1, help="of each kind (default 1)")
    parser.add_argument("--random", action="store_true", help="do not read CIFAR-10")
    parser.add_argument("--write", type=Path, help="put the rows into this file's table as well")
    args = parser.parse_args()
    print(f"{tables.hardware()}; {tables.versions('jax', 'torch')}; training, batch 128")
    rows = [measure(net, args.starts, not args.random) for net in args.net]
    tables.show("first_step", rows, args.write)


if __name__ == "__main__":
    main()
