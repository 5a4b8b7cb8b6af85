"""Evaluates a workdir: rebuilds network and preprocessing from it and counts every example once.

python -m resnet_jax evaluate runs/cifar10_resnet-s0
python -m resnet_jax evaluate runs/cifar10_resnet-s0 --step best --split train --json
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_jax import trust
from resnet_jax.errors import ConfigError, NonFiniteError

if TYPE_CHECKING:  # they import JAX, which waits for its settings
    from resnet_jax.data.source import Examples
    from resnet_jax.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("workdir", metavar="WORKDIR", type=Path, help="of a run")
    parser.add_argument(
        "--step", default="latest", help="latest (default), best by validation, or a number"
    )
    parser.add_argument(
        "--split",
        help="default: the data set's test split; validation is what the run held out of train",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="default: that of the run")
    parser.add_argument("--batch-size", type=int, help="images at a time; default: that of the run")
    parser.add_argument(
        "--eval-augment",
        metavar="TOKENS",
        help="views to average over, such as 'flip crops(5)'; default: those of the run; '' for none",
    )
    trust.add_arguments(parser)
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
    from resnet_jax import checkpoint, evaluate, plan, sharding, versions
    from resnet_jax import step as steps
    from resnet_jax import workdir as files
    from resnet_jax.data import folder, pipeline, resize, source, spec, views
    from resnet_jax.native import backend

    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: expected a whole number of at least 1")
    config = files.read_config(workdir, plugins, unit)
    backend.tune(config)
    # The run's batch size may not suit this machine; evaluation takes the devices that divide it.
    devices = sharding.all_devices()
    count = math.gcd(config.batch_size // config.accumulation, len(devices))
    dataset = versions.dataset(workdir, config)
    where = data_dir or config.data.dir
    if dataset.name == spec.FOLDER:
        dataset = folder.of_run(dataset, config.data, where)
    if eval_augment is not None:
        seen = resize.shape(dataset.image_shape, config.data.resize)
        views.parse(eval_augment, seen, "--eval-augment")
        config.eval_augment = eval_augment
        config.finetune.cache_features = False  # the network is evaluated whole, with any views
    run = plan.make(config, devices[:count], dataset)
    batches = run.recipe.batches
    split = split or run.dataset.test_split
    _check_split(run, split)
    source.check(run.dataset, where)
    state = steps.state_shapes(run.recipe, run.image_shape)
    state = checkpoint.read(workdir, state, step)
    examples = pipeline.place(_images(run, split, where), batches.mesh)
    measure = evaluate.compile_evaluation(
        run.recipe.model, batches, batch_size or config.eval_batch_size
    )
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
        "parameters": run.parameters,
        "state_sha256": checkpoint.sha256(state),
        "eval_augment": batches.views.text,
    }


def _parts(run: "Plan") -> dict[str, int]:
    """The parts of the data set's own training split: what the run kept of it, what it held out."""
    return {"train": 0, "validation": 1} if run.config.data.validation else {}


def _check_split(run: "Plan", split: str) -> None:
    """Checks that the run has such images.

    Raises:
        ConfigError: it has not.
    """
    known = list(dict.fromkeys([*run.dataset.splits, *_parts(run)]))
    if split not in known:
        raise ConfigError(f"--split {split}: there are {', '.join(known)}")


def _images(run: "Plan", split: str, where: str | None) -> "Examples":
    """The images of a split, or of a part of the training split."""
    from resnet_jax.data import pipeline, source

    parts = _parts(run)
    if split not in parts:
        return source.load(run.dataset, split, where)
    images = source.load(run.dataset, "train", where)
    return pipeline.hold_out(images, run.config.data.validation)[parts[split]]
