"""A residual unit as a picture: what its strings say, as boxes (`svg.py`)."""

import dataclasses
import textwrap
from collections.abc import Sequence
from xml.sax.saxutils import escape

from resnet_jax import formula
from resnet_jax.models.layers import ConvSpec, LayerOptions
from resnet_jax.models.unit import UnitSpec, split_preact
from resnet_jax.svg import (
    CHARACTER,
    COLOURS,
    FONT,
    GAP,
    LINE,
    MARGIN,
    SIZE,
    Box,
    chain,
    line,
    lines_of,
    text_at,
    width_of,
)
from resnet_jax.tokens import Token

_IDENTITY = Box(("identity",), "shortcut")


@dataclasses.dataclass(frozen=True)
class Diagram:
    """A unit as boxes.

    Attributes:
        caption: which unit it is.
        x, y: its input and its output.
        shared: boxes in front of the split of the two paths.
        branch: boxes of the branch.
        shortcut: boxes of the shortcut; None for a unit without one.
        combine: lines of text where the two meet.
        after: boxes behind.
    """

    caption: str
    x: str
    y: str
    shared: tuple[Box, ...]
    branch: tuple[Box, ...]
    shortcut: tuple[Box, ...] | None
    combine: tuple[str, ...]
    after: tuple[Box, ...]


def diagram(spec: UnitSpec, inputs: int, options: LayerOptions, caption: str) -> Diagram:
    """What to draw of a unit.

    Args:
        spec: the unit.
        inputs: channels of its input.
        options: of the network.
        caption: which unit it is.
    """
    convs = iter(spec.convs)
    channels = inputs

    def boxes(tokens: Sequence[Token]) -> tuple[Box, ...]:
        nonlocal channels
        made = []
        for token in tokens:
            conv = next(convs) if token.name == "conv" else None
            made.append(_box(token, conv, channels, options))
            channels = conv.features if conv else channels
        return tuple(made)

    preact, rest = split_preact(spec.branch)
    name = formula.call(str(spec.shortcut))[0]
    plain = name == "none"
    shared = boxes(preact) if spec.shared_preact and not plain else ()
    branch = boxes(rest if shared else (*preact, *rest))
    if formula.is_gate(str(spec.shortcut))[1]:
        branch += (Box(("times g(x)",), "shortcut"),)
    if name == "scale" and formula.factors(str(spec.shortcut))[1] != "1":
        branch += (Box((f"times {formula.factors(str(spec.shortcut))[1]}",), "shortcut"),)
    size = f"[H/{spec.stride}, W/{spec.stride}" if spec.stride > 1 else "[H, W"
    return Diagram(
        caption=caption,
        x=f"x [H, W, {inputs}]",
        y=f"y {size}, {spec.features}]",
        shared=shared,
        branch=branch,
        shortcut=None if plain else _shortcut(spec, inputs, options),
        combine=_meeting(str(spec.combine)),
        after=boxes(spec.after),
    )


def _meeting(combine: str) -> tuple[str, ...]:
    plain = formula.call(combine)[0] == "add" and formula.factors(combine) == ("1", "1")
    return ("+",) if plain else _wrapped(combine)


def _box(token: Token, conv: ConvSpec | None, inputs: int, options: LayerOptions) -> Box:
    if conv is not None:
        return Box((_conv_label(conv, inputs),), "conv")
    kind = (token.arguments or (None,))[0]
    if token.name == "norm":
        return Box((f"{kind or options.norm} norm",), "norm")
    if token.name == "act":
        return Box((str(kind or options.activation),), "act")
    return Box(_wrapped(str(token)), "other")


def _wrapped(text: str) -> tuple[str, ...]:
    return tuple(textwrap.wrap(formula.short(text), 30))


def _conv_label(conv: ConvSpec, inputs: int) -> str:
    stride = f", stride {conv.stride}" if conv.stride > 1 else ""
    groups = f", {conv.groups} groups" if conv.groups > 1 else ""
    return f"conv {conv.kernel}x{conv.kernel}, {inputs} → {conv.features}{stride}{groups}"


def _shortcut(spec: UnitSpec, inputs: int, options: LayerOptions) -> tuple[Box, ...]:
    """The projection, where the shape changes, and what the shortcut does beside."""
    text = str(spec.shortcut)
    name, arguments = formula.call(text)
    changes = spec.stride > 1 or inputs != spec.features
    # A convolution on every shortcut crosses a change of shape itself, unless another one does.
    projects = changes and not (name == "conv" and spec.projection == "A")
    boxes = _projection(spec, inputs, options) if projects else []
    if name == "conv":
        conv = ConvSpec(spec.features, 1, 1 if projects else spec.stride)
        label = _conv_label(conv, spec.features if projects else inputs)
        boxes.append(Box(tuple(label.split(", ")), "shortcut"))
        boxes += [Box((f"{options.norm} norm",), "norm")] * (arguments == "norm")
    elif formula.is_gate(text)[0]:
        boxes.append(Box((text, "times (1 - g(x))"), "shortcut"))
    elif name == "scale":
        boxes.append(Box((f"times {formula.factors(text)[0]}",), "shortcut"))
    elif name != "identity":
        boxes.append(Box(tuple(textwrap.wrap(text, 20)), "shortcut"))
    return tuple(boxes)


