"""Names of parameters, and patterns on them: the one place where a rule meets a parameter."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from resnet_jax.errors import ConfigError

LAST = "head"
"""The module that computes logits."""

HEAD = r"head(_hidden\d+)?"
"""Pattern of the modules behind global pooling: the last layer, and hidden layers in front of it."""


def names(tree: Any) -> list[str]:
    """The name of every leaf, such as `stage2/block3/conv1/kernel`, in the order of `jax.tree`."""
    return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def count(tree: Any) -> int:
    """Number of scalars in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def match(tree: Any, patterns: Sequence[str], field: str) -> Any:
    """Which leaves match any of `patterns`.

    Args:
        tree: a tree of parameters, arrays or shapes.
        patterns: regular expressions on whole names.
        field: the config field that holds the patterns, for error messages.

    Returns:
        a tree of the same structure with a bool per leaf.

    Raises:
        ConfigError: a pattern is no regular expression, or matches nothing, which is a typing error.
    """
    return _match(tree, patterns, field, lambda name: [name])


def match_subtrees(tree: Any, patterns: Sequence[str], field: str) -> Any:
    """The same where a pattern may also name a subtree, such as `stem` or `stage[12]/block1`."""

    def ancestors(name: str) -> list[str]:
        parts = name.split("/")
        return ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]

    return _match(tree, patterns, field, ancestors)


def _match(
    tree: Any, patterns: Sequence[str], field: str, candidates: Callable[[str], list[str]]
) -> Any:
    known = names(tree)

    def matches(pattern: str, name: str) -> bool:
        return any(re.fullmatch(pattern, candidate) for candidate in candidates(name))

    for pattern in patterns:
        try:
            hits = any(matches(pattern, name) for name in known)
        except re.error as error:
            raise ConfigError(f"config.{field}: {pattern!r} is no pattern: {error}") from None
        if not hits:
            possible = dict.fromkeys(each for name in known for each in candidates(name))
            near = difflib.get_close_matches(pattern, possible, n=2, cutoff=0.3) or known[:2]
            raise ConfigError(
                f"config.{field}: {pattern!r} matches no parameter; names are like {', '.join(near)}"
            )
    matched = [any(matches(pattern, name) for pattern in patterns) for name in known]
    return jax.tree.unflatten(jax.tree.structure(tree), matched)


def split(tree: Mapping, mask: Mapping) -> tuple[dict, dict]:
    """Cuts a nested dict in two: the leaves where `mask` is true, and the others."""
    chosen, others = {}, {}
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            (chosen if mask[key] else others)[key] = value
            continue
        for target, part in zip((chosen, others), split(value, mask[key]), strict=True):
            if part:
                target[key] = part
    return chosen, others


def merge(first: Mapping, second: Mapping) -> dict:
    """Puts two nested dicts together; where both have a leaf, that of the second counts."""
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and key in merged
        merged[key] = merge(merged[key], value) if both else value
    return merged


def match_of_row(tree: Any, pattern: str, source: str) -> Any:
    """`match` with one pattern that a design's row may have brought along.

    Args:
        tree: as in `match`.
        pattern: a regular expression on whole names.
        source: the config field, followed by ` of design NAME` where the pattern is a row's.

    Raises:
        ConfigError: as in `match`; for a row's pattern it says how to do without.
    """
    field, of_row, _ = source.partition(" of design ")
    try:
        return match(tree, (pattern,), source)
    except ConfigError as error:
        if not of_row:
            raise
        raise ConfigError(
            f"{error}\nfor none of the design's own write --config.{field}=()"
        ) from None
