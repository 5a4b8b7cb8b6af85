"""What freezing saves: arithmetic of the compiled step, memory of the optimizer, time of a step.

    python benchmarks/freeze.py
    python benchmarks/freeze.py --processes 3 --write docs/finetuning.md

ResNet-20 at batch 128. The arithmetic is what XLA counts in the compiled step with its own convolutions.
Steps of all variants of a process take turns; a process's figure is the median of its rounds, the
figure the median over processes.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, tables
from benchmarks.networks import NETWORKS, config_for
from benchmarks.workloads import Workload

VARIANTS = {
    "nothing": (),
    "`batchnorm_only`": ("batchnorm_only",),
    "`stages_until=1`": ("stages_until=1",),
    "`stages_until=2`": ("stages_until=2",),
    "`all_but_head`": ("all_but_head",),
}
"""What is frozen -> `finetune.freeze`."""


def count(net: str, batch: int) -> dict[str, tuple[float, int]]:
    """GFLOP of the compiled step, and bytes of the optimizer's state."""
    import jax

    from resnet_jax import plan, step
    from resnet_jax.ablation import cost
    from resnet_jax.data import spec

    found = {}
    for name, freeze in VARIANTS.items():
        config = config_for(net, batch, "xla")
        config.finetune.freeze = freeze
        run = plan.make(config, jax.devices()[:1])
        state = step.state_shapes(run.recipe, run.image_shape)
        take = jax.jit(lambda s, e, recipe=run.recipe: step.train_step(recipe, s, e))
        compiled = take.lower(state, cost.images(run)).compile()
        memory = cost.measure(config, spec.of(config.data))["optimizer_bytes"]
        found[name] = (compiled.cost_analysis()["flops"] / 1e9, memory)
    return found


def one_process(net: str, batch: int, backend: str, rounds: int, steps: int) -> dict[str, float]:
    """Milliseconds a step of each variant."""
    from benchmarks import workloads

    takes = {}
    for name, freeze in VARIANTS.items():
        work = Workload(net, batch=batch, backend=backend, freeze=freeze)
        takes[name], _ = workloads.ours(work)
    seconds = processes.rounds(takes, rounds, steps)
    return {name: 1000 * statistics.median(each) for name, each in seconds.items()}


def measure(args: argparse.Namespace) -> list[tables.Row]:
    """A row for each variant."""
    counted = processes.call("freeze:count", args.net, args.batch)
    times = {
        backend: [
            processes.call(
                "freeze:one_process", args.net, args.batch, backend, args.rounds, args.steps
            )
            for _ in range(args.processes)
        ]
        for backend in ("native", "xla")
    }
    return [
        {
            "frozen": name,
            "GFLOP a step": f"{gflop:.1f}",
            "optimizer, kB": f"{memory / 1000:,.1f}",
            **{
                f"ms a step, {backend}": f"{statistics.median(each[name] for each in found):.0f}"
                for backend, found in times.items()
            },
        }
        for name, (gflop, memory) in counted.items()
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=NETWORKS, default="resnet20", help="(default resnet20)")
    parser.add_argument("--batch", type=int, default=128, help="(default 128)")
    parser.add_argument("--processes", type=int, default=1, help="of each backend (default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="of all in turn (default 9)")
    parser.add_argument("--steps", type=int, default=2, help="a round (default 2)")
    parser.add_argument("--write", type=Path, help="put the rows into this file's table as well")
    args = parser.parse_args()
    print(f"{tables.hardware()}; {tables.versions('jax')}; {args.net}, batch {args.batch}, float32")
    tables.show("freeze", measure(args), args.write)


if __name__ == "__main__":
    main()
