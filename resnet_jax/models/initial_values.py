"""Rules on the initial values of parameters, such as `("head/.*", "fill(0)")`.

A design whose point is its initialisation (Fixup) brings rules with its row; `model.init` overrides them.
They act in order, each on what the layers and the rules before it have drawn.
"""

import dataclasses
import itertools
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax import params as parameters
from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.expression import expression
from resnet_jax.tokens import REQUIRED, Argument, Signature

_NUMBER = expression("L", "m")

VOCABULARY = {
    "mul": Signature(
        "the layer's own value times a factor", (Argument("factor", _NUMBER, REQUIRED),)
    ),
    "fill": Signature("a constant", (Argument("value", _NUMBER, REQUIRED),)),
    "normal": Signature("normal with a deviation", (Argument("deviation", _NUMBER, REQUIRED),)),
    "fan_in": Signature("normal, variance gain / fan_in", (Argument("gain", _NUMBER, REQUIRED),)),
    "fan_out": Signature("normal, variance gain / fan_out", (Argument("gain", _NUMBER, REQUIRED),)),
}
"""What a rule may do; arguments may use `L`, residual units, and `m`, convolutions of a branch."""


@dataclasses.dataclass(frozen=True)
class InitialRule:
    """One rule.

    Attributes:
        pattern: of the parameters, whole names.
        kind: a key of `VOCABULARY`.
        value: its argument.
        source: the config field, and the design where the rule is its own; for error messages.
    """

    pattern: str
    kind: str
    value: float
    source: str


def parse(
    rules: Sequence[tuple[str, str]], units: int, convs: int, source: str
) -> tuple[InitialRule, ...]:
    """Reads (pattern, token) pairs; `{m}` in a pattern stands for the number of convolutions.

    Args:
        rules: as in a design's row or in `model.init`.
        units: residual units of the network.
        convs: convolutions of a branch.
        source: see `InitialRule`.

    Raises:
        ConfigError: a text that is no rule, or that has no value for this network.
    """
    parsed = []
    for pattern, text in rules:
        token = tokens.parse_one(text, VOCABULARY, f"config.{source}")
        try:
            value = token.arguments[0].value(L=units, m=convs)
        except ValueError as error:
            raise ConfigError(
                f"config.{source}: {token} {error}, for L={units} and m={convs}"
            ) from None
        if token.name in ("normal", "fan_in", "fan_out") and value < 0:
            raise ConfigError(f"config.{source}: {token} is negative; write a number of at least 0")
        parsed.append(InitialRule(pattern.replace("{m}", str(convs)), token.name, value, source))
    return tuple(parsed)


def apply(
    params: Any, rules: Sequence[InitialRule], key: jax.Array, standardization: str = "none"
) -> Any:
    """Parameters with the rules applied.

    Args:
        params: as the layers have drawn them.
        rules: from `parse`.
        key: for rules that draw; folded with the parameter's name, so that values do not depend on
            what other parameters there are.
        standardization: of the convolutions' kernels, which undoes what a rule does to them.

    Raises:
        ConfigError: a pattern matches no parameter, or kernels that are standardised.
    """
    for rule in rules:
        matched = jax.tree.leaves(parameters.match_of_row(params, rule.pattern, rule.source))
        _check_standardized(rule, params, matched, standardization)
        leaves = [
            _value(rule, leaf, jax.random.fold_in(key, zlib.crc32(name.encode()))) if hit else leaf
            for name, leaf, hit in zip(
                parameters.names(params), jax.tree.leaves(params), matched, strict=True
            )
        ]
        params = jax.tree.unflatten(jax.tree.structure(params), leaves)
    return params


def _check_standardized(
    rule: InitialRule, params: Any, matched: Sequence[bool], standardization: str
) -> None:
    names = itertools.compress(parameters.names(params), matched)
    kernels = [n for n in names if re.search(r"(?<!gate/)conv\d*/kernel$", n)]
    if standardization != "none" and kernels:
        raise ConfigError(
            f"config.{rule.source}: {rule.pattern!r} sets kernels such as {kernels[0]}, but "
            f"config.model.weight_standardization={standardization!r} rescales them;\n"
            "write --config.model.weight_standardization=none, or --config.model.init=() for no rules"
        )


def _value(rule: InitialRule, leaf: jax.Array, key: jax.Array) -> jax.Array:
    if rule.kind == "mul":
        return leaf * jnp.asarray(rule.value, leaf.dtype)
    if rule.kind == "fill":
        return jnp.full_like(leaf, rule.value)
    # Of a kernel [..., in, out]; a vector or a scalar counts as one input.
    window = math.prod(leaf.shape[:-2])
    fans = {
        "fan_in": window * leaf.shape[-2] if leaf.ndim > 1 else 1,
        "fan_out": window * leaf.shape[-1] if leaf.ndim else 1,
    }
    deviation = rule.value if rule.kind == "normal" else math.sqrt(rule.value / fans[rule.kind])
    return deviation * jax.random.normal(key, leaf.shape, leaf.dtype)
