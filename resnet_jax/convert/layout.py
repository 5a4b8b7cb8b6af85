"""Layouts: how PyTorch's definitions of residual networks name what this code base names otherwise."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel of images scaled to 0..1; what PyTorch's networks are trained with unless they say."""

STEMS = {"cifar": "conv norm act", "imagenet": "conv(7, 2) norm act pool(3, 2)"}
"""What `model.stem` abbreviates, for units that begin with a convolution."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One family's names. Blocks count from 0; `{stage}`, `{block}` and `{conv}` are filled in.

    Attributes:
        name: on the command line.
        stem_conv, stem_norm, head: their modules.
        conv, norm: of a unit's branch.
        projection_conv, projection_norm: of its shortcut.
        first: the number of the first stage and of a unit's first convolution.
        zero_padding: whether there are networks without projections (option A of He et al. 2015).
        stems: kernel size of the stem, stages -> the stem, where the family knows but one; stages
            None for any.
        size: height and width of the images, in pixels.
        mean, std: per channel, of images scaled to 0..1.
        source: where the names come from.
    """

    name: str
    stem_conv: str
    stem_norm: str
    conv: str
    norm: str
    projection_conv: str
    projection_norm: str
    head: str
    first: tuple[int, int]
    zero_padding: bool
    stems: Mapping[tuple[int, int | None], str]
    size: int
    source: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def module(self, ours: str) -> str:
        """Their name of one of our modules, such as `stage1/block2/conv1`.

        Raises:
            KeyError: the family has nothing of the kind.
        """
        whole = {"stem/conv": self.stem_conv, "stem/norm": self.stem_norm, "head": self.head}
        if ours in whole:
            return whole[ours]
        found = _UNIT.fullmatch(ours)
        if not found:
            raise KeyError(ours)
        part, number = found["part"], found["number"]
        template = {
            "conv": self.conv,
            "norm": self.norm,
            "projection/conv": self.projection_conv,
            "projection/norm": self.projection_norm,
        }[part]
        return template.format(
            stage=int(found["stage"]) - 1 + self.first[0],
            block=int(found["block"]) - 1,
            conv=int(number or 1) - 1 + self.first[1],
        )

    def key(self, leaf: str) -> str:
        """The key in their state dict of one of our leaves, such as `stem/norm/scale`.

        Raises:
            KeyError: the family has nothing of the kind.
        """
        module, _, kind = leaf.rpartition("/")
        return f"{self.module(module)}.{_KINDS[kind]}"

    def fits(self, keys: Iterable[str]) -> bool:
        """Whether a state dict is of this family, so far as its first and last layers say."""
        return {self.key("stem/conv/kernel"), self.key("head/kernel")} <= set(keys)


_UNIT = re.compile(
    r"stage(?P<stage>\d+)/block(?P<block>\d+)/"
    r"(?P<part>conv|norm|projection/conv|projection/norm)(?P<number>\d*)"
)

_KINDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
"""Our leaf -> theirs."""

COUNTER = "num_batches_tracked"
"""PyTorch's count of training steps of a normalisation; it has no part in what a network computes."""


def from_torch(leaf: str, array: np.ndarray) -> np.ndarray:
    """Our leaf from their tensor: convolutions OIHW -> HWIO, the head transposed."""
    if leaf.endswith("/kernel"):
        array = array.transpose((2, 3, 1, 0) if array.ndim == 4 else None)
    return np.ascontiguousarray(array, np.float32)


def to_torch(leaf: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `from_torch`."""
    if leaf.endswith("/kernel"):
        array = array.transpose((3, 2, 0, 1) if array.ndim == 4 else None)
    return np.ascontiguousarray(array, np.float32)


def counters(keys: Iterable[str]) -> Iterator[str]:
    """The counters that stand beside the running statistics of a state dict."""
    for key in keys:
        if key.endswith(".running_mean"):
            yield key.removesuffix("running_mean") + COUNTER
