"""What a run takes from elsewhere: weights and a teacher, read before it writes anything.

So that a mistake in them leaves the workdir free for the corrected command.
"""

import dataclasses
from pathlib import Path
from typing import Any

from resnet_jax import checkpoint, step
from resnet_jax.finetune import distill, load, source
from resnet_jax.finetune.load import Account
from resnet_jax.finetune.source import Source
from resnet_jax.plan import Plan


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights in the place of initial values.

    Attributes:
        variables: `params` and `batch_stats` of the run's network, what is fresh among them included.
        account: of every array.
        source: where they are from.
        sha256: of the source's `params` and `batch_stats`.
    """

    variables: dict[str, Any]
    account: Account
    source: Source
    sha256: str


@dataclasses.dataclass(frozen=True)
class Borrowed:
    """What a process needs to take a run up, beside its config and its own workdir.

    Attributes:
        weights: to begin with; None where the run begins with none, or has begun.
        teacher: its variables; None where there is none.
    """

    weights: Weights | None = None
    teacher: dict[str, Any] | None = None


def take(run: Plan, workdir: Path) -> Borrowed:
    """Reads them; writes nothing.

    Args:
        run: with the teacher in its recipe, if it has one.
        workdir: of the run; one with checkpoints needs no weights any more.

    Raises:
        ConfigError: there are no such weights, or they do not fit.
        WorkdirError: a checkpoint of theirs is missing or damaged.
    """
    taught, weights = run.recipe.teacher, None
    if run.config.finetune.init_from is not None and checkpoint.newest(workdir) is None:
        weights = _weights(run, workdir)
    return Borrowed(weights, None if taught is None else distill.read(taught))


def _weights(run: Plan, workdir: Path) -> Weights:
    finetune = run.config.finetune
    found = source.find(finetune.init_from, workdir)
    theirs = source.read(found)
    initial = step.init_variables(run.recipe.model, run.config.seed, run.image_shape)
    variables, account = load.combine(
        initial, theirs, finetune.reinit, finetune.drop, found.describe()
    )
    return Weights(variables, account, found, checkpoint.sha256(theirs))
