"""A file of weights, read as a network of this code base: what it is, its arrays, its preprocessing."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax import cli, plan
from resnet_jax.convert import convert, network, weights_file
from resnet_jax.convert.layout import Layout
from resnet_jax.data import spec
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError, DataError

FROM_FILE = "file"
"""What `Published.origin` is where the file itself holds the preprocessing."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the command line may say of a network; None where it is silent.

    Attributes:
        layout: a key of `convert.LAYOUTS`; None: by the names in the file.
        stem, stride_on: as for `network.infer`.
        mean, std: per channel, of images scaled to 0..1.
        size: height and width of the images, pixels.
        data: the data set that the weights classify.
    """

    layout: str | None = None
    stem: str | None = None
    stride_on: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    data: str | None = None


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights.

    Attributes:
        layout: whose names its tensors have.
        network: what their shapes say.
        config: whose sections `model` and `data.name` are those of the network.
        plan: the run that these weights are the beginning of; its data set has the preprocessing.
        origin: where the preprocessing is from, in words.
        variables: `params` and `batch_stats`, float32 NumPy arrays.
        sha256: of the file, hexadecimal.
    """

    layout: Layout
    network: network.Network
    config: ConfigDict
    plan: plan.Plan
    origin: str
    variables: dict[str, Any]
    sha256: str

    def describe_preprocessing(self) -> str:
        """Mean and deviation by which its images were normalised, and how that is known."""
        images = self.plan.dataset
        mean, std = (", ".join(f"{x:g}" for x in each) for each in (images.mean, images.std))
        known = (
            "says the file"
            if self.origin == FROM_FILE
            else f"by the custom of its {self.origin}; for others: convert --mean --std"
        )
        return f"mean ({mean}) and std ({std}), {known}"


def read(path: Path, choices: Choices) -> Published:
    """Reads a file, of which nothing is executed.

    Raises:
        ConfigError: the choices contradict each other or the file, or the stem has to be chosen.
        DataError: the file is no ResNet's, or damaged.
    """
    weights = weights_file.read(path)
    config = cli.load(str(cli.DEFAULT))
    with _naming(path):
        family = (
            convert.LAYOUTS[choices.layout] if choices.layout else convert.detect(weights.tensors)
        )
        shapes = {key: tensor.shape for key, tensor in weights.tensors.items()}
        found = network.infer(
            family, shapes, config.model, stem=choices.stem, stride_on=choices.stride_on
        )
        config.model = network.apply(found.fields, config.model)
        dataset, size, origin = _dataset(family, found, weights, choices)
        config.data.name = dataset.name
        if size != dataset.image_shape[0]:
            config.data.resize = size
        run = _plan(config, dataset, given=bool(choices.stem))
        variables = convert.to_variables(family, weights.tensors, run.recipe.model, found.channels)
    return Published(family, found, config, run, origin, variables, weights.sha256)


def _plan(config: ConfigDict, dataset: Dataset, *, given: bool) -> plan.Plan:
    """The run that the converted weights are the beginning of; the stem may be `given` by the user."""
    # Nothing is computed: building kernels for it would take seconds.
    config = config.copy_and_resolve_references()
    config.conv_backend = "xla"
    try:
        return plan.make(config, jax.devices()[:1], dataset)
    except ConfigError as error:
        if given:
            raise
        first = str(error).splitlines()[0]
        raise DataError(
            f"no network of this code has these tensors: {first}.\n"
            "Convert a ResNet, wide ResNet or ResNeXt"
        ) from None


def _dataset(
    family: Layout, found: network.Network, weights: weights_file.Weights, choices: Choices
) -> tuple[Dataset, int, str]:
    """The data set of the weights with their preprocessing, the height and width of the images that the
    network saw, and where the statistics come from.
    """
    cifar10 = family.size == 32 and (found.classes, found.channels) == (10, 3)
    dataset = spec.get(choices.data or ("cifar10" if cifar10 else spec.NONE))
    stored = weights_file.stored_preprocessing(weights.metadata)
    known = {"mean": family.mean, "std": family.std, "size": family.size} | stored
    if dataset.name == spec.NONE:
        size = choices.size or known["size"]
        dataset = dataclasses.replace(
            dataset,
            image_shape=(size, size, found.channels),
            classes=tuple(map(str, range(found.classes))),
        )
    _check_images(dataset, found, choices.size)
    mean, std = choices.mean or known["mean"], choices.std or known["std"]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != found.channels:
            raise ConfigError(
                f"--{name} has {len(values)} values, the network's images {found.channels} channels; "
                f"write, say, --{name} {','.join(['0.5'] * found.channels)}"
            )
    origin = "command line" if choices.mean else FROM_FILE if stored else f"layout {family.name}"
    # A layout's own size is a custom; what a file says is known.
    size = stored.get("size", dataset.image_shape[0])
    return dataclasses.replace(dataset, mean=mean, std=std), choices.size or size, origin


def _check_images(dataset: Dataset, found: network.Network, size: int | None) -> None:
    """Checks that a data set has the images and the classes of the network."""
    if (found.classes, found.channels) != (dataset.num_classes, dataset.image_shape[2]):
        raise ConfigError(
            f"--data {dataset.name} has {dataset.num_classes} classes and {dataset.image_shape[2]} "
            f"channels, the network {found.classes} and {found.channels};\nleave --data out"
        )
    if size and size != dataset.image_shape[0]:
        raise ConfigError(
            f"--size {size}: the images of {dataset.name} have {dataset.image_shape[0]} pixels; "
            f"leave --size out, or write --data {spec.NONE}"
        )


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the file's name in front of what is wrong with it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
