"""Which parameters and statistics of a network stay as they are."""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from resnet_jax import params as parameters
from resnet_jax.errors import ConfigError

FIELD = "finetune.freeze"

PRESETS = {
    "all_but_head": "everything but the last layer (a linear probe) and hidden layers of the head",
    "batchnorm_only": "everything but scales and biases of norms, which are trained",
    "stages_until=N": "the stem and the first N stages",
}
"""What may stand in `finetune.freeze` beside patterns."""


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What a run leaves alone.

    Attributes:
        params: a bool per parameter, in the structure of the parameters.
        norms: paths of the norms whose parameters are all frozen, such as `stage1/block1/norm1`.
    """

    params: Any
    norms: frozenset[str]

    @property
    def any(self) -> bool:
        """Whether anything is frozen."""
        return any(jax.tree.leaves(self.params))

    def split(self, tree: Any) -> tuple[Any, Any]:
        """Cuts a tree in the parameters' structure: what is trained, and what is frozen."""
        frozen, trained = parameters.split(tree, self.params)
        return trained, frozen

    def statistics(self, batch_stats: Any) -> Any:
        """A bool per running statistic: whether its norm is frozen."""
        frozen = [name.rpartition("/")[0] in self.norms for name in parameters.names(batch_stats)]
        return jax.tree.unflatten(jax.tree.structure(batch_stats), frozen)


def resolve(params: Any, batch_stats: Any, freeze: Sequence[str]) -> Frozen:
    """Applies `finetune.freeze` to a network.

    Args:
        params: arrays or shapes.
        batch_stats: the same of running statistics.
        freeze: patterns on names of parameters or of subtrees (`stem`, `stage[12]`,
            `stage1/block1/conv1`), and presets.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    names = parameters.names(params)
    norms = {name.rpartition("/")[0] for name in parameters.names(batch_stats)}
    stages = len({name.split("/")[0] for name in names if re.match(r"stage\d+/", name)})
    patterns = []
    mask = [False] * len(names)
    for item in freeze:
        if item == "batchnorm_only":
            mask = [
                m or n.rpartition("/")[0] not in norms for m, n in zip(mask, names, strict=True)
            ]
        else:
            patterns += _patterns(item, stages)
    matched = parameters.match_subtrees(params, patterns, FIELD)
    mask = [a or b for a, b in zip(mask, jax.tree.leaves(matched), strict=True)]
    if all(mask):
        raise ConfigError(
            f"config.{FIELD}={tuple(freeze)} freezes every parameter; "
            "leave out what is to be trained, or write ('all_but_head',)"
        )
    by_name = dict(zip(names, mask, strict=True))
    return Frozen(
        params=jax.tree.unflatten(jax.tree.structure(params), mask),
        norms=frozenset(norm for norm in norms if _all_frozen(norm, by_name)),
    )


def _all_frozen(norm: str, frozen: Mapping[str, bool]) -> bool:
    """Whether all parameters of a norm are frozen; one without parameters never is."""
    own = [value for name, value in frozen.items() if name.rpartition("/")[0] == norm]
    return bool(own) and all(own)


def _patterns(item: str, stages: int) -> list[str]:
    """The patterns behind a preset, or the pattern itself."""
    if item == "all_but_head":
        return [rf"(?!{parameters.HEAD}/).*/.*"]
    name, equals, value = item.partition("=")
    if not equals and name != "stages_until":
        near = difflib.get_close_matches(item, ("all_but_head", "batchnorm_only"), n=1, cutoff=0.8)
        if near:
            raise ConfigError(f"config.{FIELD}: {item!r} is no preset; did you mean {near[0]!r}?")
        return [item]
    if name != "stages_until" or not value.isdecimal() or int(value) > stages:
        raise ConfigError(
            f"config.{FIELD}: {item!r} is no preset; write stages_until=N with N from 0 to "
            f"{stages}, all_but_head or batchnorm_only, or a pattern"
        )
    return ["stem", *(f"stage{number}" for number in range(1, int(value) + 1))]
