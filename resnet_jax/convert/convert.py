"""Between state dicts with PyTorch's names and the variables of this code base's networks."""

from collections.abc import Iterable, Mapping
from typing import Any

import flax
import jax
import numpy as np
from ml_collections import ConfigDict

from resnet_jax.convert import cifar, hugging_face, layout, network, torchvision
from resnet_jax.convert.layout import COUNTER, Layout
from resnet_jax.errors import ConfigError, DataError
from resnet_jax.models import architecture
from resnet_jax.models.bare import bare
from resnet_jax.models.resnet import ResNet
from resnet_jax.step import init_variables

LAYOUTS: Mapping[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT for module in (cifar, torchvision, hugging_face)
}


def detect(keys: Iterable[str]) -> Layout:
    """The family that a state dict belongs to, by the names of its first and last layers.

    Raises:
        DataError: to none.
    """
    keys = list(keys)
    for candidate in LAYOUTS.values():
        if candidate.fits(keys):
            return candidate
    wanted = "; ".join(
        f"{one.name}: {one.stem_conv}.weight, {one.head}.weight" for one in LAYOUTS.values()
    )
    raise DataError(
        f"no ResNet of a known layout; its tensors are {_some(keys)}.\n"
        f"A whole classifier of one of these is expected ({wanted})"
    )


def to_variables(
    family: Layout, tensors: Mapping[str, np.ndarray], model: ResNet, channels: int
) -> dict[str, Any]:
    """The variables of `model` from a state dict; every tensor of it is accounted for.

    Args:
        family: whose names the state dict has.
        tensors: by those names.
        model: what `network.infer` found.
        channels: of the images.

    Returns:
        `params` and `batch_stats`, float32 NumPy arrays.

    Raises:
        DataError: tensors are missing, have other shapes, or have no place in the network.
    """
    flat, used, missing, misshapen = {}, set(), [], []
    for path, leaf in _leaves(_shapes(model, channels)).items():
        name = "/".join(path[1:])
        key = family.key(name)
        used.add(key)
        if key not in tensors:
            missing.append(key)
            continue
        array = layout.from_torch(name, tensors[key]) if _rank(name) == tensors[key].ndim else None
        if array is None or array.shape != leaf.shape:
            expected = layout.to_torch(name, np.broadcast_to(np.float32(0), leaf.shape)).shape
            misshapen.append(f"{key} {tensors[key].shape} instead of {expected}")
        flat[path] = array
    stray = [key for key in tensors if key not in used and not key.endswith(f".{COUNTER}")]
    problems = [
        f"{len(found)} {what}: {_some(found)}"
        for what, found in (
            ("missing", missing),
            ("of another shape", misshapen),
            ("without a place", stray),
        )
        if found
    ]
    if problems:
        raise DataError(
            f"the tensors are not those of this ResNet; {'; '.join(problems)}.\n"
            "Only plain ResNets, wide ResNets and ResNeXts can be converted, from a complete state dict"
        )
    return flax.traverse_util.unflatten_dict(flat)


def to_tensors(
    family: Layout,
    variables: Mapping[str, Any],
    model: ResNet,
    defaults: ConfigDict,
    step: int,
    **given: str | None,
) -> dict[str, np.ndarray]:
    """A state dict with PyTorch's names from variables, the inverse of `to_variables`.

    Args:
        family: whose names to give.
        variables: `params` and `batch_stats`.
        model: the network.
        defaults: the section `model` of the default config.
        step: how many updates the statistics have seen.
        **given: `stem` and `stride_on` as for `network.infer`, to say that whoever reads the file
            builds the network so.

    Raises:
        ConfigError: the family's networks do not compute what this one does.
    """
    tensors = {}
    try:
        for path, leaf in _leaves(variables).items():
            name = "/".join(path[1:])
            tensors[family.key(name)] = layout.to_torch(name, np.asarray(leaf))
        shapes = {key: tensor.shape for key, tensor in tensors.items()}
        found = network.infer(family, shapes, defaults, **given)
        read = architecture.build(network.apply(found.fields, defaults), found.classes)
        same = bare(read) == bare(model)
    except (KeyError, DataError, ConfigError):
        same = False
    if not same:
        raise ConfigError(
            f"--layout {family.name} cannot express this network: from these names its definitions "
            f"({family.source}) build another;\nchoose another of {', '.join(LAYOUTS)}, or say with "
            "--stem and --stride-on how whoever reads the file builds it"
        )
    counts = np.full((), step, np.int64)
    return tensors | dict.fromkeys(layout.counters(list(tensors)), counts)


def _shapes(model: ResNet, channels: int) -> dict[str, Any]:
    return jax.eval_shape(lambda: init_variables(model, 0, (64, 64, channels)))


def _leaves(variables: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    return flax.traverse_util.flatten_dict(dict(variables))


def _rank(leaf: str) -> int:
    """Dimensions of a leaf."""
    if not leaf.endswith("/kernel"):
        return 1
    return 2 if leaf.startswith("head/") else 4


def _some(names: list[str], count: int = 3) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(name[:100] for name in names[:count]) + more
