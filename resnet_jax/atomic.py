"""Files that a reader, or a crash, finds whole: as they were, or as they are to be."""

import contextlib
import errno
import json
import os
import re
from pathlib import Path
from typing import Any

from resnet_jax.errors import WorkdirError


def write(path: Path, text: str | bytes, flag: str = "--workdir") -> None:
    """Writes a file so that a reader, or a crash, finds the old content or the new.

    Args:
        path: of the file.
        text: what it is to hold.
        flag: what a user can choose another place with, for messages.

    Raises:
        WorkdirError: the directory cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        remedy = "free space, or choose" if error.errno == errno.ENOSPC else "choose"
        raise WorkdirError(
            f"cannot write {path}: {error.strerror}; {remedy} another {flag}"
        ) from None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes indented JSON atomically."""
    write(path, json.dumps(value, indent=2) + "\n")


def safe_name(text: str) -> str:
    """`text` as the name of a file: letters, digits and `_ . , = + -`."""
    return re.sub(r"[^\w.,=+-]", "_", text)
