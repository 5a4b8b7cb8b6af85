"""Shapes of an SVG: labelled boxes, chains of them, lines with arrow heads."""

import dataclasses
from collections.abc import Sequence
from xml.sax.saxutils import escape

SIZE, LINE, CHARACTER = 13, 17, 8.0
"""Font size, line height and width of a character of the labels, pixels; 0.6 em is 7.8."""

GAP, PADDING, MARGIN = 18, 9, 24
"""Between boxes, around a label, around the picture, pixels."""

FONT = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"

COLOURS = {
    "conv": ("#dbe9fb", "#2f6fb7"),
    "norm": ("#dff1df", "#3a8a3f"),
    "act": ("#fdecd0", "#c77d12"),
    "shortcut": ("#ece3f7", "#7a4fb0"),
    "other": ("#eeeeee", "#666666"),
}
"""Kind of a box -> its fill and its border."""


@dataclasses.dataclass(frozen=True)
class Box:
    """A layer as it is drawn: lines of text, and a key of `COLOURS`."""

    lines: tuple[str, ...]
    kind: str

    @property
    def width(self) -> float:
        return width_of(self.lines) + 2 * PADDING

    @property
    def height(self) -> float:
        return LINE * len(self.lines) + 8


def chain(boxes: Sequence[Box], centre: float, y: float) -> tuple[list[str], float]:
    """Boxes below each other, an arrow in front of each, from `y` on; and where the last one ends."""
    shapes = []
    for box in boxes:
        shapes.append(line(centre, y, centre, y + GAP, arrow=True))
        y += GAP
        fill, border = COLOURS[box.kind]
        shapes.append(
            f'<rect x="{centre - box.width / 2:g}" y="{y:g}" width="{box.width:g}" '
            f'height="{box.height:g}" rx="5" fill="{fill}" stroke="{border}"/>'
        )
        shapes += lines_of(box.lines, centre, y)
        y += box.height
    return shapes, y


def lines_of(lines: Sequence[str], x: float, y: float, fill: str = "#222222") -> list[str]:
    """The text of a box that begins at `y`."""
    return [text_at(x, y + 17 + n * LINE, words, fill=fill) for n, words in enumerate(lines)]


def width_of(lines: Sequence[str]) -> float:
    """Pixels of the longest line."""
    return CHARACTER * max(map(len, lines))


def text_at(
    x: float,
    y: float,
    text: str,
    *,
    size: float = SIZE,
    fill: str = "#222222",
    anchor: str = "middle",
    weight: str = "normal",
) -> str:
    """A line of text; `y` is its base line, `anchor` where `x` is in it."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}" xml:space="preserve">{escape(text)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, *, arrow: bool = False) -> str:
    """A line; an arrow head is drawn as a triangle, which every viewer shows, unlike markers."""
    drawn = (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="#222222" stroke-width="1.5" '
        'stroke-linecap="round"/>'
    )
    if not arrow:
        return drawn
    dx, dy = (y2 > y1 or y2 < y1, x2 != x1)
    sign = 1 if (x2 - x1) + (y2 - y1) > 0 else -1
    back = 7 * sign
    a = (x2 - back * dy - 4 * dx, y2 - back * dx - 4 * dy)
    b = (x2 - back * dy + 4 * dx, y2 - back * dx + 4 * dy)
    points = f"{x2:g},{y2:g} {a[0]:g},{a[1]:g} {b[0]:g},{b[1]:g}"
    return f'{drawn}<polygon points="{points}" fill="#222222"/>'
