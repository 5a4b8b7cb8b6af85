"""Phases: a run that is several, each from the weights of the one before, as in gradual unfreezing.

A phase is a run of its own, in a workdir of its own, and nothing that is frozen changes within one.
The last one is in the workdir of the whole, so that this is a run like any other, and ends with its result.
"""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.errors import ConfigError
from resnet_jax.rules import RULES

FIELD = "finetune.phases"

FOLDER = "phases"
"""In a workdir: those of all phases but the last, `1-head`."""

OWN = "{workdir}"
"""In `finetune.init_from`: the workdir of the run, wherever it is."""

FIXED = (
    "seed",
    "finetune.phases",
    "finetune.init_from",
    "data.name",
    "data.dir",
    "data.image_size",
)
"""What a phase may not set."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """A run.

    Attributes:
        name: as in the config.
        config: without phases.
        workdir: of this run.
    """

    name: str
    config: ConfigDict
    workdir: Path


def configs(config: ConfigDict) -> list[ConfigDict]:
    """The config of each phase, without phases; none for a config that has none.

    The first phase starts as the config says; each of the others from the newest weights of the one
    before it, all of them unless it says otherwise.

    Raises:
        ConfigError: a phase sets what is no field, or may not be set, or to another type.
    """
    found = []
    last = len(config.finetune.phases)
    for number, (name, fields) in enumerate(config.finetune.phases, 1):
        own = config.copy_and_resolve_references()
        own.finetune.phases = ()
        if number > 1:
            before = _folder(number - 1, config.finetune.phases[number - 2][0])
            own.finetune.init_from = (
                f"{OWN}/{FOLDER}/{before}" if number == last else f"{OWN}/../{before}"
            )
            own.finetune.reinit = own.finetune.drop = ()
        for field, value in fields:
            _set(own, name, field, value)
        found.append(own)
    return found


def expand(config: ConfigDict, workdir: Path) -> list[Phase]:
    """The runs of a config with phases, in order.

    Args:
        config: with phases.
        workdir: of the whole, which is that of the last phase.

    Raises:
        ConfigError: see `configs`.
    """
    names = [name for name, _ in config.finetune.phases]
    folders = [workdir / FOLDER / _folder(number, name) for number, name in enumerate(names, 1)]
    folders[-1] = workdir
    return [Phase(*each) for each in zip(names, configs(config), folders, strict=True)]


def _folder(number: int, name: str) -> str:
    return f"{number}-{name}"


def _set(config: ConfigDict, name: str, field: str, value: Any) -> None:
    """Sets a field of a phase's config."""
    where = f"config.{FIELD}: the phase {name!r}"
    if field not in RULES:
        near = difflib.get_close_matches(field, RULES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{where} sets {field}, which is no field{hint}")
    if field in FIXED:
        raise ConfigError(f"{where} sets {field}, which all phases share; set it for the whole run")
    try:
        config.update_from_flattened_dict({field: value})
    except TypeError:
        raise ConfigError(
            f"{where} sets {field}={value!r}: expected {RULES[field].expected}"
        ) from None
