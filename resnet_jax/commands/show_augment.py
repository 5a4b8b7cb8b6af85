"""Draws what augmentation makes of training images, as a picture.

    python -m resnet_jax show-augment
    python -m resnet_jax show-augment --config configs/cifar10_wide_resnet.py --out wide.png
    python -m resnet_jax show-augment --augment "crop(4) flip randaugment(2, 9) cutmix(1, 0.5)"
    python -m resnet_jax show-augment --set data.name=digits --augment "rotate(15) zoom"

A row is an image; its first column is the image as it is, the others what a run of this config and
seed sees of it in its first epochs. Under a mixture stand its classes, with shares in percent.
"""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--config", metavar="FILE[:ARG=VALUE,...]", help="default: configs/default.py"
    )
    parser.add_argument("--augment", metavar="TOKENS", help="default: that of the config")
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="a field of the config, such as data.name=digits",
    )
    parser.add_argument("--images", type=int, default=8, help="rows (default: 8)")
    parser.add_argument("--epochs", type=int, default=8, help="columns (default: 8)")
    parser.add_argument(
        "--out", metavar="FILE.png", type=Path, default=Path("augment.png"), help="(default)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Writes the picture and prints where it is; returns the exit code.

    Raises:
        ConfigError: an argument, or a config that is not valid.
        DataError: the data is missing or damaged.
        WorkdirError: the picture cannot be written.
    """
    from resnet_jax import augment_picture, cli
    from resnet_jax.errors import ConfigError

    if args.out.suffix.lower() != ".png":
        raise ConfigError(f"--out {args.out}: expected a name that ends in .png")
    augment = [] if args.augment is None else [f"augment={args.augment}"]
    config = cli.configured(args.config, [*args.set, *augment])
    grid = augment_picture.draw(config, args.images, args.epochs)
    augment_picture.write(grid, args.out)
    if args.json:
        rows = [
            [augment_picture.caption(grid, row, epoch) for epoch in range(args.epochs)]
            for row in range(args.images)
        ]
        answer = {"path": str(args.out), "augment": config.augment, "classes": grid.names}
        print(json.dumps(answer | {"draws": rows}))
        return 0
    print(f"{args.out}: {args.images} images in {args.epochs} epochs, augment '{config.augment}'")
    return 0
