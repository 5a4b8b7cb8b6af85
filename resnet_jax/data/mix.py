"""Images of a second data set among the training images: source and target data learnt together.

The network has logits for the classes of both, those of `data.name` first. What is held out and what is
tested is of `data.name` alone, where an answer from the other set's classes is wrong.
"""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from resnet_jax.data import fraction, source, spec
from resnet_jax.data.source import Examples
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError


def mixed(config: ConfigDict) -> list[Dataset]:
    """The second data set, if the config names one."""
    return [] if config.data.mix is None else [spec.get(config.data.mix)]


def size(config: ConfigDict) -> int:
    """Training images that it adds."""
    return sum(fraction.size(d.splits["train"], config.data.mix_fraction) for d in mixed(config))


def union(config: ConfigDict, dataset: Dataset) -> Dataset:
    """A data set with the classes of both."""
    classes = dataset.classes + sum((other.classes for other in mixed(config)), ())
    return dataclasses.replace(dataset, classes=classes)


def add(examples: Examples, config: ConfigDict) -> Examples:
    """Puts the images of the second data set behind `examples`; their labels follow on.

    Args:
        examples: of `data.name`, to train on.
        config: validated.

    Raises:
        DataError: the second data set is missing or damaged.
    """
    for other in mixed(config):
        more = source.load(other, "train", config.data.dir)
        more = fraction.take(more, config.data.mix_fraction, config.data.fraction_seed)
        labels = more.labels + np.int32(spec.of(config.data).num_classes)
        examples = Examples(
            np.concatenate([examples.images, more.images]),
            np.concatenate([examples.labels, labels]),
        )
    return examples


def check(config: ConfigDict, own: Dataset) -> None:
    """Checks that the images of both data sets fit one network.

    Args:
        config: its fields are legal.
        own: the data set of `data.name`.

    Raises:
        ConfigError: they do not, or a fraction has no image for some class.
    """
    for other in mixed(config):
        if other.image_shape != own.image_shape:
            raise ConfigError(
                f"config.data.mix={other.name!r} has images of {_shape(other)}, "
                f"config.data.name={own.name!r} of {_shape(own)}; name one with images of that shape"
            )
        if size(config) < other.num_classes:
            raise ConfigError(
                f"config.data.mix_fraction={config.data.mix_fraction:g} leaves {size(config)} images for "
                f"{other.num_classes} classes; write one that leaves at least one image each"
            )


def _shape(dataset: Dataset) -> str:
    return "x".join(map(str, dataset.image_shape))
