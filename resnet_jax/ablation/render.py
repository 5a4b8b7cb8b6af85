"""The table of a sweep as Markdown, CSV, LaTeX and JSON.

People read percent and percentage points; CSV and JSON hold fractions.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resnet_jax.ablation import cost_table
from resnet_jax.ablation.notes import notes
from resnet_jax.ablation.table import ArmResult, Comparison, Table
from resnet_jax.ablation.verdict import points

NOTHING = "-"


def warning(table: Table) -> str | None:
    """The first line of a table that is not what was declared, in one line; None if all is well."""
    return f"Warning: {'; '.join(table.warnings)}." if table.warnings else None


def markdown(table: Table) -> str:
    """Tables of arms, comparisons and costs, then the images the arms disagree on, and how to read it."""
    declared = table.declaration
    first = warning(table)
    parts = [
        *([f"**{first}**"] if first else []),
        f"# {declared.name}: {declared.question}",
        _markdown_table(_arms(table)),
    ]
    if table.comparisons:
        parts.append(_markdown_table(_comparisons(table)))
    if cost_table.is_known(table):
        parts += ["What the arms cost:", _markdown_table(cost_table.cells(table))]
    if table.disagreements:
        parts += ["Test images on which the arms disagree most:", _markdown_table(_images(table))]
    parts.append("\n".join(f"- {note}" for note in notes(table)))
    return "\n\n".join(parts) + "\n"


def latex(table: Table) -> str:
    """One `tabular` environment a table, which needs no package; the warning is part of the first."""
    first = warning(table)
    parts = [f"% {table.declaration.name}: written by python -m resnet_jax table"]
    for cells in (_arms(table), _comparisons(table), cost_table.cells(table)):
        if len(cells) > 1:
            parts.append(_latex_table(cells, first))
            first = None
    parts += [f"% {line}" for note in notes(table) for line in note.splitlines()]
    return "\n".join(parts) + "\n"


def comma_separated(table: Table) -> str:
    """One row an arm, with its comparison, in fractions; a warning is a first line that begins with #."""
    first = warning(table)
    records = _records(table)
    text = io.StringIO()
    if first:
        text.write(f"# {first}\n")
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def to_json(table: Table) -> dict[str, Any]:
    """All numbers of the table, in fractions, and each single run."""
    return {
        "format": 1,
        "warning": warning(table),
        **dataclasses.asdict(table),
        "notes": list(notes(table)),
    }


def _arms(table: Table) -> list[list[str]]:
    rows = [["arm", "n", "mean", "spread", "median", "95% interval", "not in the mean"]]
    rows[0][5] = f"{_confidence(table)} interval"
    for arm in table.arms:
        s = arm.summary
        name = "  " * arm.nesting + arm.name + (" (added)" if arm.added else "")
        span = _span(s.low, s.high)
        rows.append(
            [
                name,
                str(s.n),
                _percent(s.mean),
                _points(s.spread),
                _percent(s.median),
                span,
                _lost(arm),
            ]
        )
    return rows


def _comparisons(table: Table) -> list[list[str]]:
    columns: dict[str, Callable[[Comparison], str]] = {
        "arm": lambda c: c.arm,
        "against": lambda c: c.control,
        f"difference ({_confidence(table)})": _difference,
        "BCa": lambda c: _span(*c.bca) if c.bca else NOTHING,
        "p": lambda c: _p(c.p),
        "p, Holm": lambda c: _p(c.p_holm),
        "P(A>B)": lambda c: NOTHING if c.superiority is None else f"{c.superiority:.2f}",
        "seeds' correlation": lambda c: (
            NOTHING if c.correlation is None else f"{c.correlation:.2f}"
        ),
        "other images": lambda c: _span(*c.other_images) if c.other_images else NOTHING,
        "verdict": lambda c: c.verdict.text,
    }
    for name, known in (
        ("BCa", any(c.bca for c in table.comparisons)),
        ("other images", any(c.other_images for c in table.comparisons)),
    ):
        if not known:
            del columns[name]
    return [list(columns)] + [[show(c) for show in columns.values()] for c in table.comparisons]


