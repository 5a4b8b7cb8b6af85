"""Where the stored networks are."""

from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = sorted(path.stem for path in FIXTURES.iterdir() if path.suffix != ".npz")


def fixture_file(name: str) -> Path:
    """The weights of one of `NAMES`."""
    return next(path for path in FIXTURES.glob(f"{name}.*"))
