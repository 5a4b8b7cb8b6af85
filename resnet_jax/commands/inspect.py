"""Shows what a network consists of: its parts and their outputs, or its arrays with the names of patterns.

    python -m resnet_jax inspect runs/cifar10_resnet-s0
    python -m resnet_jax inspect resnet20-cifar10.th --arrays
    python -m resnet_jax inspect --config configs/cifar10_wide_resnet.py:depth=16,width=4
    python -m resnet_jax inspect --set model.depth=56 --match "stage[12]" --match "stem"

The names are those that finetune.freeze, finetune.reinit and optimizer.rates match.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_jax import trust
from resnet_jax.errors import ConfigError

if TYPE_CHECKING:  # they import JAX, which waits for its settings
    from resnet_jax.overview import Overview
    from resnet_jax.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "source",
        metavar="WORKDIR|FILE",
        nargs="?",
        type=Path,
        help="of a run, or PyTorch's weights",
    )
    parser.add_argument("--step", help="of a workdir: latest (default), best or a number")
    parser.add_argument(
        "--config", metavar="FILE[:ARG=VALUE,...]", help="a config; default: configs/default.py"
    )
    parser.add_argument(
        "--set", metavar="FIELD=VALUE", action="append", default=[], help="a field of the config"
    )
    parser.add_argument(
        "--arrays", action="store_true", help="every parameter; of trained ones mean and deviation"
    )
    parser.add_argument(
        "--match",
        metavar="PATTERN",
        action="append",
        default=[],
        help="those parameters that match; may be repeated",
    )
    trust.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Prints the table; returns the exit code.

    Raises:
        ConfigError: an argument or the config is wrong, or a pattern matches nothing.
        DataError: the file is no ResNet's, or damaged.
        WorkdirError: the workdir is missing or damaged.
    """
    from resnet_jax import console, overview

    if args.source and (args.config or args.set):
        raise ConfigError(
            "a workdir or file has its own config; leave --config and --set out, or it"
        )
    if args.step and (args.source is None or args.source.is_file()):
        raise ConfigError(f"--step {args.step} is of a workdir; name one, or leave it out")
    plan, variables = _of_config(args) if args.source is None else _of_source(args)
    found = overview.of(plan.recipe.model, plan.image_shape)
    arrays = overview.arrays(variables, args.match) if args.arrays or args.match else None
    name = console.network_name(plan.config.model)
    if args.json:
        print(json.dumps(_answer(name, plan, found, arrays)))
        return 0
    height, width, channels = plan.image_shape
    print(f"{name}, {found.parameters:,} parameters, images of {height}x{width}x{channels}\n")
    if arrays is None:
        print("\n".join(_lines(found)))
        return 0
    from clu import parameter_overview

    stats = bool(args.source)  # initial values are of no interest, and not made
    print(parameter_overview.get_parameter_overview(arrays, include_stats=stats, max_lines=None))
    return 0


def _of_config(args: argparse.Namespace) -> "tuple[Plan, dict[str, Any]]":
    """What follows from a config, and the shapes of its variables."""
    import jax

    from resnet_jax import cli, step
    from resnet_jax import plan as plans

    config = cli.configured(args.config, args.set)
    config.conv_backend = "xla"  # nothing is computed: building kernels for it would take seconds
    plan = plans.make(config)
    model, shape = plan.recipe.model, plan.image_shape
    return plan, jax.eval_shape(lambda: step.init_variables(model, 0, shape))


def _of_source(args: argparse.Namespace) -> "tuple[Plan, dict[str, Any]]":
    """The network of a workdir or of a file, and its variables."""
    from resnet_jax import rebuilt
    from resnet_jax.convert import published

    if args.source.is_file():
        read = published.read(args.source, published.Choices())
        return read.plan, read.variables
    network = rebuilt.rebuild(args.source, plugins=args.plugins, unit=args.unit)
    return network.run, network.state(args.step or "latest").evaluated()


def _lines(found: "Overview") -> list[str]:
    """A line a part, and what the whole costs."""
    width = max(len(part.name) for part in found.parts)
    rows = [("part", "output", "parameters")]
    rows += [
        (part.name, "x".join(map(str, part.output)), f"{part.parameters:,}") for part in found.parts
    ]
    rows.append(("total", "", f"{found.parameters:,}"))
    lines = [f"{name:<{width}}  {output:>12}  {count:>12}" for name, output, count in rows]
    lines.append(f"\nrunning statistics: {found.statistics:,} numbers")
    if found.flops is not None:
        lines.append(
            f"forward pass of one image: {found.flops / 1e9:.4g} GFLOP (as XLA counts, a multiplication "
            "and an addition are two)"
        )
    return lines


def _answer(name: str, plan: "Plan", found: "Overview", arrays: dict[str, Any] | None) -> dict:
    answer = {
        "network": name,
        "image_shape": list(plan.image_shape),
        "parameters": found.parameters,
        "statistics": found.statistics,
        "forward_flops": found.flops,
        "parts": [
            {"name": part.name, "output": list(part.output), "parameters": part.parameters}
            for part in found.parts
        ],
    }
    if arrays is not None:
        answer["arrays"] = {name: list(array.shape) for name, array in arrays.items()}
    return answer
