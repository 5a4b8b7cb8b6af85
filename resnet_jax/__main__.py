"""The commands beside training; each is a file of `commands/` whose docstring is its help.

python -m resnet_jax COMMAND ...
"""

import argparse
import ast
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from resnet_jax import commands, platform
from resnet_jax.errors import ConfigError


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that every mistake is reported in one way."""

    def error(self, message: str) -> None:
        raise ConfigError(f"{message}\n{' '.join(self.format_usage().split())}")


def summaries() -> dict[str, str]:
    """The first docstring line of each command, read without importing JAX."""
    folder = Path(commands.__path__[0])
    found = {}
    for module in pkgutil.iter_modules([str(folder)]):
        docstring = ast.get_docstring(ast.parse((folder / f"{module.name}.py").read_text()))
        found[module.name.replace("_", "-")] = docstring.splitlines()[0]
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the command line behind the program's name; the result's `run` executes it.

    Raises:
        ConfigError: an unknown command or argument.
        SystemExit: for `--help`.
    """
    known = summaries()
    listing = "\n".join(f"  {name:<12} {text}" for name, text in known.items())
    parser = _Parser(
        prog="python -m resnet_jax",
        usage="python -m resnet_jax COMMAND ...",
        description=f"commands:\n{listing}\n\nCOMMAND --help explains one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    first = parser.parse_args(arguments[:1] or ["--help"])
    if first.command not in known:
        near = difflib.get_close_matches(first.command, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are: {', '.join(known)}"
        raise ConfigError(f"no command {first.command!r}; {hint}")
    file = first.command.replace("-", "_")
    module = importlib.import_module(f"resnet_jax.commands.{file}")
    command = _Parser(
        prog=f"python -m resnet_jax {first.command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(command)
    parsed = command.parse_args(arguments[1:])
    parsed.run = module.run
    return parsed


def main() -> int:
    """Runs the command line; returns the exit code."""

    def body() -> int:
        parsed = parse(sys.argv[1:])
        return parsed.run(parsed)

    try:
        platform.prepare()
        from resnet_jax import cli

        return cli.report(body)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
