"""Builds the native CPU kernels now, instead of when a run first needs them.

python -m resnet_jax build-kernels
python -m resnet_jax build-kernels --json

They are compiled by $CXX, else g++, c++ or clang++, for this CPU, and kept in the user's cache
directory. What is built already is left alone.
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Builds and says where; returns the exit code.

    Raises:
        UserError: there are no kernels, and why.
    """
    from resnet_jax.errors import UserError
    from resnet_jax.native import build

    built = build.load()
    if isinstance(built, build.Unavailable):
        raise UserError(f"{built.reason}; runs use XLA's convolutions")
    if args.json:
        answer = {
            "path": str(built.path),
            "lanes": built.lanes,
            "compiler": built.compiler,
            "already_built": built.seconds is None,
            "seconds": round(built.seconds or 0.0, 1),
        }
        print(json.dumps(answer))
        return 0
    how = "was there already" if built.seconds is None else f"built in {built.seconds:.1f} s"
    print(f"{built.path}: vectors of {built.lanes} floats, {how}; {built.compiler}")
    return 0
