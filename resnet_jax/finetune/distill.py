"""Finds the teacher of a run in its workdir, and holds the run to that one."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from resnet_jax import checkpoint, versions
from resnet_jax import workdir as files
from resnet_jax.data import mix, resize
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.finetune import source
from resnet_jax.finetune.teacher import Teacher
from resnet_jax.models import architecture
from resnet_jax.native.ops import Kernels
from resnet_jax.plan import Plan
from resnet_jax.step import Recipe

FIELD = "finetune.teacher"


def with_teacher(run: Plan) -> Recipe:
    """The recipe of a run, with the teacher that its config names; nothing of its arrays is read.

    It is no part of the plan, since a network that has been trained is evaluated without its teacher.

    Raises:
        ConfigError: see `find`.
        WorkdirError: see `find`.
    """
    if run.config.finetune.teacher is None:
        return run.recipe
    options = run.recipe.model.options
    teacher = find(run.config, mix.union(run.config, run.dataset), options.dtype, options.kernels)
    return dataclasses.replace(run.recipe, teacher=teacher)


def find(
    config: ConfigDict, dataset: Dataset, dtype: jnp.dtype, kernels: Kernels | None
) -> Teacher:
    """The teacher that a config names.

    Args:
        config: of the student, validated.
        dataset: of the student, with its normalisation and all its classes.
        dtype: of the computation.
        kernels: native ones, None for XLA's convolutions alone.

    Raises:
        ConfigError: the path is no workdir, or the teacher knows other classes or images.
        WorkdirError: the workdir is damaged or has no checkpoint.
    """
    workdir, at = source.find_checkpoint(config.finetune.teacher, FIELD)
    # What the student's config names is named by the user; other code is not imported.
    stored = files.read_config(workdir, config.model.plugins, config.model.unit)
    theirs = versions.dataset(workdir, stored)
    seen, expected = (
        resize.shape(each.image_shape, data.resize)
        for each, data in ((dataset, config.data), (theirs, stored.data))
    )
    for what, here, there in (
        ("classes", dataset.num_classes, theirs.num_classes),
        ("height, width and channels", seen, expected),
    ):
        if here != there:
            raise ConfigError(
                f"config.{FIELD}: {workdir} knows images of {there} {what}, "
                f"config.data.name={config.data.name!r} has {here}; name another teacher"
            )
    scale, shift = between(
        list(zip(dataset.mean, dataset.std, theirs.mean, theirs.std, strict=True))
    )
    return Teacher(
        workdir=workdir,
        step=at,
        model=architecture.build(stored.model, theirs.num_classes, dtype, kernels, expected[-1]),
        scale=scale,
        shift=shift,
        temperature=config.finetune.teacher_temperature,
        weight=config.finetune.teacher_weight,
    )


def between(channels: Sequence[tuple]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and shift per channel that lead from one normalisation of images to another.

    Args:
        channels: (mean, std, mean of the other, std of the other) of each.
    """
    scale = tuple(std / other_std for _, std, _, other_std in channels)
    return scale, tuple((mean - other) / std for mean, _, other, std in channels)


def read(teacher: Teacher) -> dict[str, Any]:
    """The teacher's `params` and `batch_stats`, NumPy arrays.

    Raises:
        WorkdirError: the checkpoint is missing or damaged.
    """
    return checkpoint.read_variables(teacher.workdir, teacher.step)


def identity(teacher: Teacher, variables: dict[str, Any]) -> dict[str, Any]:
    """What identifies a teacher, for `versions.json`."""
    return {"step": teacher.step, "sha256": checkpoint.sha256(variables)}


def check_same(workdir: Path, now: dict[str, Any]) -> None:
    """Checks that a run is continued with the teacher that it began with.

    Raises:
        WorkdirError: it is another.
    """
    before = versions.read(workdir).get("teacher", now)
    if before["sha256"] != now["sha256"]:
        raise WorkdirError(
            f"{workdir} began with another teacher, of step {before['step']}, than that of step "
            f"{now['step']} now;\ngive the old one back as config.{FIELD}, or choose another --workdir"
        )
