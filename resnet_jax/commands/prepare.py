"""Download a data set and prepare it as a TFDS directory, without TensorFlow.

    python -m resnet_jax prepare cifar10
    python -m resnet_jax prepare cifar10 --archive cifar-10-binary.tar.gz --data-dir /data/tfds
    python -m resnet_jax prepare folder --from IMAGES --to TFDS_DIR --name my_flowers --image-size 32

The archive is downloaded to DIR/downloads, where an interrupted download goes on, and checked
against the published SHA-256; with --archive nothing touches the network. The result is
DIR/NAME/VERSION, with the files and the order of records of TFDS itself. What is prepared
already is left alone.

`folder` takes images of your own, IMAGES/train/CLASS/*.png or *.jpg and, if there is one,
IMAGES/test; it prints the file that describes the result, for resnet_jax/data/datasets/.
"""

import argparse
import json
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("dataset", help="the data set's name, as in data.name")
    parser.add_argument(
        "--archive", metavar="FILE", type=Path, help="a local copy of the archive to read"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="the TFDS data directory (default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )
    folder = parser.add_argument_group("of folder")
    folder.add_argument("--from", dest="root", metavar="DIR", type=Path, help="the images")
    folder.add_argument("--to", metavar="DIR", help="the same as --data-dir")
    folder.add_argument("--name", help="of the data set: lower-case letters, digits and _")
    folder.add_argument("--image-size", type=int, help="pixels, height and width")
    folder.add_argument(
        "--test-fraction",
        type=float,
        help="share of the training images that is for testing, if there is no test/ (default: 0.2)",
    )
    folder.add_argument(
        "--broken", type=float, help="share of images that may be unreadable (default: 0.01)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Prepares, and says where and how much; returns the exit code."""
    if args.dataset == "folder":
        return _run_folder(args)
    _refuse(args, ("root", "to", "name", "image_size", "test_fraction", "broken"), "is for folder")
    from resnet_jax.data import spec
    from resnet_jax.data.prepare import is_prepared, prepare
    from resnet_jax.data.source import data_dir

    start = time.monotonic()
    dataset, directory = spec.get(args.dataset), data_dir(args.data_dir)
    already = is_prepared(dataset, directory)
    path = prepare(dataset, directory, args.archive)
    seconds = time.monotonic() - start
    splits = dict(dataset.splits)
    if args.json:
        answer = {
            "dataset": dataset.name,
            "path": str(path),
            "splits": splits,
            "already_prepared": already,
            "seconds": round(seconds, 1),
        }
        print(json.dumps(answer))
        return 0
    counts = ", ".join(f"{examples:,} {split}" for split, examples in splits.items())
    verb = "was there already" if already else f"prepared in {seconds:.1f} s"
    print(f"{path}: {counts} examples, {verb}")
    return 0


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    from resnet_jax.errors import ConfigError

    for name in names:
        if getattr(args, name) is not None:
            flag = "from" if name == "root" else name.replace("_", "-")
            raise ConfigError(f"--{flag} {why}, not for {args.dataset}; leave it out")


def _run_folder(args: argparse.Namespace) -> int:
    """Prepares a user's own images; prints where they are and the file that describes them."""
    from resnet_jax import rules
    from resnet_jax.data.folder import Choices
    from resnet_jax.errors import ConfigError

    _refuse(args, ("archive",), "is for a published data set")
    for flag, value in (("--from", args.root), ("--name", args.name), ("--to", _to(args))):
        if value is None:
            raise ConfigError(
                f"{flag} is missing; write prepare folder --from IMAGES --to TFDS_DIR --name NAME "
                "--image-size PIXELS"
            )
    given = {
        "image_size": args.image_size,
        "test_fraction": 0.2 if args.test_fraction is None else args.test_fraction,
        "broken": 0.01 if args.broken is None else args.broken,
    }
    for name, value in given.items():
        rule = rules.RULES[f"data.{name}"]
        if value is None or not rule.accepts(value):
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} {value}: expected {rule.expected}")
    from resnet_jax.data import prepare_folder
    from resnet_jax.data.source import data_dir

    start = time.monotonic()
    root, directory = args.root.expanduser().absolute(), data_dir(_to(args))
    path, dataset, already = prepare_folder.prepare_folder(
        root, args.name, directory, Choices(**given)
    )
    answer = {
        "dataset": dataset.name,
        "path": str(path),
        "splits": dict(dataset.splits),
        "already_prepared": already,
        "seconds": round(time.monotonic() - start, 1),
        "spec": prepare_folder.spec_text(dataset),
    }
    if args.json:
        print(json.dumps(answer))
        return 0
    counts = ", ".join(f"{examples:,} {split}" for split, examples in dataset.splits.items())
    verb = "was there already" if already else f"prepared in {answer['seconds']:.1f} s"
    print(f"{path}: {counts} examples, {verb}")
    print(f"resnet_jax/data/datasets/{dataset.name}.py, so that configs can name it:\n")
    print(answer["spec"], end="")
    return 0


def _to(args: argparse.Namespace) -> str | None:
    return args.to or args.data_dir
