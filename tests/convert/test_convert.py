"""Every tensor is accounted for, and what is no ResNet of ours is refused in two lines."""

import numpy as np
import pytest

from configs import default
from resnet_jax.convert import convert, network, weights_file
from resnet_jax.errors import ConfigError, DataError
from resnet_jax.models import architecture
from tests.convert.conftest import fixture_file

DEFAULTS = default.get_config().model


def tensors(name="torchvision_bottleneck") -> dict:
    return dict(weights_file.read(fixture_file(name)).tensors)


def infer(state: dict, **given):
    family = convert.detect(state)
    shapes = {key: tensor.shape for key, tensor in state.items()}
    return family, network.infer(family, shapes, DEFAULTS, **given)


def variables(state: dict, **given) -> tuple:
    family, found = infer(state, **given)
    model = architecture.build(network.apply(found.fields, DEFAULTS), found.classes)
    return family, model, convert.to_variables(family, state, model, found.channels)


def without(*parts: str):
    return lambda state: {k: v for k, v in state.items() if not any(part in k for part in parts)}


def of_shape(key: str, *shape: int):
    return lambda state: state | {key: np.zeros(shape, np.float32)}


VGG = {f"features.{i}.weight": np.zeros((4, 4, 3, 3)) for i in (0, 3, 6)} | {
    "classifier.6.weight": np.zeros((10, 4))
}

REFUSED = {
    "a VGG": (lambda _: VGG, "features.0.weight, features.3.weight"),
    "nothing": (lambda _: {}, "no ResNet"),
    "no head": (without("fc."), "no ResNet of a known layout"),
    "no stages": (without("layer"), "layer1.0.conv1.weight is missing"),
    "no second convolution": (without("layer1.0.conv2"), "layer1.0.conv2.weight is missing"),
    "one statistic missing": (without("layer3.0.bn2.running_var"), "1 missing: layer3.0.bn2.runn"),
    "many missing": (without("running_mean"), "20 missing: layer1.0.bn1.running_mean"),
    "no projections": (without("downsample"), "20 missing: layer1.0.downsample."),
    "a block in the middle missing": (without("layer2.0."), "55 without a place: layer2.1."),
    "squeeze-and-excitation": (of_shape("layer1.0.se.fc1.weight", 2, 8), "1 without a place"),
    "a bias of a convolution": (of_shape("conv1.bias", 2), "without a place: conv1.bias"),
    "a deep stem": (of_shape("bn1.weight", 2, 2), "1 of another shape: bn1.weight (2, 2) instead"),
    "another width": (of_shape("layer2.0.bn1.bias", 9), "layer2.0.bn1.bias (9,) instead of (3,)"),
    "a kernel of other sides": (of_shape("layer4.0.conv2.weight", 4, 4, 3, 1), "(4, 4, 3, 1)"),
    "a kernel of even size": (of_shape("layer1.0.conv2.weight", 2, 2, 4, 4), "odd kernel sizes"),
    "a flat stem": (of_shape("conv1.weight", 2, 3), "expected 4 sizes"),
    "an empty stem": (of_shape("conv1.weight", 0, 3, 7, 7), "at least 1"),
    "no multiple of 4": (of_shape("layer2.0.conv3.weight", 10, 3, 1, 1), "multiples of 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_complete_resnet_is_refused(name):
    change, named = REFUSED[name]
    with pytest.raises((DataError, ConfigError)) as caught:
        variables(change(tensors()))
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_counters_and_nothing_else_may_be_missing_or_more():
    _, _, expected = variables(tensors())
    _, _, found = variables(without("num_batches_tracked")(tensors()))
    assert found.keys() == expected.keys()
    more = of_shape("layer9.num_batches_tracked.weight", 1)
    with pytest.raises(DataError, match="layer9"):
        variables(more(tensors()))


def test_a_stem_that_shapes_do_not_tell_must_be_named():
    state = of_shape("conv1.weight", 2, 3, 3, 3)(tensors())
    with pytest.raises(ConfigError, match="--stem cifar"):
        infer(state)
    assert infer(state, stem="cifar")[1].fields["stem"] is None
    assert infer(state, stem="conv(3, 2) norm act")[1].fields["stem"] == "conv(3, 2) norm act"


def test_half_precision_becomes_float32():
    state = {key: value.astype(np.float16) for key, value in tensors().items()}
    found = variables(state)[2]["params"]["head"]["kernel"]
    assert found.dtype == np.float32
    assert np.array_equal(found, tensors()["fc.weight"].astype(np.float16).T)


OTHERS = {
    "pre-activation": {"design": "full_preact"},
    "a plain net": {"shortcut": "none"},
    "another activation": {"activation": "silu"},
    "no norm": {"norm": "none"},
    "scaled branches": {"branch": "conv norm act conv norm mul(0.5)"},
    "learned scale": {"branch": "conv norm act conv norm scale"},
    "strides on the first": {"bottleneck": True, "stride_on": "first"},
    "another stem": {"stem": "conv(3, 2) norm act"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_network_that_the_names_do_not_mean_is_not_written(name):
    import jax

    from resnet_jax.step import init_variables

    small = {"stage_widths": (2, 2, 4), "depth": 11 if "first" in name else 8}
    model = architecture.build(network.apply(small | OTHERS[name], DEFAULTS), 10)
    shapes = jax.eval_shape(lambda: init_variables(model, 0, (32, 32, 3)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    for family in convert.LAYOUTS.values():
        with pytest.raises(ConfigError, match="cannot express") as caught:
            convert.to_tensors(family, zeros, model, DEFAULTS, 0)
        assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    "fields",
    [{"drop_path": 0.2}, {"zero_init": True}, {"branch": "conv norm act drop(0.1) conv norm"}],
)
def test_what_acts_in_training_alone_is_no_obstacle(fields):
    import jax

    from resnet_jax.step import init_variables

    small = {"stage_widths": (2, 2, 4), "depth": 8}
    model = architecture.build(network.apply(small | fields, DEFAULTS), 10)
    shapes = jax.eval_shape(lambda: init_variables(model, 0, (32, 32, 3)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    assert convert.to_tensors(convert.LAYOUTS["cifar"], zeros, model, DEFAULTS, 0)
