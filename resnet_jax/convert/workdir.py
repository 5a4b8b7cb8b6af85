"""Writes a workdir from a file of weights, and a file from a workdir; either whole or not at all."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from resnet_jax import atomic, checkpoint, cli, params, plan, sharding, step, versions
from resnet_jax import config as configs
from resnet_jax import workdir as files
from resnet_jax.convert import convert, published, safetensors_file
from resnet_jax.convert.layout import Layout
from resnet_jax.convert.published import Choices
from resnet_jax.errors import ConfigError, WorkdirError


def read_weights(source: Path, target: Path, choices: Choices) -> dict[str, Any]:
    """Makes the workdir `target` from a file of weights.

    Returns:
        what was found: `layout`, `network`, `parameters`, `data`, `mean`, `std`, `size`, `step`.

    Raises:
        ConfigError: the choices contradict each other or the file.
        DataError: the file is no ResNet's, or damaged.
        WorkdirError: `target` exists or cannot be written.
    """
    _refuse_existing(target)
    read = published.read(source, choices)
    run, dataset = read.plan, read.plan.dataset
    state = _state(run, read.variables)
    made_with = versions.current(run.devices) | {
        "data": {
            "name": dataset.name,
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            "image_shape": list(dataset.image_shape),
            "classes": dataset.num_classes,
        },
        versions.CONVERTED: {
            "file": source.name,
            "sha256": read.sha256,
            "layout": read.layout.name,
            "statistics": read.origin,
        },
    }
    with _whole(target) as temporary:
        temporary.mkdir()
        atomic.write(temporary / files.CONFIG, configs.to_json(read.config))
        atomic.write_json(temporary / versions.FILE, made_with)
        checkpoints = checkpoint.Checkpoints(temporary)
        try:
            checkpoints.save(state, {})
        finally:
            checkpoints.close()
    return {
        "layout": read.layout.name,
        "network": read.network.describe(),
        "parameters": params.count(state.params),
        "data": dataset.name,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "size": run.image_shape[0],
        "statistics": read.origin,
        "step": 0,
    }


def _state(run: plan.Plan, variables: dict[str, Any]) -> step.TrainState:
    """The state before the first step, but with these variables."""
    whole = sharding.replicated(run.recipe.batches.mesh)
    variables = jax.device_put(variables, whole)
    state = step.TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(run.config.seed, jnp.uint32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=run.recipe.optimizer.init(variables["params"]),
        ema={},
    )
    return jax.device_put(state, whole)


def write_weights(source: Path, target: Path, choices: Choices, at: str) -> dict[str, Any]:
    """Writes a safetensors file with PyTorch's names from a workdir.

    Args:
        source: the workdir.
        target: the file.
        choices: `layout` (None: the one it was converted from, else the first that fits), `stem`
            and `stride_on`.
        at: the checkpoint: `latest`, `best` or a number.

    Returns:
        `layout`, `network`, `parameters`, `step`.

    Raises:
        ConfigError: the layout cannot express the network.
        WorkdirError: the workdir is damaged, or `target` exists or cannot be written.
    """
    if target.suffix != ".safetensors":
        raise ConfigError(f"--to {target}: a workdir is written as NAME.safetensors; write that")
    _refuse_existing(target)
    config = files.read_config(source)
    dataset = versions.dataset(source, config)
    # Shapes alone decide whether a layout fits, so the devices and the batch do not matter.
    config.batch_size, config.accumulation, config.conv_backend = 1, 1, "xla"
    run = plan.make(config, jax.devices()[:1], dataset)
    state = checkpoint.read(source, step.state_shapes(run.recipe, run.image_shape), at)
    defaults = cli.load(str(cli.DEFAULT)).model
    known = versions.read(source).get(versions.CONVERTED, {}).get("layout")
    family, tensors = _in_layout(choices, known, state, run, defaults)
    preprocessing = {
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "size": run.image_shape[0],
    }
    metadata = {"format": "pt", "resnet_jax": json.dumps(preprocessing)}
    with _whole(target) as temporary:
        temporary.write_bytes(safetensors_file.encode(tensors, metadata))
    return {
        "layout": family.name,
        "network": f"{len(tensors)} tensors",
        "parameters": params.count(state.params),
        "step": int(state.step),
    }


def _in_layout(
    choices: Choices,
    known: str | None,
    state: step.TrainState,
    run: plan.Plan,
    defaults: ConfigDict,
) -> tuple[Layout, dict[str, Any]]:
    """The state dict in the layout that was chosen, or in the first that can express it."""
    names = [choices.layout] if choices.layout else [*([known] if known else []), *convert.LAYOUTS]
    for name in names:
        try:
            family = convert.LAYOUTS[name]
            return family, convert.to_tensors(
                family,
                state.evaluated(),
                run.recipe.model,
                defaults,
                int(state.step),
                stem=choices.stem,
                stride_on=choices.stride_on,
            )
        except (KeyError, ConfigError) as error:
            last = error
    if choices.layout:
        raise last
    raise ConfigError(
        f"no layout of {', '.join(convert.LAYOUTS)} can express this network, whose units or stem are "
        "others;\nonly plain ResNets with BatchNorm and ReLU have PyTorch names"
    )


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise WorkdirError(f"--to {target} exists; choose another name, or remove it first")


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; it becomes `target` if all went well, else it goes."""
    temporary = target.absolute().with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _refuse_existing(target)
        temporary.rename(target.absolute())
    except OSError as error:
        raise WorkdirError(
            f"cannot write {target}: {error.strerror}; free space, or choose another --to"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink()
