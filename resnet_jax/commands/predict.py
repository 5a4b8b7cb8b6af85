"""Says what a network takes images for: yours, or those of a split.

    python -m resnet_jax predict runs/cifar10_resnet-s0 cat.jpg photos/
    python -m resnet_jax predict runs/cifar10_resnet-s0 photos/ --csv photos.csv
    python -m resnet_jax predict runs/cifar10_resnet-s0 --split test --csv test.csv

Of each file the largest square in the middle is resized to what the network was trained on, and drawn with
its classes in predictions.png. The CSV has a row an image: the probability of every class.
"""

import argparse
import json
from pathlib import Path

from resnet_jax import rebuilt
from resnet_jax.data.listing import shown, some
from resnet_jax.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    rebuilt.add_arguments(parser)
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*", type=Path, help="files, or directories of them"
    )
    parser.add_argument("--split", help="images of the run's data instead, such as test")
    parser.add_argument("--data-dir", metavar="DIR", help="of that data; default: that of the run")
    parser.add_argument("--top", type=int, default=3, help="classes to name (default: 3)")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="picture of IMAGEs: png, svg or pdf; default: WORKDIR/predictions.png",
    )
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write all probabilities as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Prints the most probable classes, and writes the picture and the table; returns the exit code.

    Raises:
        ConfigError: no such step or split, or arguments that do not go together.
        DataError: an image, or the data, is missing or damaged.
        NonFiniteError: the network's outputs are not finite.
        WorkdirError: the workdir is missing or damaged, or a file cannot be written.
    """
    if args.top < 1:
        raise ConfigError(f"--top {args.top}: expected a whole number of at least 1")
    if args.split is not None:
        return _split(args)
    if not args.images:
        raise ConfigError("no images; name files or directories, or --split test --csv FILE")
    return _files(args)


def _files(args: argparse.Namespace) -> int:
    import numpy as np

    from resnet_jax import figure, gallery, predictions
    from resnet_jax.data import image_files
    from resnet_jax.data.source import Examples

    out = args.out or args.workdir / "predictions.png"
    figure.check(out)
    network = rebuilt.of_arguments(args)
    files, others = image_files.find(args.images)
    images = image_files.read(files, network.run.dataset.image_shape)
    state = network.state(args.step)
    examples = Examples(images, np.zeros(len(files), np.int32))
    probabilities = predictions.compute(network, state, examples)
    names = [shown(str(file)) for file in files]
    if args.csv:
        predictions.write_csv(args.csv, names, network.classes, probabilities)
    guesses = [predictions.best(network.classes, row, args.top) for row in probabilities]
    exhibits = [
        gallery.Exhibit(pixels, "\n".join([file.name, *_phrases(guess)]))
        for file, pixels, guess in zip(files, images, guesses, strict=True)
    ]
    gallery.draw(exhibits[: gallery.MOST], network.titled(state), out)
    if args.json:
        found = [
            {"image": name, "predictions": [{"class": c, "probability": p} for c, p in guess]}
            for name, guess in zip(names, guesses, strict=True)
        ]
        about = {"step": int(state.step), "eval_augment": network.views, "picture": str(out)}
        print(json.dumps({"images": found, "not_read": others} | about))
        return 0
    width = max(map(len, names))
    for name, guess in zip(names, guesses, strict=True):
        print(f"{name:<{width}}  {', '.join(_phrases(guess))}")
    if others:
        print(f"note      no image's name, and not read: {some(others)}")
    limit = f" (the first {gallery.MOST})" if len(files) > gallery.MOST else ""
    print(f"picture   {out}{limit}")
    return 0


def _phrases(guess: list[tuple[str, float]]) -> list[str]:
    from resnet_jax.predictions import percent

    return [f"{shown(name)}: {percent(probability)}" for name, probability in guess]


def _split(args: argparse.Namespace) -> int:
    from resnet_jax import predictions

    if args.images or args.out:
        raise ConfigError(
            "--split stands instead of images and has no picture; leave them, or it, out"
        )
    if args.csv is None:
        raise ConfigError("--split needs --csv FILE; for pictures there is `mistakes`")
    network = rebuilt.of_arguments(args)
    split = network.check(args.split)
    state, examples = network.state(args.step), network.examples(split)
    probabilities = predictions.compute(network, state, examples)
    files = network.names(split)
    images = range(len(examples)) if files is None else [shown(file) for file in files]
    predictions.write_csv(args.csv, images, network.classes, probabilities, examples.labels)
    right = int((probabilities.argmax(1) == examples.labels).sum())
    answer = {
        "images": len(examples),
        "right": right,
        "step": int(state.step),
        "csv": str(args.csv),
        "eval_augment": network.views,
    }
    if args.json:
        print(json.dumps(answer | {"split": split}))
    else:
        print(f"{network.named(state)}, {split}: {right:,} of {len(examples):,} images right")
        print(f"table     {args.csv}")
    return 0
