"""A residual unit as a formula, derived from its strings: `y = act(x + norm(conv(...)))`."""

import re
from collections.abc import Sequence

from resnet_jax.models.unit import UnitSpec, split_preact
from resnet_jax.tokens import Token

_LETTERS = {"bias": "b", "gain": "a", "scale": "s"}
"""Tokens that are a learned number, and the letter that stands for it."""


def of_unit(spec: UnitSpec) -> str:
    """The formula of a unit.

    `b`, `a` and `s` are the learned numbers of `bias`, `gain` and `scale`, counted where a unit has
    several; `p` is a pre-activation that both paths share.
    """
    preact, rest = split_preact(spec.branch)
    letters = _letters((*preact, *rest, *spec.after))
    if str(spec.shortcut) == "none":
        return f"y = {_apply((*preact, *rest, *spec.after), 'x', letters)}"
    before = _apply(preact, "x", letters)
    if preact and spec.shared_preact:
        met = combined(str(spec.shortcut), str(spec.combine), "p", _apply(rest, "p", letters))
        return f"y = {_apply(spec.after, met, letters)}, p = {before}"
    met = combined(str(spec.shortcut), str(spec.combine), "x", _apply(rest, before, letters))
    return f"y = {_apply(spec.after, met, letters)}"


def call(text: str) -> tuple[str, str]:
    """Cuts `scale(0.5)` into its name and what is between the parentheses, "" if there are none."""
    name, _, rest = text.partition("(")
    return name, rest[:-1]


def short(text: str) -> str:
    """`drop_path(0.007407407407407408)` with three digits, as one reads it."""
    return re.sub(r"\d+\.\d{5,}", lambda match: f"{float(match[0]):.3g}", text)


def is_gate(shortcut: str) -> tuple[bool, bool]:
    """Whether a shortcut is multiplied by 1 - g(x), and whether the branch is by g(x) as well.

    He et al. 2016, arXiv 1603.05027, section 3.1.
    """
    name = call(shortcut)[0]
    return "gate" in name, "gate" in name and name.startswith("exclusive")


def combined(shortcut: str, combine: str, x: str, branch: str) -> str:
    """How the two paths meet, with `x` in front of the shortcut and `branch` behind the branch."""
    gate, exclusive = is_gate(shortcut)
    scaled = factors(shortcut) if call(shortcut)[0] == "scale" else None
    if exclusive:
        branch = f"g({x}) * {_factor(branch)}"
    if gate:
        x = f"(1 - g({x})) * {x}"
    elif scaled:
        x, branch = _times(scaled[0], x), _times(scaled[1], branch)
    elif shortcut != "identity":
        x = _named(shortcut, x)
    if call(combine)[0] == "add":
        first, second = factors(combine)
        return f"{_times(first, x)} + {_times(second, branch)}"
    if combine == "subtract":
        return f"{x} - {_factor(branch)}"
    return _named(combine, f"{x}, {branch}")


def factors(text: str) -> tuple[str, str]:
    """The factors on shortcut and branch in `scale(0.5)` or `add(1, 0.1)`; "1" where none is given."""
    given = [part.strip() for part in call(text)[1].split(",") if part.strip()]
    plain = ["1" if part == "1.0" else part for part in given]
    first, second = (*plain, "1", "1")[:2]
    return first, second


def _times(factor: str, x: str) -> str:
    return x if factor == "1" else f"{_factor(factor)} * {_factor(x)}"


def _letters(tokens: Sequence[Token]) -> dict[int, str]:
    """The letter of each token that has one, by the identity of its place in `tokens`."""
    kinds = [token.name for token in tokens]
    found = {}
    for at, kind in enumerate(kinds):
        if kind in _LETTERS:
            number = kinds[: at + 1].count(kind) if kinds.count(kind) > 1 else ""
            found.setdefault(kind, []).append(f"{_LETTERS[kind]}{number}")
    return {kind: iter(names) for kind, names in found.items()}


def _apply(tokens: Sequence[Token], x: str, letters: dict) -> str:
    """`tokens` applied to the expression `x`, from left to right."""
    for token in tokens:
        if token.name == "bias":
            x = f"{x} + {next(letters['bias'])}"
        elif token.name in letters:
            x = f"{next(letters[token.name])} * {_factor(x)}"
        elif token.name == "mul":
            x = f"{_factor(str(token.arguments[0]))} * {_factor(x)}"
        elif token.name == "act" and token.arguments[0]:
            x = f"{token.arguments[0]}({x})"
        else:
            x = _named(str(token), x)
    return x


def _named(text: str, x: str) -> str:
    """`drop(0.5)` of `x` is `drop[0.5](x)`."""
    name, arguments = call(short(text))
    return f"{name}[{arguments}]({x})" if arguments else f"{name}({x})"


def _factor(x: str) -> str:
    """`x` in parentheses if it is a sum."""
    outside = x
    while (inner := re.sub(r"[\w\]]*(\[[^][]*\])?\([^()]*\)", "f", outside)) != outside:
        outside = inner
    return f"({x})" if re.search(r"[-+]", outside) else x
