"""Tables in the docs that benchmarks write: a row a measurement, between two comments.

    <!-- speed -->
    | what | ... |
    <!-- /speed -->

A row replaces the one with the same first cell, so that measurements can be repeated one by one.
"""

import os
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

Row = Mapping[str, str]
"""Column -> cell; the first column names the row."""


def hardware() -> str:
    """The processor, as the system names it, and how many cores may be used."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    flags = text.split("flags", 1)[-1].split("\n", 1)[0].split()
    unit = next((u for u in ("avx512f", "avx2") if u in flags), "")
    cores = f"{len(os.sched_getaffinity(0))} cores"
    return ", ".join(filter(None, (name[1] if name else "", cores, unit)))


def versions(*packages: str) -> str:
    """Name and version of installed packages."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in packages)


def lines(rows: Sequence[Row]) -> list[str]:
    """A Markdown table."""
    header = list(rows[0])
    cells = [[row.get(column, "") for column in header] for row in rows]
    return [
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
        *(f"| {' | '.join(row)} |" for row in cells),
    ]


def merge(text: str, section: str, rows: Sequence[Row]) -> str:
    """`text` with `rows` in the table of `section`, where rows of other names stay.

    Raises:
        ValueError: `text` has no such section.
    """
    begin, end = f"<!-- {section} -->\n", f"<!-- /{section} -->"
    if begin not in text or end not in text:
        raise ValueError(f"no section {begin.strip()} ... {end}")
    before, rest = text.split(begin, 1)
    old, after = rest.split(end, 1)
    name = next(iter(rows[0]))
    kept = {row[name]: row for row in parse(old) if name in row}
    kept |= {row[name]: row for row in rows}
    return before + begin + "\n".join(lines(list(kept.values()))) + "\n" + end + after


def parse(text: str) -> list[Row]:
    """The rows of a Markdown table."""
    table = [line.strip().strip("|").split("|") for line in text.splitlines() if "|" in line]
    table = [[cell.strip() for cell in row] for row in table]
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def show(section: str, rows: Sequence[Row], write: Path | None) -> None:
    """Prints the rows; with `write`, also puts them into that file."""
    print("\n".join(lines(rows)))
    if write:
        write.write_text(merge(write.read_text(), section, rows))
