import jax
import numpy as np
import pytest

from configs import cifar10_preact_resnet, default
from resnet_jax import overview, params, step
from resnet_jax.errors import ConfigError
from resnet_jax.models.architecture import build


@pytest.fixture
def model():
    """A pre-activation ResNet-8 with a hidden layer in its head."""
    config = cifar10_preact_resnet.get_config("depth=8,bottleneck=0").model
    config.head = "dense(12) act"
    return build(config, num_classes=5)


def test_parts_come_in_the_networks_order_with_their_outputs(model):
    found = overview.of(model, (32, 32, 3))
    assert [(part.name, part.output) for part in found.parts] == [
        ("stem", (32, 32, 16)),
        ("stage1/block1", (32, 32, 16)),
        ("stage2/block1", (16, 16, 32)),
        ("stage3/block1", (8, 8, 64)),
        ("final", (8, 8, 64)),
        ("head_hidden1", (12,)),
        ("head", (5,)),
    ]


def test_every_parameter_and_statistic_is_counted(model):
    found = overview.of(model, (32, 32, 3))
    variables = jax.eval_shape(lambda: step.init_variables(model, 0, (32, 32, 3)))
    assert found.parameters == params.count(variables["params"])
    assert found.statistics == params.count(variables["batch_stats"])
    by_name = {part.name: part.parameters for part in found.parts}
    assert by_name["head"] == 12 * 5 + 5
    assert by_name["stem"] == 3 * 3 * 3 * 16


def test_arithmetic_grows_with_the_images(model):
    small, large = (overview.of(model, (size, size, 3)).flops for size in (16, 32))
    assert 3.5 < large / small < 5


def test_resnet_20_has_the_counts_of_the_paper():
    found = overview.of(build(default.get_config().model, num_classes=10), (32, 32, 3))
    assert found.parameters == 269_722
    # 40.5 million multiplications and additions (He et al. 2015), of which padding's are not counted.
    assert 0.9 * 81e6 < found.flops < 1.02 * 81e6


def test_a_network_without_a_stem_and_final_layers_has_none():
    config = default.get_config().model
    config.depth = 8
    found = overview.of(build(config, num_classes=10), (32, 32, 3))
    assert [part.name for part in found.parts][-2:] == ["stage3/block1", "head"]


def test_arrays_are_those_that_any_pattern_names():
    tree = {"params": {"stem": {"kernel": np.zeros(3)}, "head": {"bias": np.ones(2)}}}
    assert list(overview.arrays(tree)) == ["head/bias", "stem/kernel"]
    assert list(overview.arrays(tree, ["stem"])) == ["stem/kernel"]
    assert list(overview.arrays(tree, ["stem", ".*/bias"])) == ["head/bias", "stem/kernel"]
    with pytest.raises(ConfigError, match=r"^--match: 'stem7' matches no parameter"):
        overview.arrays(tree, ["stem7"])
