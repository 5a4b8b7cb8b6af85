"""Shows which classes a network takes for which: a table, and confusion.png.

    python -m resnet_jax confusion runs/cifar10_resnet-s0
    python -m resnet_jax confusion runs/cifar10_resnet-s0 --split validation --step best

In the picture a row is a class: how many of its images are taken for which. `mistakes` shows the images.
"""

import argparse
import json
from pathlib import Path

from resnet_jax import rebuilt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    rebuilt.add_arguments(parser)
    rebuilt.add_split(parser)
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="png, svg or pdf; default: WORKDIR/confusion.png"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Prints the table and writes the picture; returns the exit code.

    Raises:
        ConfigError: no such split or step, or `--out` is no picture.
        DataError: the data is missing or damaged.
        NonFiniteError: the network's outputs are not finite.
        WorkdirError: the workdir is missing or damaged, or the picture cannot be written.
    """
    from resnet_jax import confusion_picture, confusion_table, figure, predictions
    from resnet_jax.confusion import Confusion

    out = args.out or args.workdir / "confusion.png"
    figure.check(out)
    network = rebuilt.of_arguments(args)
    split = network.check(args.split)
    state, examples = network.state(args.step), network.examples(split)
    predicted = predictions.compute(network, state, examples).argmax(1)
    confusion = Confusion.of(examples.labels, predicted, network.classes)
    accuracy = f"{confusion.right / confusion.examples:.2%}"
    confusion_picture.draw(confusion, f"{network.titled(state, split)}: {accuracy}", out)
    if args.json:
        about = {"split": split, "step": int(state.step), "eval_augment": network.views}
        print(json.dumps(_answer(confusion) | about | {"picture": str(out)}))
        return 0
    print(
        f"{network.named(state)}, {split}: accuracy {accuracy} "
        f"({confusion.right:,} of {confusion.examples:,})\n"
    )
    print("\n".join(confusion_table.lines(confusion)))
    print(f"\npicture   {out}")
    return 0


def _answer(confusion) -> dict:
    """All numbers; a share that does not exist is null."""

    def shares(values) -> list[float | None]:
        return [float(value) if value == value else None for value in values]

    return {
        "accuracy": confusion.right / confusion.examples,
        "examples": confusion.examples,
        "classes": list(confusion.classes),
        "counts": confusion.counts.tolist(),
        "recall": shares(confusion.recall),
        "precision": shares(confusion.precision),
        "f1": shares(confusion.f1),
    }
