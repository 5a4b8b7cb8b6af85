"""What each token of `augment` costs: microseconds an image, on top of drawing and normalising it.

    python benchmarks/augment.py
    python benchmarks/augment.py --processes 5 --write docs/augmentation.md

Batches of 128 images of 32x32 pixels, made as a training step makes them. All strings of a process
take turns; a process's figure is the median of its rounds less that of the empty string, the figure
the median over processes.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, tables

BATCH = 128

STRINGS = (
    "crop(4)",
    "crop(4, reflect)",
    "flip",
    "cutout(8)",
    "erase",
    "rotate(15)",
    "translate",
    "shear",
    "zoom",
    "rotate(15) translate shear zoom",
    "jitter",
    "randaugment(1, 9)",
    "randaugment(2, 9)",
    "mixup(0.2)",
    "cutmix(1)",
    "crop(4) flip",
    "crop(4) flip cutmix(1)",
)
"""Every token, and what several cost together."""


def one_process(rounds: int, steps: int) -> dict[str, float]:
    """Microseconds an image of each string; of "" all of it, of the others what they add."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from resnet_jax import sharding
    from resnet_jax.data import pipeline, spec
    from resnet_jax.data.source import Examples

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10_000, 32, 32, 3), np.uint8)
    labels = random.integers(0, 10, 10_000).astype(np.int32)
    mesh = sharding.make_mesh(jax.devices()[:1])
    examples = pipeline.place(Examples(images, labels), mesh)
    positions = jnp.arange(BATCH)

    def batch(text: str):
        train = jax.jit(pipeline.Batches.create(spec.get("cifar10"), text, mesh).train)
        return lambda: jax.block_until_ready(train(examples, jnp.uint32(0), positions))

    seconds = processes.rounds({text: batch(text) for text in ("", *STRINGS)}, rounds, steps)
    medians = {text: 1e6 * statistics.median(each) / BATCH for text, each in seconds.items()}
    return {text: cost - medians[""] if text else cost for text, cost in medians.items()}


def measure(args: argparse.Namespace) -> list[tables.Row]:
    """A row for each string."""
    results = [
        processes.call("augment:one_process", args.rounds, args.steps)
        for _ in range(args.processes)
    ]
    rows = []
    for text in results[0]:
        costs = [result[text] for result in results]
        rows.append(
            {
                "tokens": f"`{text}`" if text else "drawing and normalising",
                "microseconds an image": f"{statistics.median(costs):.1f}",
                "processes": f"{min(costs):.1f} to {max(costs):.1f}, n = {len(costs)} of "
                f"{args.rounds} rounds",
            }
        )
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=1, help="(default 1)")
    parser.add_argument("--rounds", type=int, default=15, help="of all in turn (default 15)")
    parser.add_argument("--steps", type=int, default=5, help="batches a round (default 5)")
    parser.add_argument("--write", type=Path, help="put the rows into this file's table as well")
    args = parser.parse_args()
    print(f"{tables.hardware()}; {tables.versions('jax')}; batches of {BATCH}, 32x32x3, float32")
    tables.show("augment", measure(args), args.write)


if __name__ == "__main__":
    main()
