"""Which network a state dict belongs to: the fields of `config.model`, from names and shapes alone."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.convert.layout import STEMS, Layout
from resnet_jax.errors import ConfigError, DataError
from resnet_jax.models import architecture

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """What names and shapes say.

    Attributes:
        fields: those of `config.model` that describe the network.
        channels: of the images.
        classes: number of logits.
    """

    fields: Mapping[str, Any]
    channels: int
    classes: int

    def describe(self) -> str:
        """In a few words, for people."""
        fields = self.fields
        kind = "bottleneck" if fields["bottleneck"] else "basic"
        groups, inner = fields["groups"], fields["bottleneck_width"]
        inside = f", {groups} groups" if groups > 1 else ""
        inside = f", {groups} x {inner} channels inside" if inner else inside
        widths = "-".join(map(str, fields["stage_widths"]))
        return (
            f"a ResNet of {fields['depth']} layers ({kind} units, widths {widths}{inside}, "
            f"{self.classes} classes)"
        )


def infer(
    layout: Layout,
    shapes: Mapping[str, Shape],
    model: ConfigDict,
    *,
    stem: str | None = None,
    stride_on: str | None = None,
) -> Network:
    """Reads depth, widths, groups and classes off a state dict of a family.

    Args:
        layout: of the family.
        shapes: of the tensors by their PyTorch names.
        model: the section `model` of the default config.
        stem: `cifar`, `imagenet` or tokens, where shapes do not tell.
        stride_on: `3x3` (as all families have it) or `first`; shapes do not tell.

    Raises:
        DataError: no network of this code base has these tensors.
        ConfigError: `stem` is needed.
    """
    look = _Shapes(layout, shapes)
    units = look.units()
    convs = 3 if look.has("stage1/block1/conv3") else 2
    expansion = architecture.EXPANSION if convs == 3 else 1
    stages = range(1, len(units) + 1)
    outer = [look.conv(f"stage{stage}/block1/conv{convs}")[0] for stage in stages]
    if any(width % expansion for width in outer):
        raise DataError(
            f"the units end with {outer} channels, expected multiples of {expansion}: "
            "no bottleneck network.\nConvert a ResNet, wide ResNet or ResNeXt"
        )
    widths = tuple(width // expansion for width in outer)
    inner, kernel_inputs = look.conv("stage1/block1/conv2")[:2]
    groups = max(1, inner // kernel_inputs) if convs == 3 else 1
    kernels = tuple(look.conv(f"stage1/block1/conv{i}")[2] for i in range(1, convs + 1))
    if any(size % 2 == 0 for size in kernels):
        raise DataError(
            f"a unit's convolutions have the sizes {kernels}, expected odd kernel sizes.\n"
            "Convert a ResNet, wide ResNet or ResNeXt"
        )
    first, channels, size = look.conv("stem/conv")[:3]
    fields = {
        "design": "original",
        "depth": convs * sum(units) + 2,
        "stage_widths": widths,
        "stage_sizes": tuple(units),
        "bottleneck": convs == 3,
        "bottleneck_width": inner // groups if convs == 3 and inner != widths[0] else None,
        "groups": groups,
        "kernels": None if kernels == ((1, 3, 1) if convs == 3 else (3, 3)) else kernels,
        "stride_on": stride_on or "3x3",
        "projection": look.projection(len(units)),
        "stem": _stem(layout, size, len(units), stem, None if first == widths[0] else first),
    }
    fields["stage_sizes"] = _unless_implied(model, fields)
    return Network(fields, channels, look.of("head", 2)[0])


def apply(fields: Mapping[str, Any], model: ConfigDict) -> ConfigDict:
    """A copy of the section `model` of a config with these fields."""
    changed = model.copy_and_resolve_references()
    for name, value in fields.items():
        changed[name] = value
    return changed


def _unless_implied(model: ConfigDict, fields: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Units per stage, or None where the depth says the same."""
    by_depth = apply({**fields, "stage_sizes": None}, model)
    try:
        implied = architecture.stage_sizes(by_depth) == fields["stage_sizes"]
    except ConfigError:
        implied = False
    return None if implied else fields["stage_sizes"]


def _stem(
    layout: Layout, size: int, stages: int, given: str | None, features: int | None
) -> str | None:
    """The field `model.stem`; shapes say nothing of its stride and its pooling.

    Args:
        layout: of the family.
        size: kernel size of its convolution, pixels.
        stages: how many follow.
        given: on the command line.
        features: its output channels, None where they are those of the first stage.
    """
    known = layout.stems.get((size, stages)) or layout.stems.get((size, None))
    tokens = STEMS.get(given, given) if given else known
    if tokens is None:
        raise ConfigError(
            f"the stem's convolution is {size}x{size}, of which {layout.name} has none: its stride and "
            "pooling are unknown;\nadd --stem cifar (neither), --stem imagenet, or tokens such as "
            f'--stem "conv({size}, 2) norm act pool(3, 2)"'
        )
    if given or features is None:
        return {STEMS["cifar"]: None, STEMS["imagenet"]: "imagenet"}.get(tokens, tokens)
    if tokens == STEMS["cifar"]:
        return f"conv({size}, 1, {features}) norm act"
    return tokens.replace("conv(7, 2)", f"conv(7, 2, {features})")


@dataclasses.dataclass(frozen=True)
class _Shapes:
    """Shapes by our names of the modules."""

    layout: Layout
    shapes: Mapping[str, Shape]

    def key(self, module: str) -> str:
        return f"{self.layout.module(module)}.weight"

    def has(self, module: str) -> bool:
        return self.key(module) in self.shapes

    def of(self, module: str, rank: int) -> Shape:
        """The shape of a module's kernel, of so many dimensions.

        Raises:
            DataError: it is missing, or has other dimensions.
        """
        key = self.key(module)
        shape = self.shapes.get(key)
        if shape is None:
            raise DataError(
                f"{key} is missing: no whole network of the layout {self.layout.name}.\n"
                "Save all of model.state_dict(), or download the file again"
            )
        if len(shape) != rank or min(shape) < 1:
            raise DataError(
                f"{key} has the shape {shape}, expected {rank} sizes of at least 1.\n"
                "Convert a ResNet, wide ResNet or ResNeXt"
            )
        return tuple(shape)

    def conv(self, module: str) -> Shape:
        return self.of(module, 4)

    def units(self) -> list[int]:
        """Units per stage."""
        sizes = []
        while self.has(f"stage{len(sizes) + 1}/block1/conv1"):
            block = 1
            while self.has(f"stage{len(sizes) + 1}/block{block + 1}/conv1"):
                block += 1
            sizes.append(block)
        if not sizes:
            self.of("stage1/block1/conv1", 4)
        return sizes

    def projection(self, stages: int) -> str:
        """`A`, where the family has it and no stage begins with a projection, else `B`."""
        found = any(self.has(f"stage{i}/block1/projection/conv") for i in range(1, stages + 1))
        return "A" if self.layout.zero_padding and not found else "B"
