"""A network without what makes no difference to its logits in evaluation, to compare two by."""

import dataclasses

import jax.numpy as jnp

from resnet_jax.models.combines import is_plain_sum
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.unit import UnitSpec
from resnet_jax.tokens import Token

_RANDOM = ("drop", "drop_path")
"""Tokens that do nothing in evaluation."""


def bare(model: ResNet) -> ResNet:
    """The same network without dropout, initial values, precision and the means of computing it."""
    options = dataclasses.replace(
        model.options, dtype=jnp.float32, kernels=None, remat=False, frozen=frozenset()
    )

    def plain(sequence: tuple[Token, ...]) -> tuple[Token, ...]:
        return tuple(
            # A norm's second argument is where its scale starts.
            Token("norm", (token.arguments[0] or options.norm, None))
            if token.name == "norm"
            else token
            for token in sequence
            if token.name not in _RANDOM
        )

    def plain_unit(unit: UnitSpec) -> UnitSpec:
        parts = {"branch": plain(unit.branch), "after": plain(unit.after)}
        if unit.shortcut.name == "drop":
            parts["shortcut"] = Token("identity", ())
        if is_plain_sum(unit.combine):  # however it is written
            parts["combine"] = Token("add", (1.0, 1.0))
        return dataclasses.replace(unit, **parts)

    return model.clone(
        options=options,
        stem=plain(model.stem),
        stages=tuple(tuple(map(plain_unit, stage)) for stage in model.stages),
        final=plain(model.final),
        head=plain(model.head),
        initial=(),
    )
