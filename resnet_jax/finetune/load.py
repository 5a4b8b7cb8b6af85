"""Puts weights into a network: every array is accounted for, and what does not fit is an error."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from resnet_jax import params as parameters
from resnet_jax.errors import ConfigError

REINIT, DROP = "finetune.reinit", "finetune.drop"

SHOWN = 3
"""Arrays that an error lists."""


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of each array, by name (`params/head/kernel`, `batch_stats/stem/norm/mean`).

    Attributes:
        loaded: taken from the source.
        fresh: kept as initialised, though the source may have them.
        dropped: of the source, and not in the network or not taken.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]


def combine(
    initial: Mapping[str, Any],
    source: Mapping[str, Any],
    reinit: Sequence[str] = (),
    drop: Sequence[str] = (),
    of: str = "",
) -> tuple[dict[str, Any], Account]:
    """The variables of a network with the values of `source`.

    Args:
        initial: `params` and `batch_stats` of the network, as initialised.
        source: the same of another one.
        reinit: patterns of parameters or subtrees that stay as initialised: `head`.
        drop: patterns of parameters or subtrees of the source that the network does not have.
        of: what the source is, for error messages.

    Raises:
        ConfigError: an array is missing, has another shape, or is not wanted, or a pattern matches
            nothing; lists names and shapes.
    """
    found = account(initial, source, reinit, drop, of)
    ours, theirs, fresh = _by_name(initial), _by_name(source), set(found.fresh)
    values = [
        ours[name] if name in fresh else np.asarray(theirs[name], ours[name].dtype) for name in ours
    ]
    return jax.tree.unflatten(jax.tree.structure(dict(initial)), values), found


def account(
    initial: Mapping[str, Any],
    source: Mapping[str, Any],
    reinit: Sequence[str] = (),
    drop: Sequence[str] = (),
    of: str = "",
) -> Account:
    """What would become of each array; arguments and errors as for `combine`, but shapes are enough."""
    ours, theirs = _by_name(initial), _by_name(source)
    fresh = _matched(initial, reinit, REINIT)
    unwanted = _matched(source, drop, DROP) if drop else set()
    _check_dropped([name for name in ours if name in unwanted - fresh])
    missing = [name for name in ours if name not in fresh and name not in theirs]
    extra = [name for name in theirs if name not in ours and name not in unwanted | fresh]
    extra = [name for name in extra if not _under(name, fresh)]
    other = [
        name
        for name in ours
        if name in theirs and name not in fresh and ours[name].shape != theirs[name].shape
    ]
    _check(ours, theirs, missing, extra, other, of)
    loaded = [name for name in ours if name not in fresh]
    dropped = [name for name in theirs if name not in ours or name in fresh]
    return Account(tuple(loaded), tuple(sorted(fresh)), tuple(dropped))


def _by_name(variables: Mapping[str, Any]) -> dict[str, Any]:
    variables = dict(variables)
    return dict(zip(parameters.names(variables), jax.tree.leaves(variables), strict=True))


def _matched(variables: Mapping[str, Any], patterns: Sequence[str], field: str) -> set[str]:
    """Names of parameters and statistics under what matches; patterns are on parameters' names."""
    if not patterns:
        return set()
    names = parameters.names(variables["params"])
    mask = jax.tree.leaves(parameters.match_subtrees(variables["params"], patterns, field))
    matched = {name for name, hit in zip(names, mask, strict=True) if hit}
    # The statistics of a norm go with its parameters.
    modules = {name.rpartition("/")[0] for name in matched}
    statistics = parameters.names(variables.get("batch_stats", {}))
    return {f"params/{name}" for name in matched} | {
        f"batch_stats/{name}" for name in statistics if name.rpartition("/")[0] in modules
    }


def _under(name: str, fresh: set[str]) -> bool:
    """Whether an array of the source lies in a module that is initialised anew."""
    module = name.rpartition("/")[0]
    return any(other.rpartition("/")[0] == module for other in fresh)


def _of_head(name: str) -> bool:
    return re.match(rf"params/{parameters.HEAD}/", name) is not None


def _check_dropped(names: list[str]) -> None:
    if names:
        raise ConfigError(
            f"config.{DROP} leaves out {names[0]}, which this network has too; "
            f"write config.{REINIT} for what is to be initialised anew"
        )


def _check(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    missing: list[str],
    extra: list[str],
    other: list[str],
    of: str,
) -> None:
    last = all(name.startswith("params/head/") for name in other) and not missing + extra
    classes = [shapes[name].shape[-1] for name in other[:1] for shapes in (theirs, ours)]
    if last and len(set(classes)) == 2:
        raise ConfigError(
            f"the weights are of a network for {classes[0]} classes, this one has {classes[1]}; "
            "add --config.finetune.reinit='(\"head\",)' for a new last layer"
        )
    if missing + other and all(map(_of_head, missing + other + extra)):
        raise ConfigError(
            "the head's hidden layers (config.model.head) are not those of the weights; "
            "add --config.finetune.reinit='(\"head.*\",)' for a new head"
        )
    problems = [
        *(f"{name}: {theirs[name].shape} there, {ours[name].shape} here" for name in other),
        *(f"{name} {ours[name].shape}: missing there" for name in missing),
        *(f"{name} {theirs[name].shape}: not in this network" for name in extra),
    ]
    # Every module has parameters, and they are what people know.
    problems.sort(key=lambda text: text.startswith("batch_stats/"))
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ConfigError(
            f"the weights{of and f' of {of}'} do not fit the network, in {len(problems)} arrays: "
            f"{'; '.join(problems[:SHOWN])}{more}\n"
            "set config.model.* to their network, or name what is to be initialised anew in "
            f"config.{REINIT}, and what is to be left out in config.{DROP}"
        )
