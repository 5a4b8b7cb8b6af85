"""From the fields of `config.model` to a network: depths, widths, and what a design string implies."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax.numpy as jnp

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.models import plugins
from resnet_jax.models.designs import DESIGNS, Design
from resnet_jax.models.layers import STEM_VOCABULARY, VOCABULARY, ConvSpec, LayerOptions
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.unit import Unit, UnitSpec, split_preact
from resnet_jax.native.ops import Kernels
from resnet_jax.tokens import Token

EXPANSION = 4
"""Output channels of a bottleneck unit over its inner ones (He et al. 2015, figure 5)."""

_IMAGENET_STAGES = {
    (18, False): (2, 2, 2, 2),
    (34, False): (3, 4, 6, 3),
    (50, True): (3, 4, 6, 3),
    (101, True): (3, 4, 23, 3),
    (152, True): (3, 8, 36, 3),
}
"""(depth, bottleneck) -> units per stage (He et al. 2015, table 1)."""


def build(
    model: Any, num_classes: int, dtype: jnp.dtype = jnp.float32, native: Kernels | None = None
) -> ResNet:
    """Builds the network that `config.model` describes.

    Args:
        model: the section `model` of a config (attributes as listed in `configs/default.py`).
        num_classes: number of logits.
        dtype: of the computation; parameters are float32.
        native: kernels to use where they serve; None for XLA's convolutions alone.

    Raises:
        ConfigError: a string or number that describes no network, naming the field.
    """
    own = plugins.load(model.plugins, STEM_VOCABULARY)
    known = plugins.vocabulary(VOCABULARY, own)
    design = resolve_design(model)
    kernels = tuple(model.kernels or ((1, 3, 1) if model.bottleneck else (3, 3)))
    branch = _repeat_to(
        tokens.parse(design.branch, known, "config.model.branch"), len(kernels), kernels
    )
    after = tokens.parse(design.after, known, "config.model.after")
    final = tokens.parse(design.final, known, "config.model.final")
    for field, sequence in (("config.model.after", after), ("config.model.final", final)):
        if any(token.name == "conv" for token in sequence):
            raise ConfigError(
                f"{field} may not hold 'conv'; convolutions belong into config.model.branch"
            )
    stem, stem_convs = _stem(design.stem, model.stage_widths[0], own)
    units = sum(stage_sizes(model))
    every_unit = range(1, units + 1)
    _check_factors("config.model.branch", branch, every_unit, units)
    _check_factors("config.model.after", after, every_unit, units)
    _check_factors("config.model.stem", stem, (0,), units)
    _check_factors("config.model.final", final, (units,), units)
    has_norm = any(
        token.name == "norm" and (token.arguments[0] or model.norm) != "none"
        for token in branch + after
    )
    has_bias = any(token.name == "bias" for token in branch + after)
    options = LayerOptions(
        norm=model.norm,
        activation=model.activation,
        conv_bias=not (has_norm or has_bias),
        dtype=dtype,
        kernels=native,
        plugins=own,
    )
    return ResNet(
        stem=stem,
        stem_convs=stem_convs,
        stages=tuple(_stages(model, branch, after, kernels, _stem_features(stem_convs))),
        final=final,
        num_classes=num_classes,
        options=options,
        unit=plugins.load_unit(model.unit) if model.unit else Unit,
    )


def resolve_design(model: Any) -> Design:
    """The row of the named design, with the fields that the config sets, and no column unset."""
    row = DESIGNS[model.design]
    branch = row.branch if model.branch is None else model.branch
    after = row.after if model.after is None else model.after
    stem = row.stem if model.stem is None else model.stem
    final = row.final if model.final is None else model.final
    known = plugins.vocabulary(VOCABULARY, plugins.load(model.plugins, STEM_VOCABULARY))
    parsed = tokens.parse(branch, known, "config.model.branch")
    if not any(token.name == "conv" for token in parsed):
        raise ConfigError(
            f"config.model.branch={branch!r} has no 'conv'; write, say, 'conv norm act conv'"
        )
    if final is None:
        final = " ".join(map(str, split_preact(parsed)[0]))
    if stem in (None, "cifar", "imagenet"):
        stem = _derived_stem(parsed, imagenet=stem == "imagenet")
    return Design(branch=branch, after=after, source=row.source, stem=stem, final=final)


def _derived_stem(branch: tuple[Token, ...], *, imagenet: bool) -> str:
    """The stem that feeds the branch what its first tokens expect.

    A branch that starts with `conv` expects an activated input; one that starts with `act` but has
    a norm (ReLU-only pre-activation) expects a normalised one; Fixup's starts with `bias`.
    """
    kinds = [token.name for token in branch]
    if kinds[0] == "conv":
        rest = " norm act"
    elif kinds[0] == "act" and "norm" in kinds:
        rest = " norm"
    elif kinds[0] == "bias":
        rest = " bias act"
    else:
        rest = ""
    return f"conv(7, 2){rest} pool(3, 2)" if imagenet else f"conv{rest}"


def _stem(
    text: str, features: int, own: tuple[plugins.Plugin, ...]
) -> tuple[tuple[Token, ...], tuple[ConvSpec, ...]]:
    stem = tokens.parse(text, plugins.vocabulary(STEM_VOCABULARY, own), "config.model.stem")
    convs = [token.arguments for token in stem if token.name == "conv"]
    specs = tuple(ConvSpec(width or features, kernel, stride) for kernel, stride, width in convs)
    return stem, specs


def _stem_features(convs: tuple[ConvSpec, ...]) -> int:
    if not convs:
        raise ConfigError(
            "config.model.stem needs a 'conv'; write 'conv', or leave the field unset"
        )
    return convs[-1].features


def _repeat_to(branch: tuple[Token, ...], convs: int, kernels: tuple) -> tuple[Token, ...]:
    """Repeats what stands between the first two convolutions until the branch has `convs` of them."""
    places = [i for i, token in enumerate(branch) if token.name == "conv"]
    if len(places) == convs:
        return branch
    if len(places) != 2 or convs < 2:
        legal = f"2 or {convs}" if convs > 2 else str(convs)
        raise ConfigError(
            f"config.model.branch has {len(places)} 'conv', but a unit has {convs} convolutions, of the "
            f"sizes {kernels}; write {legal} 'conv', or name {len(places)} sizes in config.model.kernels"
        )
    first, second = places
    between = branch[first + 1 : second + 1]
    return branch[: second + 1] + between * (convs - 2) + branch[second + 1 :]


def stage_sizes(model: Any) -> tuple[int, ...]:
    """Units per stage, from `stage_sizes` if set, else from the depth.

    Raises:
        ConfigError: no network of this kind has that depth.
    """
    stages = len(model.stage_widths)
    if model.stage_sizes:
        if len(model.stage_sizes) != stages:
            raise ConfigError(
                f"config.model.stage_sizes={tuple(model.stage_sizes)} names {len(model.stage_sizes)} "
                f"stages, config.model.stage_widths={tuple(model.stage_widths)} {stages}; make them equal"
            )
        return tuple(model.stage_sizes)
    if stages == 4:
        return _imagenet_sizes(model.depth, model.bottleneck)
    per_unit = len(model.kernels or ()) or (3 if model.bottleneck else 2)
    # The papers count the stem and the head; wide networks also count one projection a stage,
    # but not the head (Zagoruyko & Komodakis 2016, table 1).
    step = per_unit * stages
    for other_layers in (2, 1 + stages):
        units, remainder = divmod(model.depth - other_layers, step)
        if units > 0 and remainder == 0:
            return (units,) * stages
    near = max(1, round((model.depth - 2) / step)) * step + 2
    kind = "bottleneck" if model.bottleneck else "basic"
    raise ConfigError(
        f"config.model.depth={model.depth} fits no network with {stages} stages of {kind} units; write "
        f"{step}n+2 (such as {near}) or, for wide networks, {step}n+{1 + stages} "
        f"(such as {near - 1 + stages})"
    )


def _imagenet_sizes(depth: int, bottleneck: bool) -> tuple[int, ...]:
    sizes = _IMAGENET_STAGES.get((depth, bottleneck))
    if sizes is None:
        legal = ", ".join(f"{d} with bottleneck={b}" for d, b in _IMAGENET_STAGES)
        raise ConfigError(
            f"config.model.depth={depth} with four stages and bottleneck={bottleneck}: "
            f"choose one of {legal}; or set config.model.stage_sizes"
        )
    return sizes


def _stages(
    model: Any,
    branch: tuple[Token, ...],
    after: tuple[Token, ...],
    kernels: tuple[int, ...],
    features: int,
) -> Iterator[tuple[UnitSpec, ...]]:
    """The units of each stage; `features` is the number of channels behind the stem."""
    sizes = stage_sizes(model)
    units, index = sum(sizes), 0
    for stage, size in enumerate(sizes):
        specs = []
        for block in range(size):
            index += 1
            stride = 2 if stage > 0 and block == 0 else 1
            convs = _unit_convs(model, stage, kernels, stride, features)
            reshapes = stride > 1 or convs[-1].features != features
            _check_projection(model, features, convs[-1].features)
            specs.append(
                UnitSpec(
                    branch=branch,
                    after=after,
                    convs=convs,
                    features=convs[-1].features,
                    stride=stride,
                    shortcut=model.shortcut,
                    projection=model.projection,
                    combine=model.combine,
                    projection_norm=branch[0].name == "conv",
                    shared_preact=model.shared_preact == "all"
                    or (model.shared_preact == "paper" and (reshapes or index == 1)),
                    index=index,
                    units=units,
                )
            )
            features = convs[-1].features
        yield tuple(specs)


def _unit_convs(
    model: Any, stage: int, kernels: tuple[int, ...], stride: int, inputs: int
) -> tuple[ConvSpec, ...]:
    """Widths, strides and groups of one unit's convolutions; `inputs` is its input's channels."""
    base = model.stage_widths[stage]
    width = round(base * model.width)
    inner = width
    if model.bottleneck and model.bottleneck_width:
        # Xie et al. 2017 (arXiv 1611.05431), section 3: `groups` paths of d channels, d doubling by stage.
        inner = model.bottleneck_width * base // model.stage_widths[0] * model.groups
    widths = [inner] * len(kernels)
    if model.bottleneck:
        widths[-1] = EXPANSION * width
    if min(widths) < 1:
        raise ConfigError(
            f"config.model.width={model.width} (config.model.bottleneck_width={model.bottleneck_width}) "
            f"leaves a convolution in stage {stage + 1} without channels; write a larger one"
        )
    spatial = [i for i, kernel in enumerate(kernels) if kernel > 1]
    strided = spatial[0] if spatial and model.stride_on == "3x3" else 0
    specs = []
    for i, (kernel, features) in enumerate(zip(kernels, widths, strict=True)):
        groups = model.groups if kernel > 1 else 1
        if features % groups or inputs % groups:
            raise ConfigError(
                f"config.model.groups={groups} does not divide the {inputs} and {features} channels of a "
                f"convolution in stage {stage + 1}; choose a divisor, or another width"
            )
        specs.append(ConvSpec(features, kernel, stride if i == strided else 1, groups))
        inputs = features
    return tuple(specs)


def _check_projection(model: Any, inputs: int, features: int) -> None:
    """Finds out now what would otherwise fail while the network is traced."""
    if model.projection == "A" and model.shortcut != "none" and features < inputs:
        raise ConfigError(
            f"config.model.projection='A' cannot shrink {inputs} channels to {features}; "
            "write config.model.projection='B'"
        )


def _check_factors(
    field: str, sequence: tuple[Token, ...], indices: Iterable[int], units: int
) -> None:
    """Checks that `mul` has a value wherever it stands; `indices` are the `l` it will be given."""
    for token in sequence:
        if token.name != "mul":
            continue
        for index in indices:
            try:
                token.arguments[0].value(L=units, l=index)
            except ValueError as error:
                raise ConfigError(
                    f"{field}: {token} {error}, for l={index} and L={units}"
                ) from None
