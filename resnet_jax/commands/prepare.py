"""Download a data set and prepare it as a TFDS directory, without TensorFlow.

    python -m resnet_jax prepare cifar10
    python -m resnet_jax prepare cifar10 --archive cifar-10-binary.tar.gz --data-dir /data/tfds

The archive is downloaded to DIR/downloads, where an interrupted download goes on, and checked
against the published SHA-256; with --archive nothing touches the network. The result is
DIR/NAME/VERSION, with the files and the order of records of TFDS itself. What is prepared
already is left alone.
"""

import argparse
import json
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="the data set's name, as in data.name")
    parser.add_argument(
        "--archive", metavar="FILE", type=Path, help="a local copy of the archive to read"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="the TFDS data directory (default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Prepares, and says where and how much; returns the exit code."""
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
