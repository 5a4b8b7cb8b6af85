"""The command line of `main.py`: which config, which fields changed, which workdir."""

import argparse
import dataclasses
import difflib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from resnet_jax import config as configs
from resnet_jax import workdir
from resnet_jax.errors import ConfigError, Stopped, UserError
from resnet_jax.rules import BOOLEAN, RULES

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "default.py"
"""The config that lists every field."""

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
    file, _, argument = (known.config or "").partition(":")
    if not file:
        raise ConfigError(f"no --config; write, say, --config configs/default.py\nusage: {USAGE}")
    if known.workdir == "":
        raise ConfigError("--workdir is empty; name a directory, or leave it out")
    config = override(load(file, argument or None), overrides)
    configs.validate(config)
    default = workdir.default_path(file, argument or None, config.seed)
    # Unlike Path.expanduser, it leaves the home of an unknown user as it is.
    return Command(config, Path(os.path.expanduser(known.workdir or default)))


def load(file: str, argument: str | None = None) -> ConfigDict:
    """The config that the function `get_config` of a Python file returns.

    Args:
        file: path of the file.
        argument: what stands behind the colon, passed on to `get_config`.

    Raises:
        ConfigError: no such file, or one that fails.
    """
    config = call(file, "get_config", argument, "configs/default.py")
    if not isinstance(config, ConfigDict) or isinstance(config, FrozenConfigDict):
        raise ConfigError(
            f"{file}: get_config returned {type(config).__name__}, expected a ConfigDict; "
            "start from configs/default.py"
        )
    return config


def configured(file: str | None, fields: Sequence[str]) -> ConfigDict:
    """The config of a command other than training, validated.

    Args:
        file: `FILE[:ARG=VALUE,...]`; None for `configs/default.py`.
        fields: `FIELD=VALUE`.

    Raises:
        ConfigError: see `load`, `override` and `config.validate`.
    """
    name, _, argument = (file or str(DEFAULT)).partition(":")
    config = override(load(name, argument or None), [f"--config.{field}" for field in fields])
    configs.validate(config)
    return config


def call(file: str, function: str, argument: str | None, example: str) -> Any:
    """What a function of a Python file returns.

    Args:
        file: path of the file.
        function: its name; it takes the argument, or nothing.
        argument: what stands behind the colon.
        example: a file to look at, for messages.

    Raises:
        ConfigError: no such file, or one that fails.
    """
    path = Path(file)
    if path.suffix != ".py" or not os.path.isfile(path):
        raise ConfigError(f"no config file {file!r}; {_known_files(file, Path(example).parent)}")
    module_spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    # Configs import each other as `configs.default`, from wherever the program was started.
    folder = path.absolute().parent
    while os.path.isfile(folder.parent / "__init__.py"):
        folder = folder.parent
    search = str(folder.parent)
    added = search not in sys.path
    if added:
        sys.path.insert(0, search)
    try:
        module_spec.loader.exec_module(module)
        called = getattr(module, function, None)
        if not callable(called):
            raise ConfigError(f"{file} has no function {function}; see {example}")
        takes_argument = bool(inspect.signature(called).parameters)
        if argument is not None and not takes_argument:
            raise ConfigError(f"{file} takes no arguments; leave ':{argument}' out")
        return called(argument) if takes_argument else called()
    except UserError:
        raise
    # A config that exits would end the program as if it had done its work.
    except (Exception, SystemExit) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise ConfigError(f"{file} fails: {type(error).__name__}: {reason}") from error
    finally:
        if added:
            sys.path.remove(search)


def _known_files(file: str, folder: Path) -> str:
    """What may have been meant by `file`."""
    known = sorted(str(p) for p in folder.glob("*.py") if p.name != "__init__.py")
    near = difflib.get_close_matches(file, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(known)}" if known else f"there is no {folder}/ in {Path.cwd()}"


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """Sets fields of `config` by arguments `--config.FIELD=VALUE`; of a repeated field, the last.

    Raises:
        ConfigError: an unknown field, a value of another type, or anything else on the line; or
            `config` has other fields than it should.
    """
    configs.check_names(config)
    texts = _assignments(arguments)
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict(
        "config",
        config,
        flag_values=values,
        sys_argv=["main.py", *(f"--config.{field}" for field in texts)],
    )
    for field, text in texts.items():
        if text == "None" and RULES[field].optional:
            config.update_from_flattened_dict({field: None})
            continue
        try:
            values(["main.py", f"--config.{field}={text}"])
        except (flags.Error, ValueError, TypeError):
            raise ConfigError(
                f"config.{field}={text!r}: expected {configs.expected(field)}"
            ) from None
    return config


def _assignments(arguments: Sequence[str]) -> dict[str, str]:
    """Field -> text of each `--config.FIELD=VALUE`, `--config.FIELD VALUE` or boolean alone."""
    texts, rest = {}, list(arguments)
    while rest:
        flag, equals, text = rest.pop(0).partition("=")
        negated = flag.startswith("--noconfig.")
        if not negated and not flag.startswith("--config."):
            raise _no_argument(flag, equals + text)
        field = flag.partition(".")[2]
        expected = configs.expected(field)
        boolean = RULES[field] is BOOLEAN
        if negated and (equals or not boolean):
            raise ConfigError(f"{flag}: write --config.{field}=VALUE; expected {expected}")
        if boolean and not equals:
            text = "false" if negated else "true"
        elif not equals:
            # Another flag is not taken for the value, or it would be lost without a word.
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"{flag} lacks its value; expected {expected}")
            text = rest.pop(0)
        texts[field] = text
    return texts


def _no_argument(flag: str, value: str) -> ConfigError:
    """An error about something that is no `--config.FIELD`, with what may have been meant."""
    kind = "unknown flag" if flag.startswith("-") else "stray argument"
    field = flag.lstrip("-").removeprefix("config.")
    meant = f"; write --config.{field}{value or '=VALUE'}" if field in RULES else ""
    return ConfigError(f"{kind} {flag + value!r}{meant}\nusage: {USAGE}")


def report(body: Callable[[], int]) -> int:
    """Runs `body`, which returns the exit code, and turns errors that a user can cause into one."""
    try:
        return body()
    except UserError as error:
        label = "" if isinstance(error, Stopped) else "error: "
        print(f"{label}{error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
