"""Where the norms of a network stand, and whether they can work there."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from resnet_jax.errors import ConfigError
from resnet_jax.models import norms
from resnet_jax.models.layers import ConvSpec
from resnet_jax.models.resnet import ResNet
from resnet_jax.tokens import Token


@dataclasses.dataclass(frozen=True)
class Place:
    """A norm.

    Attributes:
        field: the config field that names its kind.
        kind: as one writes it.
        channels: that it normalises.
        where: in words.
    """

    field: str
    kind: str
    channels: int
    where: str


def check_channels(network: ResNet, channels: int) -> None:
    """Checks every norm of a network for images of so many `channels`.

    Raises:
        ConfigError: one cannot normalise its input.
    """
    for place in dict.fromkeys(_places(network, channels)):
        _check_channels(place.kind, place.channels, place.field, place.where)


def check_batch(network: ResNet, channels: int, images: int) -> None:
    """Checks that every norm can normalise micro-batches of `images`.

    Raises:
        ConfigError: one cannot.
    """
    for field, kind in dict.fromkeys((p.field, p.kind) for p in _places(network, channels)):
        _check_batch(kind, images, field)


def total_stride(network: ResNet) -> int:
    """By how much the network divides height and width in all."""
    strides = [conv.stride for conv in network.stem_convs]
    strides += [t.arguments[1] for t in network.stem if t.name in ("pool", "blur")]
    strides += [unit.stride for stage in network.stages for unit in stage]
    return math.prod(strides)


def _places(network: ResNet, channels: int) -> Iterator[Place]:
    default = network.options.norm

    def along(
        tokens: Sequence[Token], convs: Sequence[ConvSpec], field: str, where: str
    ) -> Iterator[Place]:
        nonlocal channels
        rest = iter(convs)
        for token in tokens:
            if token.name == "conv":
                channels = next(rest).features
            if token.name == "norm":
                kind, start = token.arguments
                if kind == "none" and start is not None:
                    raise ConfigError(f"{field}: {token} has no scale to start; write norm(none)")
                named = field if kind else "config.model.norm"
                yield Place(named, kind or default, channels, where)

    yield from along(network.stem, network.stem_convs, "config.model.stem", "the stem")
    for number, stage in enumerate(network.stages, 1):
        where = f"stage {number}"
        for unit in stage:
            inputs = channels
            yield from along(unit.branch, unit.convs, "config.model.branch", where)
            yield from along(unit.after, (), "config.model.after", where)
            projects = unit.projection != "A" and unit.shortcut.name != "none"
            reshapes = unit.stride > 1 or inputs != unit.features
            on_shortcut = unit.shortcut.name == "conv" and unit.shortcut.arguments == ("norm",)
            if on_shortcut or (projects and reshapes and unit.projection_norm):
                yield Place("config.model.norm", default, unit.features, where)
    yield from along(network.final, (), "config.model.final", "the end of the network")


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return next(n for n in range(min(number, limit), 0, -1) if number % n == 0)


def _check_channels(kind: str, channels: int, field: str, where: str) -> None:
    """Checks that a kind can normalise so many channels.

    Args:
        kind: as one writes it.
        channels: of the input.
        field: the config field that names the kind.
        where: in the network.

    Raises:
        ConfigError: it cannot, with what to type.
    """
    token = norms.token(kind)
    if token.name == "group" and channels % token.arguments[0]:
        raise ConfigError(
            f"{field}: {kind} does not divide the {channels} channels of a norm in {where}; "
            f"write, say, group({_divisor(channels, token.arguments[0])}), or choose other widths"
        )


def _check_batch(kind: str, images: int, field: str) -> None:
    """Checks that a kind can normalise micro-batches of so many `images`.

    Raises:
        ConfigError: it cannot, with what to type.
    """
    token = norms.token(kind)
    if token.name == "ghost" and images % token.arguments[0]:
        raise ConfigError(
            f"{field}: {kind} does not divide a micro-batch of {images} images (config.batch_size / "
            f"config.accumulation); write, say, ghost({_divisor(images, token.arguments[0])})"
        )
