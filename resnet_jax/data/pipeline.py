"""Batches as pure functions of (seed, position): gathered, normalised and augmented on the device."""

import dataclasses
import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from resnet_jax import rng, sharding
from resnet_jax.data import augment, mixing, resize, views
from resnet_jax.data.colour import Colours
from resnet_jax.data.order import images_at, images_at_numpy
from resnet_jax.data.source import Examples
from resnet_jax.data.spec import Dataset
from resnet_jax.data.views import Views
from resnet_jax.tokens import Token

_HELD_OUT_SEED = 0
"""The seed of the permutation whose beginning is held out: one validation set for all runs."""


@flax.struct.dataclass
class DeviceExamples:
    """A split in device memory, replicated: uint8 [N, H, W, C] and int32 [N]."""

    images: jax.Array
    labels: jax.Array

    def __len__(self) -> int:
        return self.labels.shape[0]


def place(examples: Examples, mesh: Mesh) -> DeviceExamples:
    """Copies a split to every device of the mesh."""
    whole = sharding.replicated(mesh)
    return DeviceExamples(
        images=jax.device_put(examples.images, whole), labels=jax.device_put(examples.labels, whole)
    )


def hold_out(examples: Examples, count: int) -> tuple[Examples, Examples]:
    """Cuts `count` images off for validation, the same ones for every seed.

    They are drawn at random, since a split may be sorted by class.

    Returns:
        the remaining and the held-out examples, both in their original order.
    """
    if not count:
        return examples, Examples(examples.images[:0], examples.labels[:0])
    order = images_at_numpy(_HELD_OUT_SEED, np.arange(len(examples)), len(examples))
    held_out, kept = np.sort(order[:count]), np.sort(order[count:])
    return tuple(Examples(examples.images[i], examples.labels[i]) for i in (kept, held_out))


@dataclasses.dataclass(frozen=True)
class Batches:
    """How images become batches.

    Attributes:
        mean, std: per channel, of images scaled to 0..1.
        augment: parsed tokens.
        mesh: a batch is split over its axis `data`.
        classes: how many there are.
        views: of an image that is evaluated.
        resize: height and width that images get, pixels; None: they keep the data set's.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: tuple[Token, ...]
    mesh: Mesh
    classes: int
    views: Views
    resize: int | None = None

    @classmethod
    def create(
        cls,
        dataset: Dataset,
        augment_text: str,
        mesh: Mesh,
        eval_augment: str = "",
        *,
        size: int | None = None,
    ) -> "Batches":
        """For a data set and the texts of `config.augment`, `.eval_augment` and `.data.resize`."""
        parsed = augment.parse(augment_text, dataset.image_shape)
        seen = views.parse(eval_augment, resize.shape(dataset.image_shape, size))
        return cls(dataset.mean, dataset.std, parsed, mesh, dataset.num_classes, seen, size)

    def train(
        self, examples: DeviceExamples, seed: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The augmented images at `positions` of the stream.

        Args:
            examples: the training split.
            seed: uint32 [].
            positions: integers [B].

        Returns:
            images float32 [B, H, W, C] and labels int32 [B], split over the mesh. Where images are
            mixed, labels are the shares of the classes: float32 [B, classes].
        """
        # The constraint is what makes each device gather and augment its own rows only;
        # without it every device computes the whole batch, with the same result.
        positions = self._split(positions)
        index = self._images_at(seed, positions, len(examples))
        keys = rng.keys_at(seed, rng.Stream.AUGMENT, positions)
        span = augment.mixing_span(self.augment)
        before, mixes, after = (
            self.augment[: span.start],
            self.augment[span],
            self.augment[span.stop :],
        )

        def pictures(index: jax.Array, keys: jax.Array) -> jax.Array:
            images = self.normalise(examples.images[index])
            return augment.apply(before, images, keys, self._colours)

        images, labels = pictures(index, keys), examples.labels[index]
        if mixes:
            partner, partner_keys = mixing.partners(keys, len(examples))
            partner = self._split(partner)
            images, shares = mixing.mix(mixes, images, pictures(partner, partner_keys), keys)
            labels = mixing.soft(labels, examples.labels[partner], shares, self.classes)
        images = augment.apply(after, images, keys, self._colours, first=span.stop)
        images = resize.apply(images, self.resize)
        return self._split(images), self._split(labels)

    def evaluation(
        self, examples: DeviceExamples, start: jax.Array, size: int
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The images `start` to `start + size` as they are, padded behind the last one.

        Returns:
            images float32 [size, H, W, C], labels int32 [size], and mask bool [size], false for
            padding, all split over the mesh.
        """
        rows = self._split(start + jnp.arange(size, dtype=jnp.int32))
        index = jnp.minimum(rows, len(examples) - 1)
        images = resize.apply(self.normalise(examples.images[index]), self.resize)
        images = self._split(images)
        return images, self._split(examples.labels[index]), self._split(rows < len(examples))

    def evaluation_size(self, requested: int, examples: int) -> int:
        """The batch size that comes next to `requested` and that the devices divide.

        All views of an image go through the network together, so that there are fewer images at once.
        """
        devices = self.mesh.devices.size
        together = max(1, requested // len(self.views))
        return math.ceil(min(together, examples) / devices) * devices

    def normalise(self, images: jax.Array) -> jax.Array:
        """From uint8 [..., C] to float32 with mean 0 and standard deviation 1 per channel."""
        return self._colours.normalised(images)

    @property
    def _colours(self) -> Colours:
        return Colours(self.mean, self.std)

    def _images_at(self, seed: jax.Array, positions: jax.Array, size: int) -> jax.Array:
        """`order.images_at`, each device for its own rows.

        It loops until its last row is found; over all rows at once, each test of that would be a
        message between devices.
        """
        split = jax.shard_map(
            lambda seed, positions: images_at(seed, positions, size),
            mesh=self.mesh,
            in_specs=(PartitionSpec(), PartitionSpec(sharding.DATA_AXIS)),
            out_specs=PartitionSpec(sharding.DATA_AXIS),
        )
        return split(seed, positions)

    def _split(self, x: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, sharding.split_batch(self.mesh))
