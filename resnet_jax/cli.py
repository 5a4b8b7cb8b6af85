"""The command line of `main.py`: which config, which fields changed, which workdir."""

import argparse
import dataclasses
import difflib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from resnet_jax import config as configs
from resnet_jax import workdir
from resnet_jax.errors import ConfigError, UserError

USAGE = (
    "main.py --config configs/NAME.py[:ARG=VALUE,...] [--workdir DIR] [--config.FIELD=VALUE ...]"
)


@dataclasses.dataclass(frozen=True)
class Command:
    """What the command line asks for: a validated config and where the run lives."""

    config: ConfigDict
    workdir: Path


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that every mistake is reported in one way."""

    def error(self, message: str) -> None:
        raise ConfigError(f"{message}\nusage: {USAGE}")


def parse(arguments: Sequence[str]) -> Command:
    """Parses the command line behind the program's name.

    Raises:
        ConfigError: anything that is wrong with it, or with the config it names.
        SystemExit: for `--help`.
    """
    parser = _Parser(
        prog="main.py",
        usage=USAGE,
        description="Train, resume and evaluate the network of a config. "
        "The same command again continues the run.",
        epilog="configs/default.py lists every field with its unit and meaning.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE[:ARG=VALUE,...]", help="config file")
    parser.add_argument(
        "--workdir", metavar="DIR", help="default: runs/<config>-<arguments>-s<seed>"
    )
    known, overrides = parser.parse_known_args(list(arguments))
    if known.config is None:
        raise ConfigError(f"no --config; write, say, --config configs/default.py\nusage: {USAGE}")
    file, _, argument = known.config.partition(":")
    config = override(load(file, argument or None), overrides)
    configs.validate(config)
    default = workdir.default_path(file, argument or None, config.seed)
    return Command(config, Path(known.workdir).expanduser() if known.workdir else default)


def load(file: str, argument: str | None = None) -> ConfigDict:
    """The config that the function `get_config` of a Python file returns.

    Args:
        file: path of the file.
        argument: what stands behind the colon, passed on to `get_config`.

    Raises:
        ConfigError: no such file, or one that fails.
    """
    path = Path(file)
    if not path.is_file():
        known = sorted(str(p) for p in Path("configs").glob("*.py") if p.name != "__init__.py")
        near = difflib.get_close_matches(file, known, n=1)
        hint = (
            f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none here'}"
        )
        raise ConfigError(f"no config file {file}; {hint}")
    module_spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    # Configs import each other as `configs.default`, from wherever the program was started.
    search = str(path.absolute().parent.parent)
    added = search not in sys.path
    if added:
        sys.path.insert(0, search)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ConfigError(f"{file} has no function get_config; see configs/default.py")
        takes_argument = module.get_config.__code__.co_argcount > 0
        if argument is not None and not takes_argument:
            raise ConfigError(f"{file} takes no arguments; leave ':{argument}' out")
        return module.get_config(argument) if takes_argument else module.get_config()
    except UserError:
        raise
    except Exception as error:
        raise ConfigError(f"{file} fails: {type(error).__name__}: {error}") from error
    finally:
        if added:
            sys.path.remove(search)


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """Applies arguments of the form `--config.FIELD=VALUE`.

    Raises:
        ConfigError: an unknown field, a value of another type, or anything else on the line.
    """
    for argument in arguments:
        name = argument.lstrip("-").split("=", 1)[0]
        if argument.startswith("-") and not name.startswith(("config.", "noconfig.")):
            raise ConfigError(f"unknown flag {argument.split('=', 1)[0]}\nusage: {USAGE}")
        if argument.startswith("-"):
            configs.expected(name.split(".", 1)[1])
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict(
        "config", config, flag_values=values, sys_argv=["main.py", *arguments]
    )
    try:
        rest = values(["main.py", *arguments], known_only=False)[1:]
    except (flags.Error, ValueError, TypeError) as error:
        raise ConfigError(_reason(str(error), arguments)) from None
    if rest:
        near = f"; write --{rest[0]}" if rest[0].startswith("config.") else ""
        raise ConfigError(f"stray argument {rest[0]!r}{near}\nusage: {USAGE}")
    return values.config


def _reason(message: str, arguments: Sequence[str]) -> str:
    """The one override that cannot be parsed, with what its field expects."""
    for argument in arguments:
        name, _, value = argument.lstrip("-").partition("=")
        if name in message:
            field = name.split(".", 1)[1]
            return f"config.{field}={value!r}: expected {configs.expected(field)}"
    return message.splitlines()[0]


def report(body: Callable[[], int]) -> int:
    """Runs `body` and turns errors that a user can cause into a message and an exit code."""
    try:
        return body()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
