"""The state a run begins with: its newest checkpoint, weights from elsewhere, or initial values."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax import atomic, checkpoint, optimizer, params, step, versions
from resnet_jax.data import spec
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import likeness, source, table
from resnet_jax.finetune.borrowed import Weights
from resnet_jax.finetune.load import Account
from resnet_jax.metrics import Metrics
from resnet_jax.plan import Plan
from resnet_jax.step import TrainState


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a process takes a run up.

    Attributes:
        state: to go on from.
        metrics: of steps that are done and not yet logged.
        seconds: that earlier processes took.
        saved: step of the checkpoint, None if there was none.
    """

    state: TrainState
    metrics: Metrics
    seconds: float
    saved: int | None


def dataset(config: ConfigDict, workdir: Path) -> Dataset:
    """The data set of a run, normalised as the weights expect that it starts from.

    Args:
        config: validated.
        workdir: of the run, which knows how it was normalised once it has begun.

    Raises:
        ConfigError: there are no such weights, or they are for images of other channels.
    """
    if config.finetune.init_from is None:
        return spec.of(config.data)
    if "data" in versions.read(workdir):
        return versions.dataset(workdir, config)
    found, own = source.find(config.finetune.init_from, workdir), spec.of(config.data)
    if found.mean is None or found.std is None:
        return own
    if len(found.mean) != own.image_shape[-1]:
        raise ConfigError(
            f"the weights of {found} are for images of {len(found.mean)} channels; those of "
            f"config.data.name={own.name!r} have {own.image_shape[-1]}: name other weights, or other data"
        )
    return dataclasses.replace(own, mean=found.mean, std=found.std)


def begin(
    run: Plan, checkpoints: checkpoint.Checkpoints, workdir: Path, weights: Weights | None
) -> Start:
    """Finds or makes the state, and says which.

    Args:
        run: what is trained.
        checkpoints: of the run.
        workdir: likewise.
        weights: to begin with if there is no checkpoint; None for initial values.

    Raises:
        WorkdirError: no checkpoint of the run is whole.
    """
    recipe, image_shape = run.recipe, run.image_shape
    if checkpoints.latest_step() is None:
        state = _fresh(run, workdir, weights)
        return Start(state, Metrics.empty(), 0.0, None)
    state, extra = _restore(checkpoints, step.state_shapes(recipe, image_shape))
    print(f"resume    from step {int(state.step):,} of {run.steps:,}", flush=True)
    return Start(state, Metrics.from_json(extra["unlogged"]), extra["seconds"], int(state.step))


def _restore(
    checkpoints: checkpoint.Checkpoints, shapes: TrainState
) -> tuple[TrainState, dict[str, Any]]:
    """The newest checkpoint that is whole; damaged ones are moved out of the way.

    Raises:
        DamagedError: none is.
    """
    while True:
        steps = checkpoints.steps()
        try:
            return checkpoints.restore(shapes, steps[-1])
        except checkpoint.DamagedError as error:
            if len(steps) == 1:
                raise
            moved = checkpoints.set_aside(steps[-1])
            print(f"note      {str(error).splitlines()[0]}; it is now {moved}", flush=True)


def _fresh(run: Plan, workdir: Path, weights: Weights | None) -> TrainState:
    """The state before the first step; with weights from elsewhere if there are any."""
    recipe, variables = run.recipe, None
    if weights is not None:
        variables = weights.variables
        print(f"weights   {table.account_line(weights.account, weights.source)}")
        if (file := weights.source.file) is not None:
            print(f"          images are normalised by {file.describe_preprocessing()}")
        for note in likeness.notes(
            weights.source, run.config.model, run.image_shape, new_head=_new_head(weights.account)
        ):
            print(f"note      {note}")
    elif run.config.finetune.freeze or run.config.finetune.reinit:
        field, then = (
            ("freeze", "what is frozen keeps its random initial values")
            if run.config.finetune.freeze
            else ("reinit", "all of the network is new")
        )
        print(
            f"note      config.finetune.{field} without weights: {then}; "
            "add --config.finetune.init_from=WORKDIR, or a file of PyTorch's weights"
        )
    state = step.init_state(recipe, run.config.seed, run.image_shape, variables)
    if weights is not None or recipe.frozen is not None or run.config.optimizer.rates:
        _tell(run, state, weights, workdir)
    return state


def _new_head(account: Account) -> bool:
    return f"params/{params.LAST}/kernel" in account.fresh


def _tell(run: Plan, state: TrainState, weights: Weights | None, workdir: Path) -> None:
    """Prints and saves what the run does with each parameter."""
    config, frozen = run.config, run.recipe.frozen
    account = None if weights is None else weights.account
    none = jax.tree.map(lambda _: False, state.params)
    rows = table.treatments(
        state.params,
        none if frozen is None else frozen.params,
        params.match(state.params, config.optimizer.decayed, "optimizer.decayed"),
        optimizer.factors(state.params, optimizer.rate_factors(config)),
        account,
        decay=config.optimizer.weight_decay,
        l2_sp=config.finetune.l2_sp,
    )
    for line in table.lines(rows):
        print(line)
    if account is not None and (stuck := table.new_and_frozen(rows)):
        print(
            f"note      {', '.join(stuck)}: new and frozen, so that random initial values stay; "
            "leave out of config.finetune.reinit or config.finetune.freeze what is not meant"
        )
    kept = {"parameters": [dataclasses.asdict(row) for row in rows]}
    if weights is not None:
        origin = {"source": str(weights.source), "arrays_sha256": weights.sha256}
        if (file := weights.source.file) is not None:
            origin |= {"file_sha256": file.sha256, "preprocessing": file.origin}
        kept |= {"weights": origin | dataclasses.asdict(weights.account)}
    atomic.write(workdir / table.FILE, json.dumps(kept, indent=1) + "\n")
