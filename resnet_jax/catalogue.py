"""The designs beside each other: formulas, parameters, pictures."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax import atomic, drawing, formula, params, step, tokens
from resnet_jax.data import spec
from resnet_jax.models import architecture
from resnet_jax.models.combines import COMBINES
from resnet_jax.models.designs import DESIGNS
from resnet_jax.models.norms import NORMS
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.shortcuts import SHORTCUTS
from resnet_jax.models.unit import UnitSpec

_GALLERY_INTRODUCTION = """# Residual designs

Every row of `resnet_jax/models/designs.py`, drawn from its strings: a unit that keeps the shape,
and the first one that changes it, in a network of depth {depth}. This page and its pictures are written by

    python -m resnet_jax designs --gallery docs/designs
"""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A design as the catalogue shows it.

    Attributes:
        name: its key in `DESIGNS`.
        columns: of its row, by name; unset ones that the strings imply filled in.
        formula: of a unit that keeps the shape.
        parameters: trainable scalars of the network.
    """

    name: str
    columns: dict[str, Any]
    formula: str
    parameters: int


def entries(config: ConfigDict) -> Iterator[Entry]:
    """The catalogue of all designs, each in the network that `config` otherwise describes.

    Raises:
        ConfigError: the config cannot build one of them.
    """
    for name in DESIGNS:
        with_design = ConfigDict(config.to_dict())
        with_design.model.design = name
        network = _network(with_design)
        image_shape = spec.of(config.data).image_shape
        shapes = jax.eval_shape(lambda n=network, s=image_shape: step.init_variables(n, 0, s))
        yield Entry(
            name,
            dataclasses.asdict(architecture.resolve_design(with_design.model)),
            formula.of_unit(shown_units(network)[0][1]),
            params.count(shapes["params"]),
        )


def describe(entry: Entry) -> list[str]:
    """An entry in lines for people."""
    strings = [entry.columns["branch"], entry.columns["after"]]
    return [
        f"{entry.name:<18} {entry.parameters:>11,}  branch '{strings[0]}', after '{strings[1]}'",
        f"    {entry.formula}",
        f"    {entry.columns['source']}",
    ]


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that goes with every design.

    Attributes:
        string: as one writes it in the config.
        meaning: in a few words.
        formula: of what it computes; of a path, where both meet.
        source: paper and section; "" for none.
    """

    string: str
    meaning: str
    formula: str
    source: str


def parts() -> dict[str, tuple[Part, ...]]:
    """Fields of `model` that go with every design, and what they may be."""
    norms = {name: norm.signature for name, norm in NORMS.items()}
    found = {"shortcut": SHORTCUTS, "combine": COMBINES, "norm": norms}
    return {
        field: tuple(
            Part(tokens.form(name, known), known.meaning, known.formula, known.source)
            for name, known in vocabulary.items()
        )
        for field, vocabulary in found.items()
    }


def describe_part(part: Part) -> list[str]:
    """A part in lines for people."""
    lines = [f"{part.string:<30} {part.meaning}", f"    {part.formula}"]
    return lines + ([f"    {part.source}"] if part.source else [])


def picture(config: ConfigDict, title: str, changes: Sequence[str] = ()) -> str:
    """The unit of a config as the text of an SVG file.

    Args:
        config: validated.
        title: of the picture.
        changes: what the config has otherwise than the design, in words.

    Raises:
        ConfigError: the config describes no network.
    """
    network = _network(config)
    shown = shown_units(network, spec.of(config.data).image_shape[-1])
    own = config.model.branch is not None or config.model.after is not None
    source = "strings of your own" if own else architecture.resolve_design(config.model).source
    return drawing.svg(
        title,
        formula.of_unit(shown[0][1]),
        "; with ".join([source, *([", ".join(changes)] if changes else [])]),
        [
            drawing.diagram(unit, inputs, network.options, caption)
            for caption, unit, inputs in shown
        ],
    )


def write_gallery(config: ConfigDict, folder: Path) -> list[Path]:
    """Writes a picture of every design, and the page that shows them.

    Returns:
        the files.

    Raises:
        WorkdirError: `folder` cannot be written.
    """
    page, written = [_GALLERY_INTRODUCTION.format(depth=config.model.depth)], []
    for entry in entries(config):
        with_design = ConfigDict(config.to_dict())
        with_design.model.design = entry.name
        written.append(folder / f"{entry.name}.svg")
        atomic.write(written[-1], picture(with_design, entry.name))
        page.append(f"## {entry.name}\n\n![{entry.name}]({entry.name}.svg)\n")
    written.append(folder / "README.md")
    atomic.write(written[-1], "\n".join(page))
    return written


def _network(config: ConfigDict) -> ResNet:
    dataset = spec.of(config.data)
    channels = dataset.image_shape[-1]
    return architecture.build(config.model, dataset.num_classes, channels=channels)


def shown_units(network: ResNet, channels: int = 3) -> list[tuple[str, UnitSpec, int]]:
    """The units to draw: one that keeps the shape, the first that changes it at a stride.

    Args:
        network: as built.
        channels: of the images, which the first unit sees where the stem has no convolution.

    Returns:
        name, unit and input channels of each; at least one.
    """
    found, inputs = [], network.stem_convs[-1].features if network.stem_convs else channels
    for number, stage in enumerate(network.stages, 1):
        for block, unit in enumerate(stage, 1):
            found.append((f"stage{number}/block{block}", unit, inputs))
            inputs = unit.features
    keeping = [
        (name, unit, inputs)
        for name, unit, inputs in found
        if unit.stride == 1 and inputs == unit.features
    ]
    changing = [item for item in found if item[1].stride > 1]
    # The network's first unit shares its pre-activation, which others that keep the shape do not.
    return [*keeping[1:2], *changing[:1]] or found[:1]
