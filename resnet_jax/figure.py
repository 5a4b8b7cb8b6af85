"""Pictures that commands write with Matplotlib."""

from pathlib import Path
from typing import Any

from resnet_jax.errors import ConfigError, WorkdirError

FORMATS = (".png", ".svg", ".pdf")


def check(out: Path) -> None:
    """Checks the name of a picture, before anything is computed for it.

    Raises:
        ConfigError: it is no png, svg or pdf.
    """
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out {out}: expected a name that ends in {', '.join(FORMATS)}")


def save(figure: Any, out: Path, dpi: int = 120) -> None:
    """Writes a Matplotlib figure.

    Raises:
        WorkdirError: it cannot be written.
    """
    try:
        figure.savefig(out, dpi=dpi)
    except OSError as error:
        raise WorkdirError(f"cannot write {out}: {error.strerror}; choose another --out") from None
