"""Cached features: what a frozen body makes of each image is computed once, and the head trained on it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from resnet_jax import params as parameters
from resnet_jax import sharding
from resnet_jax.data.pipeline import Batches, DeviceExamples
from resnet_jax.errors import ConfigError
from resnet_jax.finetune.freeze import Frozen
from resnet_jax.models.meeting import COLLECTION, FEATURES
from resnet_jax.step import Recipe

FIELD = "finetune.cache_features"


@dataclasses.dataclass(frozen=True)
class FeatureBatches(Batches):
    """Batches of features instead of images.

    They lie in memory as images of one row, float32 [N, 1, W, F]: W is 1; or 2, with the features of
    the mirrored image behind those of the image. So the augmentation `flip` picks one of them, by the
    draw that would mirror the image.
    """

    @classmethod
    def of(cls, batches: Batches) -> "FeatureBatches":
        """For the same order and the same draws as batches of images."""
        fields = {field.name: getattr(batches, field.name) for field in dataclasses.fields(Batches)}
        # Features have been resized as images.
        return cls(**fields | {"resize": None})

    def train(
        self, examples: DeviceExamples, seed: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Features float32 [B, F] and labels at `positions` of the stream."""
        features, labels = super().train(examples, seed, positions)
        return features[:, 0, 0], labels

    def evaluation(
        self, examples: DeviceExamples, start: jax.Array, size: int
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Features float32 [size, F] of the images as they are, labels, and mask."""
        features, labels, mask = super().evaluation(examples, start, size)
        return features[:, 0, 0], labels, mask

    def normalise(self, images: jax.Array) -> jax.Array:
        """Features are taken as they are."""
        return images


def on_features(recipe: Recipe) -> Recipe:
    """A recipe whose steps take features instead of images."""
    return dataclasses.replace(recipe, batches=FeatureBatches.of(recipe.batches))


def check(config: ConfigDict) -> None:
    """Checks the fields that decide whether features can be cached.

    Raises:
        ConfigError: they cannot; says what to write.
    """
    if not config.finetune.cache_features:
        return
    if config.augment.split() not in ([], ["flip"]):
        raise ConfigError(
            f"config.{FIELD}=True holds features of each image and of its mirror image, and no others; "
            f'config.augment={config.augment!r} asks for more: write --config.augment="" or flip'
        )
    if config.eval_augment:
        raise ConfigError(
            f"config.{FIELD}=True holds features of images as they are, which leaves no views for "
            f"config.eval_augment={config.eval_augment!r}; write --config.eval_augment="
        )
    if config.finetune.frozen_norms != "running":
        raise ConfigError(
            f"config.{FIELD}=True needs norms that use their running statistics; "
            "leave config.finetune.frozen_norms at 'running'"
        )
    if config.finetune.teacher is not None:
        raise ConfigError(
            f"config.finetune.teacher={config.finetune.teacher!r} wants to see images, which are gone with "
            f"config.{FIELD}=True; write --config.{FIELD}=false"
        )
    if config.probe.every:
        raise ConfigError(
            f"config.probe.every={config.probe.every} measures units, which do not run with "
            f"config.{FIELD}=True; write --config.probe.every=0"
        )


def check_network(
    model: nn.Module,
    frozen: Frozen | None,
    params: Any,
    batch_stats: Any,
    image_shape: tuple[int, int, int],
) -> None:
    """Checks that the body of a network always makes the same of an image.

    Args:
        model: of the run.
        frozen: what is not trained.
        params: shapes.
        batch_stats: likewise.
        image_shape: (height, width, channels).

    Raises:
        ConfigError: something but the head is trained, or the body draws at random in training.
    """
    names = parameters.names(params)
    still = jax.tree.leaves(frozen.params) if frozen else [False] * len(names)
    moving = [n for n, f in zip(names, still, strict=True) if not f and not n.startswith("head")]
    if moving:
        raise ConfigError(
            f"config.{FIELD}=True needs everything but the head to be frozen, and {moving[0]} is not; "
            "write --config.finetune.freeze=\"('all_but_head',)\""
        )
    statistics = jax.tree.leaves(frozen.statistics(batch_stats))
    if not all(statistics) or _draws(model, params, batch_stats, image_shape):
        raise ConfigError(
            f"config.{FIELD}=True needs a body that makes the same of an image each time, and this one "
            f"drops out at random or has norms without parameters; write --config.{FIELD}=false"
        )


def _draws(
    model: nn.Module, params: Any, batch_stats: Any, image_shape: tuple[int, int, int]
) -> bool:
    """Whether a network asks for a random key in training."""
    model = model.clone(options=dataclasses.replace(model.options, kernels=None))
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    variables = {"params": params, "batch_stats": batch_stats}
    try:
        jax.eval_shape(
            lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, images
        )
    except flax.errors.InvalidRngError:
        return True
    return False


def batch_of_features(
    model: nn.Module,
    batches: Batches,
    batch_size: int,
    variables: dict[str, Any],
    examples: DeviceExamples,
    start: jax.Array,
) -> jax.Array:
    """The features [B, 1, W, F] of the examples from `start` on; arguments as for `compile_cache`."""

    def features(images: jax.Array) -> jax.Array:
        _, seen = model.apply(variables, images, train=False, mutable=[COLLECTION])
        return seen[COLLECTION][FEATURES][0]

    size = batches.evaluation_size(batch_size, len(examples))
    images, _, _ = batches.evaluation(examples, start, size)
    views = [images, images[:, :, ::-1]] if batches.augment else [images]
    return jnp.stack([features(view) for view in views], axis=1)[:, None]


def compile_cache(
    model: nn.Module, batches: Batches, batch_size: int
) -> Callable[[dict[str, Any], DeviceExamples], DeviceExamples]:
    """A function `(variables, examples) -> examples` whose images are features [N, 1, W, F].

    Args:
        model: of the run.
        batches: of its images; with mirrored ones (W = 2) if their augmentation is not empty.
        batch_size: images at a time.
    """
    whole = sharding.replicated(batches.mesh)
    one_batch = functools.partial(batch_of_features, model, batches, batch_size)
    compiled = jax.jit(one_batch, out_shardings=whole)

    def cache(variables: dict[str, Any], examples: DeviceExamples) -> DeviceExamples:
        size = batches.evaluation_size(batch_size, len(examples))
        starts = range(0, len(examples), size)
        parts = [np.asarray(compiled(variables, examples, jnp.int32(start))) for start in starts]
        images = jax.device_put(np.concatenate(parts)[: len(examples)], whole)
        return DeviceExamples(images=images, labels=examples.labels)

    return cache
