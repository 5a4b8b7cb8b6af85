"""Strings of tokens such as `conv norm act(silu) drop(0.3)`: one grammar for designs and augmentation.

    text  = token*                      separated by white space
    token = name | name(argument, ...)  a name is a letter, then letters, digits or `_`

What tokens exist and what their arguments are is a vocabulary: a mapping from name to `Signature`.
"""

import dataclasses
import difflib
import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from resnet_jax.errors import ConfigError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a token.

    Attributes:
        name: as documented.
        parse: `text -> value`; raises ValueError with the reason.
        default: used where the argument is left out; `REQUIRED` if it may not be.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclasses.dataclass(frozen=True)
class Signature:
    """A token's arguments, in order, and its meaning in a few words; for lists, its formula and source."""

    meaning: str
    arguments: tuple[Argument, ...] = ()
    formula: str = ""
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Token:
    """A parsed token: its name and one value per argument of its signature."""

    name: str
    arguments: tuple = ()

    def __str__(self) -> str:
        # Arguments are told apart by position, so none can follow one that is unset.
        given = list(map(str, itertools.takewhile(lambda v: v is not None, self.arguments)))
        return f"{self.name}({', '.join(given)})" if given else self.name


def parse(text: str, vocabulary: Mapping[str, Signature], field: str) -> tuple[Token, ...]:
    """Parses a string of tokens.

    Args:
        text: the string.
        vocabulary: the legal tokens.
        field: the config field that holds `text`, for error messages.

    Raises:
        ConfigError: naming the field, the token and what is legal.
    """
    return tuple(
        _token(name, arguments, vocabulary, field) for name, arguments in _split(text, field)
    )


def parse_one(text: str, vocabulary: Mapping[str, Signature], field: str) -> Token:
    """Parses a string of exactly one token; arguments and errors as in `parse`."""
    parsed = parse(text, vocabulary, field)
    if len(parsed) != 1:
        raise ConfigError(f"{field}={text!r}: write exactly one of {usage(vocabulary)}")
    return parsed[0]


def _split(text: str, field: str) -> list[tuple[str, str | None]]:
    """Cuts `text` into (name, text between the parentheses or None)."""
    pieces, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _NAME.match(text, at)
        if not match:
            raise ConfigError(
                f"{field}={text!r}: {text[at]!r} at position {at} starts no token; "
                "tokens are names, separated by spaces"
            )
        at, arguments = match.end(), None
        if text[at : at + 1] == "(":
            end = _closing(text, at)
            if end is None:
                raise ConfigError(f"{field}={text!r}: {match[0]!r} has a '(' without its ')'")
            arguments, at = text[at + 1 : end], end + 1
        if at < len(text) and not text[at].isspace():
            raise ConfigError(
                f"{field}={text!r}: {text[at]!r} follows {match[0]!r}; "
                "separate tokens by spaces, as in 'conv norm act'"
            )
        pieces.append((match[0], arguments))
    return pieces


def _closing(text: str, opening: int) -> int | None:
    depth = 0
    for at in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return None


def _arguments(text: str) -> list[str]:
    """Splits at the commas that are in no inner parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _token(name: str, text: str | None, vocabulary: Mapping[str, Signature], field: str) -> Token:
    if name not in vocabulary:
        near = difflib.get_close_matches(name, vocabulary, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"{field}: {name!r} is no token; {hint}The tokens are: {usage(vocabulary)}"
        )
    signature = vocabulary[name].arguments
    given = [] if text is None or not text.strip() else _arguments(text)
    if len(given) > len(signature):
        raise ConfigError(
            f"{field}: {name}({text}) has {len(given)} arguments; "
            f"write {form(name, vocabulary[name])}"
        )
    values = []
    for argument, value in zip(signature, given + [None] * len(signature), strict=False):
        if value is None:
            if argument.default is REQUIRED:
                raise ConfigError(
                    f"{field}: {name!r} needs {argument.name}; write {form(name, vocabulary[name])}"
                )
            values.append(argument.default)
            continue
        try:
            values.append(argument.parse(value))
        except ValueError as error:
            raise ConfigError(
                f"{field}: {name}({text}): {argument.name}={value!r} {error}; "
                f"write {form(name, vocabulary[name])}"
            ) from None
    return Token(name, tuple(values))


def form(name: str, signature: Signature) -> str:
    """How a token is written, `scale(shortcut, branch)`."""
    return (
        f"{name}({', '.join(a.name for a in signature.arguments)})" if signature.arguments else name
    )


def usage(vocabulary: Mapping[str, Signature]) -> str:
    """The vocabulary in one line."""
    return ", ".join(form(name, signature) for name, signature in vocabulary.items())


def integer(low: int) -> Callable[[str], int]:
    """An argument parser for whole numbers of at least `low`."""

    def parse_integer(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text) or int(text) < low:
            raise ValueError(f"is no whole number of at least {low}")
        return int(text)

    return parse_integer


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[str], float]:
    """An argument parser for finite numbers from `low` up to, but without, `high`."""

    def parse_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value < high):
            raise ValueError(
                "is no finite number" if math.isinf(high) else f"is not in [{low:g}, {high:g})"
            )
        return value

    return parse_number


def within(low: float, high: float) -> Callable[[str], float]:
    """An argument parser for numbers from `low` to `high`, both included."""

    def parse_within(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"is no number from {low:g} to {high:g}")
        return value

    return parse_within


def word(*choices: str) -> Callable[[str], str]:
    """An argument parser for one of `choices`."""

    def parse_word(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return text

    return parse_word
