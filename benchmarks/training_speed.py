"""Training speed of our ResNet beside a plain PyTorch one, as a ratio measured in one run.

    pip install torch                                   (only for this comparison)
    python benchmarks/training_speed.py                 (ResNet-20, batch 128, float32)
    python benchmarks/training_speed.py --depth 56 --rounds 15 --json

Two figures. Time to the first step: from starting Python until one step is done, in fresh processes
that alternate. Images per second: both networks in one process, in turn, round by round; the ratio is
the median of the rounds' ratios, so that a machine whose speed drifts does not decide it. Our step
draws, crops and flips its images, PyTorch's is given one constant batch in channels_last layout.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("torch", "resnet_jax")


def ours(depth: int, batch: int) -> tuple[Callable[[], None], int]:
    """A function that takes one training step of `cifar10_resnet`, and the parameter count."""
    sys.path.insert(0, str(ROOT))
    from resnet_jax import platform

    platform.prepare()
    import jax
    import numpy as np

    from configs import cifar10_resnet
    from resnet_jax import metrics, plan, sharding, step
    from resnet_jax.data import pipeline

    config = cifar10_resnet.get_config(f"depth={depth}")
    config.batch_size = batch
    made = plan.make(config)
    mesh = made.recipe.batches.mesh
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, 50_000).astype(np.int32)
    examples = pipeline.place(pipeline.Examples(images, labels), mesh)
    state = step.init_state(made.recipe, 0, made.dataset.image_shape)
    counted = jax.device_put(metrics.Metrics.empty(), sharding.replicated(mesh))
    run = step.compile_steps(made.recipe)

    def take() -> None:
        nonlocal state, counted
        state, counted = run(state, counted, examples, 1)
        jax.block_until_ready((state, counted))

    return take, made.parameters


def theirs(depth: int, batch: int) -> tuple[Callable[[], None], int]:
    """The same for PyTorch."""
    sys.path.insert(0, str(ROOT))
    from benchmarks import torch_resnet

    return torch_resnet.make_step(depth, batch, len(os.sched_getaffinity(0)))


MAKERS = {"torch": theirs, "resnet_jax": ours}


def first_step_seconds(name: str, args: argparse.Namespace) -> float:
    """Seconds from starting a process to the end of its first step."""
    command = [sys.executable, __file__, "--first-step", name]
    command += ["--depth", str(args.depth), "--batch", str(args.batch)]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def throughput(args: argparse.Namespace) -> tuple[dict[str, list[float]], set[int]]:
    """Seconds per step of each, round by round, and the parameter counts (one, if they agree)."""
    # JAX comes first: its process-wide settings must precede its import.
    steps, counts = {}, set()
    for name in reversed(NAMES):
        steps[name], parameters = MAKERS[name](args.depth, args.batch)
        counts.add(parameters)
    for step in steps.values():
        step()
        step()
    seconds = {name: [] for name in NAMES}
    for _ in range(args.rounds):
        for name in NAMES:
            start = time.perf_counter()
            for _ in range(args.steps):
                steps[name]()
            seconds[name].append((time.perf_counter() - start) / args.steps)
    return seconds, counts


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=20, help="6n+2 (default 20)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default 128)")
    parser.add_argument("--rounds", type=int, default=9, help="of both in turn (default 9)")
    parser.add_argument("--steps", type=int, default=3, help="a round (default 3)")
    parser.add_argument("--starts", type=int, default=3, help="fresh processes of each (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--first-step", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.first_step:
        step, _ = MAKERS[args.first_step](args.depth, args.batch)
        step()
        return
    firsts = {name: [] for name in NAMES}
    for _ in range(args.starts):
        for name in NAMES:
            firsts[name].append(first_step_seconds(name, args))
    seconds, counts = throughput(args)
    if len(counts) != 1:
        sys.exit(f"error: the networks differ, they have {counts} parameters")
    report(args, firsts, seconds, counts.pop())


def report(
    args: argparse.Namespace,
    firsts: dict[str, list[float]],
    seconds: dict[str, list[float]],
    parameters: int,
) -> None:
    """Prints medians and ratios."""
    import jax
    import torch

    ratios = [t / j for t, j in zip(seconds["torch"], seconds["resnet_jax"], strict=True)]
    result = {
        "depth": args.depth,
        "parameters": parameters,
        "batch": args.batch,
        "rounds": args.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "images_per_second": {n: args.batch / statistics.median(seconds[n]) for n in NAMES},
        "speed_ratio": statistics.median(ratios),
        "speed_ratio_range": [min(ratios), max(ratios)],
        "first_step_seconds": {n: statistics.median(firsts[n]) for n in NAMES if firsts[n]},
    }
    if args.json:
        print(json.dumps(result))
        return
    print(
        f"ResNet-{args.depth} ({parameters:,} parameters), batch {args.batch}, float32, "
        f"{result['cores']} cores, jax {jax.__version__}, torch {torch.__version__}, "
        f"{args.rounds} rounds of {args.steps} steps"
    )
    for name in NAMES:
        first = result["first_step_seconds"].get(name)
        print(
            f"  {name:<11} {result['images_per_second'][name]:7.1f} images/s"
            + (f"   first step after {first:.1f} s (median of {args.starts})" if first else "")
        )
    low, high = result["speed_ratio_range"]
    print(f"  resnet_jax / torch: {result['speed_ratio']:.2f} (rounds {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
