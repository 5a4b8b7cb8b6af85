"""Lists the residual designs with their formulas and parameters, and what goes with them; or draws one.

    python -m resnet_jax designs
    python -m resnet_jax designs --depth 29 --bottleneck --json
    python -m resnet_jax designs --draw full_preact --to full_preact.svg
    python -m resnet_jax designs --draw --set model.branch="conv norm act conv" --set model.after="act"
    python -m resnet_jax designs --gallery docs/designs

What is listed and drawn belongs to configs/default.py; --set changes its fields.
"""

import argparse
import dataclasses
import json
from pathlib import Path

_NO_NAME = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--depth", type=int, default=110, help="of the network; default: 110")
    parser.add_argument("--bottleneck", action="store_true", help="units of three convolutions")
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="a field of the config, such as model.shortcut=none",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument(
        "--draw",
        metavar="NAME",
        nargs="?",
        const=_NO_NAME,
        help="draw this design, or, without a name, that of the fields set",
    )
    parser.add_argument("--to", metavar="FILE.svg", type=Path, help="default: NAME.svg")
    parser.add_argument(
        "--gallery", metavar="DIR", type=Path, help="draw all designs, and a page that shows them"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table, or writes pictures and prints where they are; returns the exit code.

    Raises:
        ConfigError: an argument, or a network that cannot be built.
        WorkdirError: a file cannot be written.
    """
    from resnet_jax import atomic, catalogue
    from resnet_jax.errors import ConfigError

    if args.to is not None and (args.draw is None or args.to.suffix != ".svg"):
        raise ConfigError(f"--to {args.to}: expected --draw NAME --to FILE.svg")
    config = _config(args)
    if args.gallery is not None:
        for path in catalogue.write_gallery(config, args.gallery):
            print(path)
        return 0
    if args.draw is not None:
        custom = config.model.branch is not None or config.model.after is not None
        name = args.draw or ("custom" if custom else config.model.design)
        changes = [*args.set, *["bottleneck units"] * args.bottleneck]
        path = args.to or Path(f"{name}.svg")
        atomic.write(path, catalogue.picture(config, name, changes))
        print(path)
        return 0
    found = catalogue.entries(config)
    if args.json:
        rows = [
            {"name": e.name, **e.columns, "formula": e.formula, "parameters": e.parameters}
            for e in found
        ]
        answer = {"depth": args.depth, "bottleneck": args.bottleneck, "designs": rows}
        for field, known in catalogue.parts().items():
            answer[f"{field}s"] = [dataclasses.asdict(part) for part in known]
        print(json.dumps(answer, default=str))
        return 0
    units = "bottleneck" if args.bottleneck else "basic"
    print(f"{'design':<18} {'parameters':>11}  at depth {args.depth}, {units} units")
    for entry in found:
        print("\n".join(catalogue.describe(entry)))
    for field, known in catalogue.parts().items():
        print(f"\nmodel.{field}")
        for part in known:
            print("\n".join(catalogue.describe_part(part)))
    return 0


def _config(args: argparse.Namespace):
    """The default config with the fields that the arguments set, validated."""
    from resnet_jax import cli
    from resnet_jax import config as configs

    config = cli.load(str(cli.DEFAULT))
    config.model.depth, config.model.bottleneck = args.depth, args.bottleneck
    if args.draw:
        config.model.design = args.draw
    config = cli.override(config, [f"--config.{item}" for item in args.set])
    configs.validate(config)
    return config
