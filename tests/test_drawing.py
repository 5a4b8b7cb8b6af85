"""Pictures of units: nothing is clipped, nothing overlaps, and the strings are all there."""

import dataclasses
import itertools
import re
from xml.etree import ElementTree

import pytest

from configs import default
from resnet_jax import catalogue, drawing
from resnet_jax.models import architecture
from resnet_jax.models.designs import DESIGNS
from resnet_jax.tokens import Token

SVG = "{http://www.w3.org/2000/svg}"
LONG = Token("a_gate_of_somebody", (1.0, "with", "a_long", "list_of", "arguments"))


def draw(changes=(), **fields) -> ElementTree.Element:
    """The parsed picture of a network; `changes` are made to the specs of its units."""
    model = default.get_config().model
    for name, value in fields.items():
        model[name] = value
    network = architecture.build(model, 10)
    diagrams = [
        drawing.diagram(dataclasses.replace(unit, **dict(changes)), inputs, network.options, name)
        for name, unit, inputs in catalogue.shown_units(network)
    ]
    return ElementTree.fromstring(
        drawing.svg("title & <more>", "y = f(x) " * 20, "source", diagrams)
    )


def absolute(root):
    """(element, x offset, y offset) of all shapes."""
    for child in root:
        if child.tag == f"{SVG}g":
            dx, dy = map(float, re.findall(r"-?[\d.]+", child.get("transform")))
            yield from ((inner, dx, dy) for inner in child)
        else:
            yield child, 0.0, 0.0


def rectangles(root):
    """Left, top, right, bottom of every box with a colour of its own, and of every line of text."""
    boxes, texts = [], []
    for shape, dx, dy in absolute(root):
        if shape.tag == f"{SVG}rect" and shape.get("stroke"):
            x, y = float(shape.get("x")) + dx, float(shape.get("y")) + dy
            boxes.append((x, y, x + float(shape.get("width")), y + float(shape.get("height"))))
        if shape.tag == f"{SVG}text":
            size = float(shape.get("font-size"))
            half = 0.602 * size * len(shape.text) / 2  # of a monospaced font
            x, y = float(shape.get("x")) + dx, float(shape.get("y")) + dy
            middle = x + half if shape.get("text-anchor") == "start" else x
            texts.append((middle - half, y - 0.75 * size, middle + half, y + 0.2 * size))
    return boxes, texts


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a, b) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


KINDS = [
    *({"design": name} for name in DESIGNS),
    *({"design": name, "bottleneck": True, "depth": 29, "projection": "B"} for name in DESIGNS),
    {"shortcut": "none"},
    {"design": "full_preact", "shared_preact": "all", "projection": "B"},
    {"branch": "bias conv " + "drop(0.123456789) mul(1/sqrt(L)+l*l/4) " * 4 + "conv norm"},
    {"changes": {"shortcut": "exclusive_gate(-6)", "combine": "orthogonal(position)"}},
    {"changes": {"shortcut": LONG, "projection": "D", "combine": LONG, "after": (LONG, LONG)}},
    {"changes": {"shortcut": "conv(norm)", "combine": "add(1.0, 1/sqrt(L))"}, "projection": "B"},
    {"stage_sizes": (1, 1, 1), "groups": 16, "bottleneck": True, "kernels": (1, 9, 1)},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nothing_is_clipped_and_nothing_overlaps(kind):
    root = draw(**kind)
    boxes, texts = rectangles(root)
    page = (0, 0, float(root.get("width")), float(root.get("height")))
    for shape in (*boxes, *texts):
        assert inside(shape, page)
    for a, b in itertools.combinations(boxes, 2):
        assert not overlap(a, b)
    for a, b in itertools.combinations(texts, 2):
        assert not overlap(a, b)
    for text in texts:
        assert all(inside(text, box) or not overlap(text, box) for box in boxes)


def labels(root) -> list[str]:
    return [shape.text for shape, _, _ in absolute(root) if shape.tag == f"{SVG}text"]


def test_convolutions_carry_their_sizes_widths_strides_and_groups():
    found = labels(draw(bottleneck=True, depth=29, groups=4, projection="B"))
    assert {"conv 1x1, 64 → 16", "conv 3x3, 16 → 16, 4 groups", "conv 1x1, 16 → 64"} <= set(found)
    assert "conv 3x3, 32 → 32, stride 2, 4 groups" in found
    assert {"conv 1x1", "64 → 128", "stride 2"} <= set(found)  # the projection


def test_a_shared_pre_activation_stands_before_the_split():
    def before_the_split(root, panel):
        group = root.findall(f"{SVG}g")[panel]
        split = float(group.find(f"{SVG}circle").get("cy"))
        texts = [shape for shape in group if shape.tag == f"{SVG}text"]
        return [text.text for text in texts if float(text.get("y")) < split][2:]

    root = draw(design="full_preact")
    assert before_the_split(root, 0) == []
    assert before_the_split(root, 1) == ["batch norm", "relu"]


def test_the_meeting_point_carries_the_combine_and_the_shortcut_what_it_does():
    assert {"+", "identity", "zero-pad 16 → 32"} <= set(labels(draw()))
    gated = labels(draw(changes={"shortcut": "exclusive_gate(-6)", "combine": "some(1)"}))
    assert {"exclusive_gate(-6)", "times (1 - g(x))", "times g(x)", "some(1)"} <= set(gated)
    assert "+" not in gated
    assert not {"+", "identity"} & set(labels(draw(shortcut="none")))
    halved = labels(draw(changes={"shortcut": "scale(0.5, 0.1)", "combine": "add(1.0, 1.0)"}))
    assert {"times 0.5", "times 0.1", "+", "zero-pad 16 → 32"} <= set(halved)


def test_a_convolution_on_every_shortcut_takes_the_place_of_zero_padding_only():
    found = labels(draw(changes={"shortcut": "conv(norm)"}))
    assert found.count("conv 1x1") == 2
    assert {"16 → 16", "16 → 32", "stride 2"} <= set(found)
    assert not any("zero-pad" in label for label in found)
    twice = labels(draw(changes={"shortcut": "conv(none)"}, projection="B"))
    assert twice.count("conv 1x1") == 3
    assert {"16 → 32", "32 → 32"} <= set(twice)


def test_a_title_is_escaped_and_the_background_white():
    root = draw()
    assert root.find(f"{SVG}title").text == "title & <more>"
    assert root.find(f"{SVG}rect").get("fill") == "#ffffff"
