"""What a network without normalisation knows beforehand of its signal: deviations at initialisation.

Brock et al. 2021, arXiv 2101.08692, section 4: activations are scaled to unit variance, convolutions
keep it (scaled weight standardisation), and each unit divides its input by `beta`, the deviation that
it expects there, so that every branch gets a signal of variance 1. The variance on the shortcut grows
by that of each branch and starts anew where a unit's shortcut begins behind its pre-activation.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.errors import ConfigError
from resnet_jax.expression import Expression
from resnet_jax.models.combines import factor_value
from resnet_jax.models.layers import ACTIVATIONS
from resnet_jax.tokens import Token

if TYPE_CHECKING:
    from resnet_jax.models.unit import UnitSpec


@functools.cache
def activation_scale(kind: str) -> float:
    """1 / deviation of an activation of standard normal inputs.

    Brock et al. 2021, "Determining nonlinearity-specific constants". Integrated numerically (trapezoids,
    step 1e-3 within 12 deviations). For `relu` it is sqrt(2 / (1 - 1 / pi)).

    Args:
        kind: a key of `ACTIVATIONS`.
    """
    x = np.linspace(-12, 12, 24_001)
    density = np.exp(-(x**2) / 2)
    density /= density.sum()
    # Within a trace, too, it is a number and no part of the program.
    with jax.ensure_compile_time_eval():
        y = np.asarray(ACTIVATIONS[kind](jnp.asarray(x, jnp.float32)), np.float64)
    mean = np.sum(density * y)
    return float(1 / np.sqrt(np.sum(density * (y - mean) ** 2)))


def with_betas(
    stages: tuple[tuple["UnitSpec", ...], ...], final: Sequence[Token], features: int, norm: str
) -> tuple[tuple[tuple["UnitSpec", ...], ...], float]:
    """The units with their `beta` filled in, and that behind the last one.

    All are 1 where nothing uses the name.

    Args:
        stages: units whose `beta` is unset.
        final: tokens after the last unit.
        features: channels behind the stem, whose output has variance 1.
        norm: kind of `norm` tokens that name none.

    Raises:
        ConfigError: an expected variance is 0 or not finite.
    """
    if not (_uses_beta(final) or any(_unit_uses_beta(unit) for s in stages for unit in s)):
        return stages, 1.0
    variance, filled = 1.0, []
    for stage in stages:
        specs = []
        for unit in stage:
            spec = dataclasses.replace(unit, beta=math.sqrt(variance))
            specs.append(spec)
            try:
                variance = _after_unit(spec, variance, features, norm)
            except ValueError as error:
                raise ConfigError(
                    f"config.model: an expression of unit {spec.index} {error}, for beta={spec.beta:g}"
                ) from None
            if not 0 < variance < math.inf:
                raise ConfigError(
                    f"config.model: 'beta' has no use, the signal behind unit {spec.index} has an "
                    f"expected variance of {variance:g}; write the expression without it"
                )
            features = spec.features
        filled.append(tuple(specs))
    return tuple(filled), math.sqrt(variance)


def _uses_beta(sequence: Sequence[Token]) -> bool:
    return any(
        isinstance(argument, Expression) and argument.uses("beta")
        for token in sequence
        for argument in token.arguments
    )


def _unit_uses_beta(unit: "UnitSpec") -> bool:
    return _uses_beta((*unit.branch, *unit.after, unit.shortcut, unit.combine))


def _through(
    sequence: Sequence[Token], variance: float, names: dict[str, float], norm: str
) -> float:
    """Expected variance behind tokens; convolutions and activations keep it, a fresh gate is 1/2."""
    for token in sequence:
        match token.name, token.arguments:
            case "mul", (factor,):
                variance *= factor.value(**names) ** 2
            case (("gain" | "scale"), (start,)):
                variance *= start**2
            case (("se" | "eca"), _):
                variance *= 0.25
            case "norm", (kind, start) if (kind or norm) != "none":
                variance = 1.0 if start is None else start**2
    return variance


def _after_unit(unit: "UnitSpec", variance: float, inputs: int, norm: str) -> float:
    """Expected variance of a unit's output, of that of its input."""
    names = unit.names
    branch = _through(unit.branch, variance, names, norm)
    first = next(i for i, token in enumerate(unit.branch) if token.name == "conv")
    if unit.shared_preact:
        variance = _through(unit.branch[:first], variance, names, norm)
    padded = unit.projection == "A" and unit.shortcut.name != "conv"
    if padded and unit.features > inputs:
        variance *= inputs / unit.features  # the mean over channels, of which the new ones are 0
    match unit.shortcut.name, unit.shortcut.arguments:
        case "none", _:
            variance = 0.0
        case "scale", (first_factor, second_factor):
            variance *= factor_value(first_factor, names) ** 2
            branch *= factor_value(second_factor, names) ** 2
        case ("exclusive_gate" | "shortcut_gate") as kind, (bias,):
            opening = 1 / (1 + math.exp(-bias))
            variance *= (1 - opening) ** 2
            branch *= opening**2 if kind == "exclusive_gate" else 1
    if unit.combine.name in ("add", "learned"):
        first_factor, second_factor = unit.combine.arguments
        variance *= factor_value(first_factor, names) ** 2
        branch *= factor_value(second_factor, names) ** 2
    return _through(unit.after, variance + branch, names, norm)
