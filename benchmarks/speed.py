"""Speed of our ResNets beside the same ones in plain PyTorch, as ratios measured in one run.

    pip install torch                                         (only for this comparison)
    python benchmarks/speed.py                       (ResNet-20, batch 128, float32, CPU)
    python benchmarks/speed.py --net wrn16_4 --processes 5
    python benchmarks/speed.py --mode inference --backend xla --json

Images per second: both networks in one process, in turn, round by round; a process's ratio is the
median of its rounds' ratios, so that a machine whose speed drifts does not decide it; and the figure is
the median over processes, which differ. Our training step draws, crops and flips its images; PyTorch
gets one constant batch in channels_last layout. Time to the first step: from starting Python until
one training step is done, in fresh processes that alternate, with an empty cache of compiled
programs (cold) and with a filled one (warm).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.networks import NETWORKS, SIZES, config_for  # noqa: E402

NAMES = ("torch", "resnet_jax")


def ours(args: argparse.Namespace) -> tuple[Callable[[], None], int]:
    """A function that takes a step, or classifies a batch, and the number of parameters."""
    from resnet_jax import platform

    platform.prepare()
    import jax
    import numpy as np

    from resnet_jax import metrics, plan, sharding, step
    from resnet_jax.data import pipeline
    from resnet_jax.native import backend

    config = config_for(args.net, args.batch, args.backend)
    backend.tune(config)
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

    model, batch = made.recipe.model, random.normal(size=(args.batch, 32, 32, 3)).astype(np.float32)
    apply = jax.jit(lambda variables, x: model.apply(variables, x, train=False))
    batch = jax.device_put(batch)

    def classify() -> None:
        apply(state.evaluated(), batch).block_until_ready()

    return (take if args.mode == "train" else classify), made.parameters


def theirs(args: argparse.Namespace) -> tuple[Callable[[], None], int]:
    """The same for PyTorch."""
    from benchmarks import torch_resnet

    fields, sizes = NETWORKS[args.net], SIZES[args.net]
    threads = len(os.sched_getaffinity(0))
    return torch_resnet.make(fields, sizes, args.batch, threads, train=args.mode == "train")


MAKERS = {"torch": theirs, "resnet_jax": ours}


def child(args: argparse.Namespace, *more: str, cache: str | None = None) -> str:
    """Runs this script again for the same network; returns what it prints."""
    command = [sys.executable, __file__, "--net", args.net, "--batch", str(args.batch)]
    command += ["--mode", args.mode, "--backend", args.backend, *more]
    environ = os.environ | {"JAX_PLATFORMS": "cpu"}
    environ |= {"JAX_COMPILATION_CACHE_DIR": cache} if cache else {}
    return subprocess.run(
        command, check=True, env=environ, stdout=subprocess.PIPE, text=True
    ).stdout


def first_steps(args: argparse.Namespace) -> dict[str, float]:
    """Median seconds from starting a process to the end of its first step."""
    seconds: dict[str, list[float]] = {"torch": [], "resnet_jax cold": [], "resnet_jax warm": []}
    for _ in range(args.starts):
        with tempfile.TemporaryDirectory() as cache:
            for label in seconds:
                start = time.perf_counter()
                child(args, "--first-step", label.split()[0], cache=cache)
                seconds[label].append(time.perf_counter() - start)
    return {label: statistics.median(values) for label, values in seconds.items() if values}


def throughput(args: argparse.Namespace) -> dict[str, object]:
    """Rounds of both in turn, in this process."""
    # JAX comes first: its process-wide settings must precede its import.
    steps, counts = {}, set()
    for name in reversed(NAMES):
        steps[name], parameters = MAKERS[name](args)
        counts.add(parameters)
    if len(counts) != 1:
        sys.exit(f"error: the networks differ, they have {sorted(counts)} parameters")
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
    ratios = [t / j for t, j in zip(seconds["torch"], seconds["resnet_jax"], strict=True)]
    return {
        "parameters": counts.pop(),
        "images_per_second": {n: args.batch / statistics.median(seconds[n]) for n in NAMES},
        "ratio": statistics.median(ratios),
    }


def measure(args: argparse.Namespace) -> dict[str, object]:
    """All figures, over all processes."""
    from importlib.metadata import version

    rounds = ["--rounds", str(args.rounds), "--steps", str(args.steps), "--one-process"]
    processes = [json.loads(child(args, *rounds)) for _ in range(args.processes)]
    ratios = [process["ratio"] for process in processes]
    speeds = [process["images_per_second"] for process in processes]
    return {
        "net": args.net,
        "parameters": processes[0]["parameters"],
        "mode": args.mode,
        "batch": args.batch,
        "backend": args.backend,
        "processes": args.processes,
        "rounds": args.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in ("jax", "torch")},
        "images_per_second": {n: statistics.median(s[n] for s in speeds) for n in NAMES},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "first_step_seconds": first_steps(args),
    }


def report(result: dict) -> None:
    """Prints the figures for people."""
    versions = ", ".join(f"{name} {text}" for name, text in result["versions"].items())
    print(
        f"{result['net']} ({result['parameters']:,} parameters), {result['mode']}, backend "
        f"{result['backend']}, batch {result['batch']}, float32, {result['cores']} cores, {versions}, "
        f"{result['processes']} processes of {result['rounds']} rounds"
    )
    for name, speed in result["images_per_second"].items():
        print(f"  {name:<16} {speed:7.1f} images/s")
    low, high = min(result["ratios"]), max(result["ratios"])
    print(f"  resnet_jax/torch {result['ratio']:7.2f} (processes {low:.2f} to {high:.2f})")
    for label, seconds in result["first_step_seconds"].items():
        print(f"  {label:<16} {seconds:7.1f} s to the first step")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=NETWORKS, default="resnet20")
    parser.add_argument("--mode", choices=("train", "inference"), default="train")
    parser.add_argument("--backend", choices=("auto", "xla", "native"), default="auto")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default 128)")
    parser.add_argument("--processes", type=int, default=1, help="(default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="of both in turn (default 9)")
    parser.add_argument("--steps", type=int, default=3, help="a round (default 3)")
    parser.add_argument("--starts", type=int, default=1, help="for the first step (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--first-step", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--one-process", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.first_step:
        MAKERS[args.first_step](args)[0]()
    elif args.one_process:
        print(json.dumps(throughput(args)))
    else:
        result = measure(args)
        print(json.dumps(result)) if args.json else report(result)


if __name__ == "__main__":
    main()
