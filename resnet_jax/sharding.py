"""The device mesh and who holds what: the same code from one CPU to a pod.

Parameters and the data set are replicated, a batch is split over the axis `data`. Batch statistics
are those of the global batch, because `jit` partitions the one program that is written here.
"""

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from resnet_jax.errors import ConfigError

DATA_AXIS = "data"


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh over `devices`, all of them if None.

    The axis is `Auto`: under JAX's default, explicit axes, gathering from a data set by sharded
    indices is an error.
    """
    devices = all_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (DATA_AXIS,), (AxisType.Auto,), devices=devices)


def all_devices() -> list[jax.Device]:
    """Every device that JAX finds.

    Raises:
        ConfigError: there is none of the kind that the environment asks for.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:200]
        raise ConfigError(
            f"JAX finds no device for JAX_PLATFORMS={asked!r}: {reason}\n"
            "install the JAX for this machine (README, 'TPU VM, GPU, CPU'), or unset the variable"
        ) from error


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Every device holds its share of axis 0."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def on_accelerator(mesh: Mesh) -> bool:
    """Whether many steps are worth running per dispatch.

    XLA runs convolutions inside a loop about twenty times slower on a CPU, never on an accelerator.
    """
    return mesh.devices.flat[0].platform != "cpu"