def _images(table: Table) -> list[list[str]]:
    runs = {arm.name: arm.summary.n for arm in table.arms}

    def cell(right: Mapping[str, float], arm: str) -> str:
        return f"{arm} ({round(right[arm] * runs[arm])} of {runs[arm]})"

    rows = [["image", "most often right", "least often right"]]
    for found in table.disagreements:
        most, least = (pick(found.right, key=found.right.get) for pick in (max, min))
        rows.append([str(found.image), cell(found.right, most), cell(found.right, least)])
    return rows


def _records(table: Table) -> list[dict[str, Any]]:
    compared = {c.arm: c for c in table.comparisons}
    records = []
    for arm in table.arms:
        c = compared.get(arm.name)
        records.append(
            {
                "arm": arm.name,
                "control": arm.control,
                "added": arm.added,
                **dataclasses.asdict(arm.summary),
                "diverged": arm.diverged,
                "failed": arm.failed,
                "missing": arm.missing,
                "compared_n": c and c.n,
                "difference": c and c.difference,
                "difference_low": c and c.low,
                "difference_high": c and c.high,
                "bca_low": c and c.bca and c.bca[0],
                "bca_high": c and c.bca and c.bca[1],
                "p": c and c.p,
                "p_holm": c and c.p_holm,
                "p_equivalent": c and c.p_equivalent,
                "superiority": c and c.superiority,
                "correlation": c and c.correlation,
                "other_images_low": c and c.other_images and c.other_images[0],
                "other_images_high": c and c.other_images and c.other_images[1],
                "verdict": c and c.verdict.kind,
                "verdict_text": c and c.verdict.text,
                "needs": c and c.verdict.needs,
                **(cost_table.record(arm.cost) if cost_table.is_known(table) else {}),
            }
        )
    return records


def _markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """Padded, so that it is also readable in a terminal; nesting becomes a visible mark."""
    shown = [[_marked(cell).replace("|", "\\|") for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in shown
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _marked(cell: str) -> str:
    name = cell.lstrip(" ")
    return "- " * ((len(cell) - len(name)) // 2) + name


def _latex_table(cells: Sequence[Sequence[str]], first: str | None) -> str:
    columns = len(cells[0])
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in cells]
    warned = (
        [rf"\multicolumn{{{columns}}}{{l}}{{\textbf{{{_escaped(first)}}}}} \\"] if first else []
    )
    body = [*warned, r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
    return "\n".join([rf"\begin{{tabular}}{{{'l' * columns}}}", *body, r"\end{tabular}"])


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def _escaped(text: str) -> str:
    name = text.lstrip(" ")
    indent = r"\quad " * ((len(text) - len(name)) // 2)
    return indent + "".join(_LATEX.get(character, character) for character in name)


def _confidence(table: Table) -> str:
    return f"{100 * (1 - table.declaration.level):g}%"


def _percent(fraction: float | None) -> str:
    return NOTHING if fraction is None else f"{100 * fraction:.2f}%"


def _points(fraction: float | None) -> str:
    return NOTHING if fraction is None else points(fraction)


def _signed(fraction: float | None) -> str:
    if fraction is None:
        return NOTHING
    text = points(fraction)
    return text if text.startswith("-") or text == "0.00" else f"+{text}"


def _difference(c: Comparison) -> str:
    return _signed(c.difference) + (f" {_span(c.low, c.high)}" if c.low is not None else "")


def _span(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"({points(low)} to {points(high)})"


def _p(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "<0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.001 else f"{p:.3f}"


def _lost(arm: ArmResult) -> str:
    counts = {"diverged": arm.diverged, "failed": arm.failed, "missing": arm.missing}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "0"


def dumps(table: Table) -> str:
    """`to_json` as text of one line."""
    return json.dumps(to_json(table), allow_nan=False)
