"""From the fields of `config.model` to a network: depths, widths, and what a design string implies."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.models import (
    checks,
    head,
    initial_values,
    places,
    plugins,
    pooling,
    signal,
    variations,
)
from resnet_jax.models.depths import stage_sizes
from resnet_jax.models.designs import DESIGNS, Design
from resnet_jax.models.layers import STEM_VOCABULARY, VOCABULARY, ConvSpec, LayerOptions
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.unit import Unit, UnitSpec, split_preact
from resnet_jax.native.ops import Kernels
from resnet_jax.tokens import Token

EXPANSION = 4
"""Output channels of a bottleneck unit over its inner ones (He et al. 2015, figure 5)."""


def build(
    model: Any,
    num_classes: int,
    dtype: jnp.dtype = jnp.float32,
    native: Kernels | None = None,
    channels: int = 3,
) -> ResNet:
    """Builds the network that `config.model` describes.

    Args:
        model: the section `model` of a config (attributes as listed in `configs/default.py`).
        num_classes: number of logits.
        dtype: of the computation; parameters are float32.
        native: kernels to use where they serve; None for XLA's convolutions alone.
        channels: of the images.

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
    branch = variations.zero_last_norm(branch, model)
    variations.check_drop_path(model)
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
    checks.check_factors("config.model.branch", branch, every_unit, units)
    checks.check_factors("config.model.after", after, every_unit, units)
    checks.check_factors("config.model.stem", stem, (0,), units)
    checks.check_factors("config.model.final", final, (units,), units)
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
        remat=model.remat,
        standardization=design.weight_standardization,
        scaled_activation=design.scaled_activation,
        plugins=own,
    )
    features = stem_convs[-1].features if stem_convs else channels
    stages = tuple(_stages(model, design, branch, after, kernels, features))
    checks.check_expressions(stages)
    stages, beta = signal.with_betas(stages, final, features, model.norm)
    source = "model.init" if model.init is not None else f"model.init of design {model.design!r}"
    network = ResNet(
        stem=stem,
        stem_convs=stem_convs,
        stages=stages,
        final=final,
        head=tokens.parse(model.head, head.VOCABULARY, "config.model.head"),
        num_classes=num_classes,
        options=options,
        beta=beta,
        initial=initial_values.parse(design.init, units, len(kernels), source),
        unit=plugins.load_unit(model.unit) if model.unit else Unit,
    )
    places.check_channels(network, channels)
    return network


def resolve_design(model: Any) -> Design:
    """The row of the named design, with the fields that the config sets, and no column unset."""
    row = DESIGNS[model.design]
    columns = ("branch", "after", "stem", "final", "init")
    columns += ("weight_standardization", "scaled_activation", "shared_preact")
    given = {name: model[name] for name in columns if model[name] is not None}
    design = dataclasses.replace(row, **given)
    branch, stem, final = design.branch, design.stem, design.final
    known = plugins.vocabulary(VOCABULARY, plugins.load(model.plugins, STEM_VOCABULARY))
    parsed = tokens.parse(branch, known, "config.model.branch")
    if not any(token.name == "conv" for token in parsed):
        raise ConfigError(
            f"config.model.branch={branch!r} has no 'conv'; write, say, 'conv norm act conv'"
        )
    if final is None:
        final = " ".join(map(str, split_preact(parsed)[0]))
    if stem in (None, *STEMS):
        stem = _derived_stem(parsed, stem or "cifar", model)
    return dataclasses.replace(design, stem=stem, final=final)


STEMS = ("cifar", "imagenet", "resnet_c")
"""Stems that have a name; what follows their last convolution is derived from the branch."""


def _derived_stem(branch: tuple[Token, ...], name: str, model: Any) -> str:
    """The stem that feeds the branch what its first tokens expect.

    `resnet_c` has three 3x3 convolutions in the place of a 7x7 (He et al. 2019, arXiv 1812.01187, figure 2b).
    With `downsampling=blur(n)` the max pool has stride 1 and a blur behind it (Zhang 2019, arXiv 1904.11486,
    section 3.2); the first convolution keeps its stride, as in the paper's networks.

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
    if name == "cifar":
        return f"conv{rest}"
    first = "conv(7, 2)"
    if name == "resnet_c":
        between = "norm act" if "norm" in kinds else "bias act" if "bias" in kinds else "act"
        half = max(1, model.stage_widths[0] // 2)
        first = f"conv(3, 2, {half}) {between} conv(3, 1, {half}) {between} conv"
    size = pooling.downsampling(model.downsampling)
    return f"{first}{rest} " + (f"pool(3, 1) blur({size}, 2)" if size else "pool(3, 2)")


def _stem(
    text: str, features: int, own: tuple[plugins.Plugin, ...]
) -> tuple[tuple[Token, ...], tuple[ConvSpec, ...]]:
    stem = tokens.parse(text, plugins.vocabulary(STEM_VOCABULARY, own), "config.model.stem")
    convs = [token.arguments for token in stem if token.name == "conv"]
    specs = tuple(ConvSpec(width or features, kernel, stride) for kernel, stride, width in convs)
    return stem, specs


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


def _stages(
    model: Any,
    design: Design,
    branch: tuple[Token, ...],
    after: tuple[Token, ...],
    kernels: tuple[int, ...],
    features: int,
) -> Iterator[tuple[UnitSpec, ...]]:
    """The units of each stage; `features` is the number of channels behind the stem."""
    shortcut, combine = checks.paths(model)
    by_conv = model.projection != "A" or shortcut.name == "conv"
    sizes = stage_sizes(model)
    units, index = sum(sizes), 0
    blur = pooling.downsampling(model.downsampling)
    for stage, size in enumerate(sizes):
        specs = []
        for block in range(size):
            index += 1
            stride = 2 if stage > 0 and block == 0 else 1
            convs = _unit_convs(model, stage, kernels, stride, features)
            reshapes = stride > 1 or convs[-1].features != features
            _check_projection(model, features, convs[-1].features)
            unit_branch, convs = variations.blurred(branch, convs, blur)
            specs.append(
                UnitSpec(
                    branch=unit_branch + variations.drop_path(model, index, units),
                    after=after,
                    convs=convs,
                    features=convs[-1].features,
                    stride=stride,
                    shortcut=shortcut,
                    projection=model.projection,
                    combine=combine,
                    projection_norm=branch[0].name == "conv",
                    shared_preact={
                        "none": False,
                        "all": True,
                        "paper": reshapes or index == 1,
                        "reshaping": reshapes,
                        "projected": reshapes and by_conv,
                    }[design.shared_preact],
                    index=index,
                    units=units,
                    blur=blur,
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
    pads = model.projection == "A" and checks.paths(model)[0].name not in ("none", "conv")
    if pads and features < inputs:
        raise ConfigError(
            f"config.model.projection='A' cannot shrink {inputs} channels to {features}; "
            "write config.model.projection='B'"
        )
