"""Turns published PyTorch weights into a workdir, and a workdir into a file with PyTorch's names.

    python -m resnet_jax convert resnet20-cifar10.th --to runs/published
    python -m resnet_jax convert model.safetensors --to runs/resnet50
    python -m resnet_jax convert runs/cifar10_resnet-s0 --to resnet20.safetensors --layout cifar

A file is read without PyTorch, and nothing of it is executed. ResNets, wide ResNets and ResNeXts
with the names of torchvision and timm, Hugging Face, and the CIFAR networks are recognised; depth
and widths are read off their shapes. `evaluate` reads the workdir; nothing is written on a mistake.
"""

import argparse
import json
from pathlib import Path

from resnet_jax.errors import ConfigError


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected numbers such as 0.5,0.5,0.5"
        ) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "source", metavar="SOURCE", type=Path, help=".pth, .pt, .th, .safetensors, or a workdir"
    )
    parser.add_argument(
        "--to", metavar="TARGET", type=Path, help="a new workdir, or NAME.safetensors"
    )
    parser.add_argument(
        "--layout", help="cifar, torchvision or hugging_face; default: by the names"
    )
    parser.add_argument(
        "--mean", metavar="R,G,B", type=_floats, help="of the images in 0..1; default: the layout's"
    )
    parser.add_argument("--std", metavar="R,G,B", type=_floats, help="likewise")
    parser.add_argument("--size", metavar="PIXELS", type=int, help="of the images; likewise")
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="the data set of the weights, as in data.name; default: cifar10 for CIFAR networks of "
        "ten classes, else none",
    )
    parser.add_argument("--stem", help="cifar, imagenet or tokens, where the shapes do not tell")
    parser.add_argument("--stride-on", help="3x3 (default), or first for strides on the first 1x1")
    parser.add_argument("--step", help="of a workdir: latest (default), best or a number")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Converts, and says what was found; returns the exit code."""
    if args.to is None:
        raise ConfigError("--to is missing; name a new workdir, or a new file NAME.safetensors")
    _check(args)
    from resnet_jax.convert import published, workdir

    choices = published.Choices(
        args.layout, args.stem, args.stride_on, args.mean, args.std, args.size, args.data
    )
    if args.source.is_dir():
        answer = workdir.write_weights(args.source, args.to, choices, args.step or "latest")
    else:
        answer = workdir.read_weights(args.source, args.to, choices)
    if args.json:
        print(json.dumps({"path": str(args.to)} | answer))
        return 0
    print(f"{args.to}: {answer['network']}, {answer['parameters']:,} parameters")
    print(f"  names of the layout {answer['layout']}")
    if "mean" in answer:
        mean, std = (", ".join(f"{x:g}" for x in answer[name]) for name in ("mean", "std"))
        print(
            f"  images of {answer['size']} pixels, mean ({mean}), std ({std}): {answer['statistics']}"
        )
        print(f"  data set: {answer['data']}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuses arguments that are wrong whatever the file holds.

    Raises:
        ConfigError: the first of them.
    """
    from resnet_jax import tokens
    from resnet_jax.convert.convert import LAYOUTS
    from resnet_jax.models.layers import STEM_VOCABULARY

    if args.layout not in (None, *LAYOUTS):
        raise ConfigError(f"--layout {args.layout}: expected one of {', '.join(LAYOUTS)}")
    if args.stride_on not in (None, "3x3", "first"):
        raise ConfigError(f"--stride-on {args.stride_on}: expected 3x3 or first")
    if args.stem not in (None, "cifar", "imagenet"):
        tokens.parse(args.stem, STEM_VOCABULARY, "--stem")
    if args.size is not None and not 1 <= args.size <= 10_000:
        raise ConfigError(f"--size {args.size}: expected pixels, 1 to 10000")
    if (args.mean is None) != (args.std is None):
        raise ConfigError("--mean and --std belong together; write both, or neither")
    for value in (*(args.mean or ()), *(args.std or ())):
        if not 0 <= value <= 1:
            raise ConfigError(
                f"--mean and --std are of images scaled to 0..1; {value:g} is not: divide it by 255"
            )
    if args.std and min(args.std) == 0:
        raise ConfigError("--std holds 0, by which no image can be divided")
    reading = {"--mean": args.mean, "--std": args.std, "--size": args.size, "--data": args.data}
    if args.source.is_dir():
        for flag, value in reading.items():
            if value is not None:
                raise ConfigError(f"{flag} is for reading a file; a workdir knows it: leave it out")
    elif args.step is not None:
        raise ConfigError("--step is for a workdir; a file holds one state: leave it out")
