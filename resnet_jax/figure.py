"""Pictures that commands write with Matplotlib."""

import warnings
from pathlib import Path
from typing import Any

from resnet_jax.data.listing import shown
from resnet_jax.errors import ConfigError, WorkdirError

FORMATS = (".png", ".svg", ".pdf")


def check(out: Path) -> None:
    """Checks the name of a picture, before anything is computed for it.

    Raises:
        ConfigError: it is no png, svg or pdf.
    """
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out {out}: expected a name that ends in {', '.join(FORMATS)}")


def plain(text: str, most: int | None = None) -> str:
    """A text as Matplotlib may draw it: printable, no formula, and at most so many characters long.

    What is too long loses its middle, since at the end stands a number or what kind of file it is.
    """
    text = shown(text)
    if most is not None and len(text) > most:
        end = most // 3
        text = f"{text[: most - 3 - end]}...{text[-end:]}"
    return text.replace("$", r"\$")


def save(figure: Any, out: Path, dpi: int = 120) -> None:
    """Writes a Matplotlib figure, in a directory that may be new.

    Raises:
        WorkdirError: it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # Of letters that the font lacks; the picture has boxes in their place.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(out, dpi=dpi)
    except OSError as error:
        raise WorkdirError(f"cannot write {out}: {error.strerror}; choose another --out") from None
