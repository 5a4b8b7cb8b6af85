"""Which parameters and statistics patterns and presets freeze."""

import jax
import pytest

from resnet_jax import params, step
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import freeze
from resnet_jax.models import architecture


@pytest.fixture
def network(tiny_config):
    """The shapes of a network of three units."""
    model = architecture.build(tiny_config.model, 10)
    return jax.eval_shape(lambda: step.init_variables(model, 0, (8, 8, 1)))


def frozen_names(network, *patterns):
    frozen = freeze.resolve(network["params"], network["batch_stats"], patterns)
    names = params.names(network["params"])
    return {n for n, f in zip(names, jax.tree.leaves(frozen.params), strict=True) if f}, frozen


def under(network, *prefixes):
    return {n for n in params.names(network["params"]) if n.startswith(prefixes)}


@pytest.mark.parametrize(
    ("patterns", "prefixes"),
    [
        ((), ()),
        (("stem",), ("stem/",)),
        (("stem", "stage[12]"), ("stem/", "stage1/", "stage2/")),
        (("stages_until=0",), ("stem/",)),
        (("stages_until=2",), ("stem/", "stage1/", "stage2/")),
        (("all_but_head",), ("stem/", "stage", "final/")),
        (("stage1/block1/conv1",), ("stage1/block1/conv1/",)),
        (("stage1/block1/norm1/scale",), ("stage1/block1/norm1/scale",)),
    ],
)
def test_a_pattern_freezes_its_subtree_and_nothing_else(network, patterns, prefixes):
    names, frozen = frozen_names(network, *patterns)
    assert names == (under(network, *prefixes) if prefixes else set())
    assert frozen.any == bool(names)


def test_batchnorm_only_trains_scales_and_biases_of_norms_alone(network):
    names, frozen = frozen_names(network, "batchnorm_only")
    trained = set(params.names(network["params"])) - names
    assert trained == {n for n in params.names(network["params"]) if "/norm" in n}
    assert frozen.norms == frozenset()


def test_a_norm_is_frozen_when_all_its_parameters_are(network):
    _, frozen = frozen_names(network, "stage1/block1/norm1", "stage1/block1/norm2/scale")
    assert frozen.norms == {"stage1/block1/norm1"}
    statistics = frozen.statistics(network["batch_stats"])
    names = params.names(network["batch_stats"])
    still = {n for n, f in zip(names, jax.tree.leaves(statistics), strict=True) if f}
    assert still == {"stage1/block1/norm1/mean", "stage1/block1/norm1/var"}


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("stage9", "matches no parameter"),
        ("stages_until=4", "N from 0 to 3"),
        ("stages_until", "N from 0 to 3"),
        ("until=2", "no preset"),
        ("all_but_heads", "did you mean 'all_but_head'"),
        (".*", "freezes every parameter"),
        ("(", "no pattern"),
    ],
)
def test_what_freezes_nothing_or_everything_is_an_error(network, pattern, words):
    with pytest.raises(ConfigError, match=words):
        frozen_names(network, pattern)
