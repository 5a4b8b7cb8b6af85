"""Any two fields of a network go together, or are refused by a sentence that names one."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from configs import default
from resnet_jax import config as configs
from resnet_jax import optimizer, step
from resnet_jax.errors import ConfigError
from resnet_jax.models import architecture
from resnet_jax.models.designs import DESIGNS, SHARED_PREACTS

AXES = {
    "design": list(DESIGNS),
    "shortcut": ["none", "scale(0.5, 0.5)", "exclusive_gate", "shortcut_gate", "conv",
                 "conv(norm)", "drop(0.1)"],
    "combine": ["add(1, 0.5)", "learned", "subtract", "orthogonal"],
    "norm": ["none", "ghost(2)", "group(2)", "layer", "frn", "dyt"],
    "weight_standardization": ["plain", "scaled"],
    "scaled_activation": [True],
    "downsampling": ["blur(3)"],
    "projection": ["B", "D"],
    "bottleneck": [True],
    "stem": ["", "imagenet", "resnet_c"],
    "zero_init": [True],
    "drop_path": [0.5],
    "shared_preact": list(SHARED_PREACTS),
    "activation": ["identity", "silu"],
    "remat": [True],
    "init": [((".*/conv1/kernel", "mul(0.5)"),)],
    "head": ["dense(4)"],
    "groups": [2],
}  # fmt: skip
PAIRS = {
    (first, second): list(itertools.product(AXES[first], AXES[second]))
    for first, second in itertools.combinations(AXES, 2)
}


def build(fields) -> str | None:
    """Traces the network of a config with some fields of its model set; why it is refused, if it is."""
    config = default.get_config()
    config.model.update({"stage_sizes": (1, 1), "stage_widths": (4, 8)} | fields)
    try:
        configs.validate(config)
        network = architecture.build(config.model, 10)
        variables = jax.eval_shape(lambda: step.init_variables(network, 0, (16, 16, 3)))
        schedule = optimizer.schedule(config.optimizer, 1)
        rates = optimizer.rate_factors(config)
        optimizer.create(config.optimizer, schedule, variables["params"], rates)
    except ConfigError as error:
        return str(error)
    images = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)

    def apply(variables, images):
        rngs, mutable = {"dropout": jax.random.key(0)}, ["batch_stats"]
        return network.apply(variables, images, train=True, mutable=mutable, rngs=rngs)

    logits, updated = jax.eval_shape(apply, variables, images)
    assert logits.shape == (4, 10)
    assert updated.get("batch_stats", {}) == variables["batch_stats"]
    return None


def refusals(pairs) -> list[str]:
    found = [build(dict(zip(names, values, strict=True))) for names, values in pairs]
    return [text for text in found if text is not None]


def test_the_paths_and_norms_go_with_a_value_of_each_other_field_or_are_refused_by_name():
    # A field takes another value for each partner, so that each value has its turn.
    chosen = []
    for (one, first), (other, second) in itertools.combinations(enumerate(AXES), 2):
        if one > 3:  # pairs of these are in `test_variations.py`, by chance, and below
            continue
        values = AXES[first][other % len(AXES[first])], AXES[second][one % len(AXES[second])]
        chosen.append(((first, second), values))
    met = {(n, v) for names, values in chosen for n, v in zip(names, values, strict=True)}
    assert all((n, v) in met for n in list(AXES)[:4] for v in AXES[n])
    refused = refusals(chosen)
    assert all("config.model." in text for text in refused), refused
    assert len(refused) < len(chosen) / 10


@pytest.mark.slow
def test_every_value_of_each_field_goes_with_every_other_or_is_refused_by_name():
    refused = refusals((names, values) for names, every in PAIRS.items() for values in every)
    assert all("config.model." in text for text in refused), refused
    assert len(refused) < 30
