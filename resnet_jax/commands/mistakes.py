"""Shows the images that a network takes for another class, the surest first: a list, and mistakes.png.

    python -m resnet_jax mistakes runs/cifar10_resnet-s0
    python -m resnet_jax mistakes runs/cifar10_resnet-s0 --of cat --as dog --count 40

In the picture stands below an image what it is taken for, then what it is, with their probabilities.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from resnet_jax import rebuilt
from resnet_jax.data.listing import shown as printable
from resnet_jax.errors import ConfigError

_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    rebuilt.add_arguments(parser)
    rebuilt.add_split(parser)
    parser.add_argument("--of", metavar="CLASS", help="only images of this class")
    parser.add_argument(
        "--as", metavar="CLASS", dest="taken_for", help="only images that are taken for this class"
    )
    parser.add_argument("--count", type=int, default=24, help="images to show (default: 24)")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="png, svg or pdf; default: WORKDIR/mistakes.png"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Prints the list and writes the picture; returns the exit code.

    Raises:
        ConfigError: no such split, step or class, or `--out` is no picture.
        DataError: the data is missing or damaged.
        NonFiniteError: the network's outputs are not finite.
        WorkdirError: the workdir is missing or damaged, or the picture cannot be written.
    """
    from resnet_jax import figure, gallery, mistakes, predictions

    out = args.out or args.workdir / "mistakes.png"
    figure.check(out)
    if not 1 <= args.count <= gallery.MOST:
        raise ConfigError(f"--count {args.count}: expected a whole number from 1 to {gallery.MOST}")
    if args.of is not None and args.of == args.taken_for:
        raise ConfigError(f"--of {args.of} --as {args.of}: that is no mistake; name two classes")
    network = rebuilt.of_arguments(args)
    label = mistakes.label_of(network.classes, args.of, "--of")
    predicted = mistakes.label_of(network.classes, args.taken_for, "--as")
    split = network.check(args.split)
    state, examples = network.state(args.step), network.examples(split)
    probabilities = predictions.compute(network, state, examples)
    found = mistakes.find(probabilities, examples.labels, label, predicted)
    shown, names = found[: args.count], network.names(split)
    if shown:
        exhibits = [_exhibit(network.classes, each, examples.images[each.image]) for each in shown]
        asked = _asked(args, "")
        gallery.draw(
            exhibits, f"{network.titled(state, split)}: {_how_many(shown, found)}{asked}", out
        )
    if args.json:
        about = {"count": len(found), "split": split, "step": int(state.step)}
        about |= {"eval_augment": network.views, "picture": str(out) if shown else None}
        print(json.dumps({"mistakes": _rows(network.classes, shown, names)} | about))
        return 0
    asked = _asked(args, " taken for another class")
    print(f"{network.named(state)}, {split}: {len(found):,} of {len(examples):,} images{asked}")
    for each in shown[:_LISTED]:
        file = "" if names is None else f" ({printable(names[each.image])})"
        print(
            f"  image {each.image:>6,}{file}: {printable(network.classes[each.label])}, taken for "
            f"{printable(network.classes[each.predicted])} "
            f"({predictions.percent(each.probability)})"
        )
    print(f"picture   {out}: {_how_many(shown, found)}" if shown else "no picture")
    return 0


def _exhibit(classes, mistake, pixels):
    from resnet_jax.gallery import Exhibit
    from resnet_jax.predictions import percent

    caption = (
        f"{classes[mistake.predicted]}: {percent(mistake.probability)}\n"
        f"is {classes[mistake.label]}: {percent(mistake.own)}\nimage {mistake.image}"
    )
    return Exhibit(pixels, caption)


def _how_many(shown: list, found: list) -> str:
    if len(shown) < len(found):
        return f"the {len(shown)} surest of {len(found):,} mistakes"
    return f"all {len(found)} mistakes" if len(found) > 1 else "the one mistake"


def _asked(args: argparse.Namespace, otherwise: str) -> str:
    """Which mistakes, in words; `otherwise` where they may be taken for any class."""
    own = f" of class {args.of}" if args.of else ""
    return f"{own} taken for {args.taken_for}" if args.taken_for else f"{own}{otherwise}"


def _rows(classes, shown: list, names: list[str] | None) -> list[dict]:
    """The mistakes with the names of their classes and, of a folder, files."""
    return [
        dataclasses.asdict(each)
        | {"label": classes[each.label], "predicted": classes[each.predicted]}
        | ({} if names is None else {"file": printable(names[each.image])})
        for each in shown
    ]
