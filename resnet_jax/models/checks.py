"""What a described network may contradict: found while it is built, before anything is traced."""

from collections.abc import Iterable
from typing import Any

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.expression import Expression
from resnet_jax.models.combines import COMBINES, is_plain_sum
from resnet_jax.models.shortcuts import SHORTCUTS
from resnet_jax.models.unit import UnitSpec
from resnet_jax.tokens import Token


def paths(model: Any) -> tuple[Token, Token]:
    """What the shortcut carries, and how it meets the branch.

    Raises:
        ConfigError: a string that is none of `SHORTCUTS` or `COMBINES`, or the two contradict.
    """
    shortcut = tokens.parse_one(model.shortcut, SHORTCUTS, "config.model.shortcut")
    combine = tokens.parse_one(model.combine, COMBINES, "config.model.combine")
    if shortcut.name == "none" and not is_plain_sum(combine):
        raise ConfigError(
            f"config.model.combine={model.combine!r} has nothing to meet, since "
            f"config.model.shortcut='none'; write config.model.combine='add', or another shortcut"
        )
    return shortcut, combine


def check_expressions(stages: tuple[tuple[UnitSpec, ...], ...]) -> None:
    """Checks that the factors of `shortcut` and `combine` have a value in every unit.

    Raises:
        ConfigError: one has none.
    """
    for unit in (unit for stage in stages for unit in stage):
        for field, token in (("shortcut", unit.shortcut), ("combine", unit.combine)):
            for argument in token.arguments:
                if not isinstance(argument, Expression):
                    continue
                try:
                    argument.value(**unit.names)
                except ValueError as error:
                    raise ConfigError(
                        f"config.model.{field}: {token} {error}, for l={unit.index} and L={unit.units}"
                    ) from None


def check_factors(
    field: str, sequence: tuple[Token, ...], indices: Iterable[int], units: int
) -> None:
    """Checks that `mul` has a value wherever it stands; `indices` are the `l` it will be given.

    Raises:
        ConfigError: it has none.
    """
    for token in sequence:
        if token.name != "mul":
            continue
        for index in indices:
            try:
                token.arguments[0].value(L=units, l=index, beta=1.0)
            except ValueError as error:
                raise ConfigError(
                    f"{field}: {token} {error}, for l={index} and L={units}"
                ) from None
