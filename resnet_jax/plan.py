"""Everything that follows from a config and the devices, before data or files are touched."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from resnet_jax import config as configs
from resnet_jax import optimizer, params, sharding, step
from resnet_jax.data import mix, pipeline, resize, spec
from resnet_jax.finetune import features, freeze, l2_sp
from resnet_jax.models import architecture
from resnet_jax.native import backend as native
from resnet_jax.native.backend import Backend
from resnet_jax.native.ops import Kernels
from resnet_jax.step import Recipe


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that could begin.

    Attributes:
        config: validated.
        dataset: what it trains on.
        steps: length of the run.
        learning_rates: float32 [steps], that of each update.
        recipe: for `step.train_step`.
        parameters: number of trainable scalars.
        backend: which convolutions are used.
    """

    config: ConfigDict
    dataset: spec.Dataset
    steps: int
    learning_rates: np.ndarray
    recipe: Recipe
    parameters: int
    backend: Backend

    @property
    def devices(self) -> list[jax.Device]:
        return list(self.recipe.batches.mesh.devices.flat)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that the network sees."""
        return resize.shape(self.dataset.image_shape, self.config.data.resize)


def make(
    config: ConfigDict,
    devices: list[jax.Device] | None = None,
    dataset: spec.Dataset | None = None,
) -> Plan:
    """Checks a config and builds the network and the optimizer.

    Args:
        config: fields as in `configs/default.py`.
        devices: all of them if None.
        dataset: that of the config if None.

    Raises:
        ConfigError: see `config.validate`; or the devices do not divide the batch.
    """
    configs.validate(config, dataset)
    dataset = spec.of(config.data) if dataset is None else dataset
    backend = native.choose(config)
    mesh = sharding.make_mesh(devices)
    configs.check_devices(config, mesh.devices.size)
    dtype = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}[config.precision]
    kernels = None if backend.lanes is None else Kernels(backend.lanes, mesh)
    channels = dataset.image_shape[-1]
    outputs = mix.union(config, dataset)
    model = architecture.build(config.model, outputs.num_classes, dtype, kernels, channels)
    image_shape = resize.shape(dataset.image_shape, config.data.resize)
    shapes = jax.eval_shape(lambda: step.init_variables(model, 0, image_shape))
    shapes, batch_stats = shapes["params"], shapes["batch_stats"]
    frozen = None
    params.match_subtrees(shapes, config.finetune.reinit, "finetune.reinit")
    if config.finetune.freeze:
        frozen = freeze.resolve(shapes, batch_stats, config.finetune.freeze)
        if config.finetune.frozen_norms == "running":
            options = dataclasses.replace(model.options, frozen=frozen.norms)
            model = model.clone(options=options)
        else:
            frozen = dataclasses.replace(frozen, norms=frozenset())
    if config.finetune.cache_features:
        features.check_network(model, frozen, shapes, batch_stats, image_shape)
    trained = (lambda tree: tree) if frozen is None else (lambda tree: frozen.split(tree)[0])
    steps = configs.num_steps(config, dataset)
    schedule = optimizer.schedule(config.optimizer, steps)
    rates = optimizer.rate_factors(config)
    decay = l2_sp.decay(config, shapes, trained)
    recipe = Recipe(
        model=model,
        optimizer=optimizer.create(config.optimizer, schedule, shapes, rates, trained, decay),
        batches=pipeline.Batches.create(
            outputs, config.augment, mesh, config.eval_augment, size=config.data.resize
        ),
        batch_size=config.batch_size,
        accumulation=config.accumulation,
        label_smoothing=config.label_smoothing,
        ema_decay=config.ema_decay,
        frozen=frozen,
    )
    by_step = jax.vmap(lambda at: jnp.asarray(schedule(at), jnp.float32))(jnp.arange(steps))
    return Plan(config, dataset, steps, np.asarray(by_step), recipe, params.count(shapes), backend)
