"""Evaluates a workdir: rebuilds network and preprocessing from it and counts every example once.

python -m resnet_jax evaluate runs/cifar10_resnet-s0
python -m resnet_jax evaluate runs/cifar10_resnet-s0 --step best --split train --json
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_jax import rebuilt
from resnet_jax.errors import NonFiniteError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    rebuilt.add_arguments(parser)
    rebuilt.add_split(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Prints accuracy and loss; returns the exit code."""
    result = evaluate(
        args.workdir,
        args.step,
        args.split,
        args.data_dir,
        args.batch_size,
        eval_augment=args.eval_augment,
        plugins=args.plugins,
        unit=args.unit,
    )
    if args.json:
        print(json.dumps(result))
    else:
        right = round(result["accuracy"] * result["examples"])
        views = f" over views '{result['eval_augment']}'" if result["eval_augment"] else ""
        print(
            f"{args.workdir} at step {result['step']:,}: accuracy {result['accuracy']:.2%}{views} "
            f"({right:,} of {result['examples']:,}), loss {result['loss']:.4f}"
        )
    return 0


def evaluate(
    workdir: Path,
    step: str = "latest",
    split: str | None = None,
    data_dir: str | None = None,
    batch_size: int | None = None,
    *,
    eval_augment: str | None = None,
    plugins: Sequence[str] = (),
    unit: str | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint of a run.

    Args:
        workdir: of the run.
        step: `latest`, `best` or a number.
        split: of the data set, or `validation`, what the run held out of `train`; None: test.
        data_dir: where the data is; None: where the run had it.
        batch_size: images at a time; None: as the run.
        eval_augment: views to average over, as in the config; None: as the run.
        plugins: modules that the run's config may import.
        unit: unit class that it may import.

    Returns:
        `accuracy` (0..1), `loss`, `examples`, `step`, `parameters`, `state_sha256`,
        `eval_augment`.

    Raises:
        ConfigError: no such split or step, or the run needs a module that is not named.
        DataError: the data is missing or damaged.
        NonFiniteError: the loss is not finite.
        WorkdirError: the workdir or its checkpoint is missing or damaged.
    """
    from resnet_jax import checkpoint, evaluate
    from resnet_jax.data import pipeline

    network = rebuilt.rebuild(
        workdir, data_dir, batch_size, eval_augment=eval_augment, plugins=plugins, unit=unit
    )
    split = network.check(split)
    state = network.state(step)
    recipe = network.run.recipe
    examples = pipeline.place(network.examples(split), recipe.batches.mesh)
    measure = evaluate.compile_evaluation(recipe.model, recipe.batches, network.batch_size)
    metrics = measure(state.evaluated(), examples)
    if not math.isfinite(metrics.means()["loss"]):
        raise NonFiniteError(
            f"the {split} loss of {workdir} at step {int(state.step)} is {metrics.means()['loss']}; "
            "the run has diverged, or another version of the code wrote the checkpoint"
        )
    return {
        **metrics.means(),
        "examples": metrics.examples(),
        "step": int(state.step),
        "parameters": network.run.parameters,
        "state_sha256": checkpoint.sha256(state),
        "eval_augment": recipe.batches.views.text,
    }
