"""What a run reads before its first step: images, and what it must find unchanged when it goes on."""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from resnet_jax import versions
from resnet_jax.data import fraction, mix, pipeline, source
from resnet_jax.data.pipeline import DeviceExamples
from resnet_jax.data.source import Examples
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import DataError
from resnet_jax.finetune import distill
from resnet_jax.finetune.borrowed import Borrowed
from resnet_jax.finetune.teacher import TaughtExamples
from resnet_jax.plan import Plan


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The images of a run.

    Attributes:
        train: to train on, on the devices, with the variables of a teacher where there is one.
        held_out: for validation, on the devices; None if there are none.
        test: in the memory of the host.
    """

    train: DeviceExamples
    held_out: DeviceExamples | None
    test: Examples


def ensure(config: ConfigDict, dataset: Dataset) -> None:
    """Checks that the data sets are there, or prepares them if the config says so."""
    for each in (dataset, *mix.mixed(config)):
        try:
            source.check(each, config.data.dir)
        except DataError:
            if not config.data.prepare:
                raise
            from resnet_jax.data import prepare  # imports TFDS, which a prepared run can do without

            prepare.prepare(each, source.data_dir(config.data.dir))


def load(run: Plan, workdir: Path, borrowed: Borrowed) -> Inputs:
    """Reads the images, and writes `versions.json`, which says what they are.

    Prints what differs from the run's earlier processes.

    Args:
        run: what is trained.
        workdir: of the run.
        borrowed: what the run takes from elsewhere.

    Raises:
        ConfigError: a fraction of the images lacks a class.
        DataError: the data set is missing or damaged.
        WorkdirError: the training images, or the teacher, are others than before.
    """
    config, mesh, taught = run.config, run.recipe.batches.mesh, run.recipe.teacher
    examples = source.load(run.dataset, "train", config.data.dir)
    # Damage to the test images is better found now than after the training.
    test = source.load(run.dataset, run.dataset.test_split, config.data.dir)
    kept, held_out = pipeline.hold_out(examples, config.data.validation)
    kept = fraction.take(kept, config.data.fraction, config.data.fraction_seed)
    variables = borrowed.teacher
    now = versions.current(run.devices) | {
        "conv_backend": run.backend.name,
        "data": versions.of_data(run.dataset, examples),
    }
    if config.data.fraction < 1:
        now["data"]["fraction"] = {"images": len(kept), "sha256": kept.sha256()}
    if config.data.mix is not None:
        own, kept = len(kept), mix.add(kept, config)
        added = {"images": len(kept) - own, "sha256": kept.sha256()}
        now["data"]["mix"] = {"name": config.data.mix, **added}
    if plugins := versions.of_plugins(config.model):
        now["plugins"] = plugins
    if taught is not None:
        now["teacher"] = distill.identity(taught, variables)
        distill.check_same(workdir, now["teacher"])
    for note in versions.record(workdir, now):
        print(f"note      {note}")
    placed = pipeline.place(kept, mesh)
    return Inputs(
        train=placed if taught is None else TaughtExamples.of(placed, variables, mesh),
        held_out=pipeline.place(held_out, mesh) if len(held_out) else None,
        test=test,
    )