def _projection(spec: UnitSpec, inputs: int, options: LayerOptions) -> list[Box]:
    """How the shortcut crosses a change of shape."""
    change = f"{inputs} → {spec.features}"
    stride = f"stride {spec.stride}" if spec.stride > 1 else ""
    match spec.projection:
        case "A":
            lines = [f"zero-pad {change}", stride]
        case "B":
            lines = _conv_label(ConvSpec(spec.features, 1, spec.stride), inputs).split(", ")
        case "D":
            pool = f"average-pool {spec.stride}x{spec.stride}"
            conv = _conv_label(ConvSpec(spec.features, 1), inputs)
            lines = [pool if stride else "", *conv.split(", ")]
        case other:
            lines = [f"projection {other}", change, stride]
    boxes = [Box(tuple(text for text in lines if text), "shortcut")]
    if spec.projection_norm and spec.projection != "A" and options.norm != "none":
        boxes.append(Box((f"{options.norm} norm",), "norm"))
    return boxes


def svg(title: str, formula: str, source: str, diagrams: Sequence[Diagram]) -> str:
    """The text of an SVG file: title and formula, the diagrams side by side, the source below."""
    panels = [_panel(each) for each in diagrams]
    inside = sum(width for _, width, _ in panels) + 2 * MARGIN * (len(panels) - 1)
    width = max(inside, 560) + 2 * MARGIN
    fits = int((width - 2 * MARGIN) / CHARACTER)
    shapes, y = [], MARGIN + 14
    for words in textwrap.wrap(title, int(fits * 0.75)):
        shapes.append(text_at(MARGIN, y, words, size=17, weight="bold", anchor="start"))
        y += 24
    for words in textwrap.wrap(formula, fits, subsequent_indent="    ", break_on_hyphens=False):
        shapes.append(text_at(MARGIN, y, words, anchor="start"))
        y += LINE
    y += 22
    x = (width - inside) / 2
    for panel, panel_width, _ in panels:
        shapes.append(f'<g transform="translate({x:g} {y:g})">\n' + "\n".join(panel) + "\n</g>")
        x += panel_width + 2 * MARGIN
    y += max(height for _, _, height in panels) + 26
    for words in textwrap.wrap(source, int(fits * SIZE / 12)):
        shapes.append(text_at(MARGIN, y, words, size=12, fill="#555555", anchor="start"))
        y += LINE
    height = y - LINE + MARGIN - 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{FONT}" font-size="{SIZE}">\n'
        f"<title>{escape(title)}</title>\n"
        f"<desc>{escape(formula)}</desc>\n"
        '<rect width="100%" height="100%" fill="#ffffff"/>'
    )
    return "\n".join([head, *shapes, "</svg>\n"])


def _panel(unit: Diagram) -> tuple[list[str], float, float]:
    """The shapes of a unit, from (0, 0), and their width and height."""
    column = max(
        *(box.width for box in (*unit.shared, *unit.branch, *unit.after)),
        Box(unit.combine, "other").width,
        width_of((unit.x, unit.y)),
    )
    beside = 0.0
    if unit.shortcut is not None:
        beside = 2 * GAP + max(box.width for box in (*unit.shortcut, _IDENTITY))
    width = max(column + beside, width_of((unit.caption,)))
    centre = (width - column - beside) / 2 + column / 2
    shapes = [text_at(width / 2, 0, unit.caption, fill="#555555"), text_at(centre, 28, unit.x)]
    boxes, y = chain(unit.shared, centre, 34)
    shapes += boxes
    if unit.shortcut is None:
        boxes, y = chain(unit.branch, centre, y)
    else:
        boxes, y = _paths(unit, centre, centre + column / 2 + GAP + beside / 2, y)
    shapes += boxes
    boxes, y = chain(unit.after, centre, y)
    shapes += [*boxes, line(centre, y, centre, y + GAP, arrow=True)]
    return [*shapes, text_at(centre, y + GAP + 16, unit.y)], width, y + GAP + 20


def _paths(unit: Diagram, centre: float, side: float, y: float) -> tuple[list[str], float]:
    """Branch and shortcut from their split to where they meet, and where that ends.

    Args:
        unit: with a shortcut.
        centre: x of the branch.
        side: x of the shortcut.
        y: where the split is drawn from.
    """
    split = y + 12
    branch_height, side_height = (
        sum(box.height + GAP for box in boxes) + GAP for boxes in (unit.branch, unit.shortcut)
    )
    meet = split + max(branch_height, side_height)
    sign = unit.combine == ("+",)
    half = 13 if sign else Box(unit.combine, "other").width / 2
    height = 26 if sign else Box(unit.combine, "other").height
    middle = meet + height / 2
    branch, branch_end = chain(unit.branch, centre, split)
    start = split + max(0, round((middle - split - side_height) / 2))
    shortcut, shortcut_end = chain(unit.shortcut, side, start)
    shapes = [
        line(centre, y, centre, split),
        line(centre, split, side, split),
        line(side, split, side, start),
        *shortcut,
        line(side, shortcut_end, side, middle),
        line(side, middle, centre + half, middle, arrow=True),
        *branch,
        line(centre, branch_end, centre, meet, arrow=True),
        f'<circle cx="{centre:g}" cy="{split:g}" r="3.5" fill="#222222"/>',
        f'<rect x="{centre - half:g}" y="{meet:g}" width="{2 * half:g}" height="{height:g}" '
        'rx="13" fill="#ffffff" stroke="#222222" stroke-width="1.5"/>',
    ]
    if sign:
        shapes.append(text_at(centre, middle + 6, "+", size=18))
    else:
        shapes += lines_of(unit.combine, centre, meet)
    if not unit.shortcut:
        box, at = _IDENTITY, (split + middle - _IDENTITY.height) / 2
        shapes += [
            f'<rect x="{side - box.width / 2:g}" y="{at:g}" width="{box.width:g}" '
            f'height="{box.height:g}" fill="#ffffff"/>',
            *lines_of(box.lines, side, at, fill=COLOURS["shortcut"][1]),
        ]
    return shapes, meet + height
