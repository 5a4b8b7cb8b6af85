"""Whether weights are for the network that takes them: what shapes of arrays do not tell."""

import re
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.finetune.source import Source

COMPUTED = (
    ("design", "branch", "after", "stem", "final", "unit")
    + ("weight_standardization", "scaled_activation", "stride_on")
    + ("shortcut", "projection", "downsampling", "combine", "shared_preact", "norm", "activation")
)
"""Fields of `config.model` that change what a network computes from the same arrays."""


def notes(source: Source, model: ConfigDict, image_shape: tuple[int, int, int]) -> list[str]:
    """What differs, in words; a user may want it so.

    Args:
        source: of the weights.
        model: the section of the config of the network that takes them.
        image_shape: (height, width, channels) that it sees.
    """
    found = []
    if source.size not in (None, image_shape[:2]):
        there, here = ("x".join(map(str, size)) for size in (source.size, image_shape[:2]))
        found.append(
            f"the weights saw images of {there} pixels, these have {here}; "
            f"config.data.resize={source.size[0]} would enlarge or reduce them"
        )
    if source.model is not None:
        different = [
            f"model.{name}={theirs!r} there, {ours!r} here"
            for name in COMPUTED
            for theirs, ours in [(source.model.get(name), model.get(name))]
            if _certain(theirs) != _certain(ours)
        ]
        if different:
            found.append(f"the weights are of another network: {'; '.join(different)}")
    return found


def _certain(value: Any) -> Any:
    """A field without dropout and stochastic depth, which are nothing in inference."""
    if not isinstance(value, str):
        return value
    return re.sub(r"\bdrop(_path)?\([^()]*\)", "", value).strip() or None
