"""Which code of a user's a command may import: what the user names for that command, no more.

A workdir may be a stranger's, and to import a module is to run it.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--plugins` and `--unit`, for a command that reads a workdir's config."""
    parser.add_argument(
        "--plugins",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module of the run's model.plugins that may be imported; may be repeated",
    )
    parser.add_argument(
        "--unit", metavar="MODULE:CLASS", help="the run's model.unit, which may be imported"
    )


def unnamed(fields: Mapping[str, Any], plugins: Sequence[str], unit: str | None) -> str:
    """The arguments that name what a config would import and the given ones do not; "" if none.

    Args:
        fields: of the config, by dotted name, not validated.
        plugins: import paths that `model.plugins` may hold.
        unit: what `model.unit` may be.
    """
    needed, needed_unit = fields.get("model.plugins") or (), fields.get("model.unit")
    needed = needed if isinstance(needed, tuple) else (needed,)
    missing = [("--plugins", name) for name in needed if name not in plugins]
    missing += [("--unit", needed_unit)] if needed_unit not in (None, unit) else []
    return " ".join(f"{flag} {_shown(name)}" for flag, name in missing)


def _shown(name: Any) -> str:
    """On one line, whatever a stranger wrote."""
    return shlex.quote(str(name).encode("unicode_escape").decode())
