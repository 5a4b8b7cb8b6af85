"""What a network consists of: its parts with the shapes of their outputs, and its arrays by name."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax import params, step
from resnet_jax.errors import ConfigError
from resnet_jax.models.meeting import COLLECTION
from resnet_jax.models.resnet import ResNet, TokenLayers


@dataclasses.dataclass(frozen=True)
class Part:
    """The stem, a residual unit, the layers behind the last unit, or a dense layer of the head.

    Attributes:
        name: as patterns name it, `stage1/block2`.
        output: its shape for one image, (H, W, C) or (features,).
        parameters: number of scalars that can be trained.
    """

    name: str
    output: tuple[int, ...]
    parameters: int


@dataclasses.dataclass(frozen=True)
class Overview:
    """A network for images of one size.

    Attributes:
        parts: in the network's order.
        statistics: number of running statistics beside the parameters.
        flops: arithmetic of a forward pass of one image, as XLA counts it with its own convolutions;
            None where it does not count.
    """

    parts: tuple[Part, ...]
    statistics: int
    flops: float | None

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)


def of(model: ResNet, image_shape: tuple[int, int, int]) -> Overview:
    """The parts of a network for images [H, W, C]; nothing is computed, or compiled."""
    # Native kernels have the same parameters, but XLA does not see what they compute.
    options = dataclasses.replace(model.options, kernels=None)
    model = model.clone(options=options)
    variables = jax.eval_shape(lambda: step.init_variables(model, 0, image_shape))
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)

    def forward(variables: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        return model.apply(
            variables, images, train=False, mutable=[COLLECTION], capture_intermediates=_is_around
        )

    _, seen = jax.eval_shape(forward, variables, images)
    outputs = _outputs(model, seen[COLLECTION])
    counts = dict.fromkeys(outputs, 0)
    shapes = variables["params"]
    for name, leaf in zip(params.names(shapes), jax.tree.leaves(shapes), strict=True):
        part = _part(name)
        counts[part] = counts.get(part, 0) + leaf.size
        if name == f"{part}/kernel":  # of the head, whose layers are dense
            outputs[part] = leaf.shape[-1:]
    names = [name for name in counts if name != params.LAST] + [params.LAST]
    parts = tuple(Part(name, outputs[name], counts[name]) for name in names)
    lowered = jax.jit(lambda v, x: model.apply(v, x, train=False)).lower(variables, images)
    flops = (lowered.cost_analysis() or {}).get("flops")
    return Overview(parts, params.count(variables["batch_stats"]), flops)


def arrays(variables: dict[str, Any], patterns: Sequence[str] = ()) -> dict[str, Any]:
    """The parameters by name; those that match any pattern, which may name a subtree.

    Args:
        variables: with `params`, arrays or shapes.
        patterns: as of `finetune.freeze`; none for all.

    Raises:
        ConfigError: a pattern is no regular expression, or matches nothing.
    """
    tree = variables["params"]
    found = dict(zip(params.names(tree), jax.tree.leaves(tree), strict=True))
    if not patterns:
        return found
    try:
        chosen = params.match_subtrees(tree, patterns, "--match")
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("config.")) from None
    return {
        name: array
        for (name, array), match in zip(found.items(), jax.tree.leaves(chosen), strict=True)
        if match
    }


def _is_around(module: nn.Module, method: str) -> bool:
    """Whether it is the stem or what follows the last unit, whose outputs are not kept otherwise."""
    return isinstance(module, TokenLayers) and method == "__call__"


def _outputs(model: ResNet, seen: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of what the stem, the units and the final layers give, without the batch."""
    found = {"stem": seen["stem"]["__call__"]} if model.stem else {}
    for stage, units in enumerate(model.stages, 1):
        for block in range(1, len(units) + 1):
            found[f"stage{stage}/block{block}"] = seen[f"stage{stage}"][f"block{block}_output"]
    if model.final:
        found["final"] = seen["final"]["__call__"]
    return {name: kept[0].shape[1:] for name, kept in found.items()}


def _part(name: str) -> str:
    """`stage1/block2` of `stage1/block2/conv1/kernel`, `stem` of `stem/conv/kernel`."""
    first, *others = name.split("/")
    return f"{first}/{others[0]}" if first.startswith("stage") else first
