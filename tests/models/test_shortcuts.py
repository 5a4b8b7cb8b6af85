import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models import shortcuts
from resnet_jax.models.layers import LayerOptions
from tests.models import reference
from tests.models.test_unit import INPUTS, assert_equals_reference, basic, run, unit


def features_map(height: int, width: int, channels: int) -> np.ndarray:
    """No value is 0, so that padding is told from what was there."""
    return 1 + np.arange(2 * height * width * channels, dtype=np.float32).reshape(
        2, height, width, channels
    )


@pytest.mark.parametrize(
    ("channels", "features", "before", "behind"),
    [(16, 32, 8, 8), (16, 64, 24, 24), (3, 6, 1, 2), (4, 5, 0, 1), (4, 4, 0, 0)],
)
def test_option_a_splits_the_zero_channels_evenly_an_odd_one_behind(
    channels, features, before, behind
):
    x = features_map(4, 4, channels)
    y = np.asarray(shortcuts.pad_channels(x, features, 1))
    assert y.shape == (2, 4, 4, features)
    np.testing.assert_array_equal(y[..., before : features - behind], x)
    assert (y[..., :before] == 0).all()
    assert (y[..., features - behind :] == 0).all()


@pytest.mark.parametrize(("size", "half"), [((8, 8), (4, 4)), ((7, 5), (4, 3)), ((1, 1), (1, 1))])
def test_option_a_keeps_every_other_pixel_from_the_first(size, half):
    x = features_map(*size, 3)
    y = np.asarray(shortcuts.pad_channels(x, 3, 2))
    assert y.shape == (2, *half, 3)
    np.testing.assert_array_equal(y, x[:, ::2, ::2])


def projection(norm: bool, options: LayerOptions) -> shortcuts.Projection:
    return shortcuts.Projection(features=6, stride=2, norm=norm, options=options)


def shapes(module: shortcuts.Projection) -> dict:
    x = jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), x)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_option_b_is_a_strided_1x1_convolution_with_or_without_a_norm(norm, train):
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
    module = projection(norm, LayerOptions())
    variables = reference.randomised(shapes(module))
    y, updated = module.apply(variables, x, train=train, mutable=["batch_stats"])
    assert y.shape == (2, 3, 3, 6)

    net = reference.Reference(variables, train=train)
    kernel = net.params["conv/kernel"][0, 0]
    expected = x[:, ::2, ::2].astype(np.float64) @ kernel
    if norm:
        expected = net.norm("norm", expected)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    for name, value in net.stats.items():
        np.testing.assert_allclose(updated["batch_stats"]["norm"][name[5:]], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "norm", "names"),
    [
        ({}, True, {"conv": {"kernel"}, "norm": {"scale", "bias"}}),
        ({}, False, {"conv": {"kernel"}}),
        ({"conv_bias": True}, False, {"conv": {"kernel", "bias"}}),
        ({"norm": "none", "conv_bias": True}, True, {"conv": {"kernel", "bias"}}),
    ],
)
def test_option_b_has_just_these_parameters(options, norm, names):
    variables = shapes(projection(norm, LayerOptions(**options)))
    assert {layer: set(leaves) for layer, leaves in variables["params"].items()} == names
    assert variables["params"]["conv"]["kernel"].shape == (1, 1, 3, 6)


# Units with each kind of shortcut: He et al. 2016, arXiv 1603.05027, table 1.


BRANCH = "conv norm act conv norm"


def branch(net, x, stride):
    y = reference.relu(net.norm("unit/norm1", net.conv("unit/conv1", x, stride)))
    return net.norm("unit/norm2", net.conv("unit/conv2", y))


def gate(net, x, stride):
    return 1 / (1 + np.exp(-net.conv("unit/gate/conv", x, stride)))


def exclusive(net, x, around, f, stride):
    g = gate(net, x, stride)
    return (1 - g) * around + g * f


BY_HAND = {
    "scale(0.5)": lambda net, x, around, f, stride: 0.5 * around + f,
    "scale(0)": lambda net, x, around, f, stride: f,
    "scale(0.5, 0.5)": lambda net, x, around, f, stride: 0.5 * (around + f),
    "scale(l/L, 1/sqrt(L))": lambda net, x, around, f, stride: around / 3 + f / np.sqrt(3),
    "exclusive_gate(-6)": exclusive,
    "shortcut_gate": lambda net, x, around, f, stride: (1 - gate(net, x, stride)) * around + f,
}


@pytest.mark.parametrize("shortcut", BY_HAND)
@pytest.mark.parametrize(
    ("kind", "features", "stride"), [("A", 4, 1), ("A", 7, 2), ("B", 6, 2), ("B", 6, 1)]
)
def test_a_shortcut_acts_in_every_unit_and_on_the_projected_input(shortcut, kind, features, stride):
    def expected(net, x):
        around = net.shortcut("unit", x, kind, features, stride, norm=True)
        y = BY_HAND[shortcut](net, x, around, branch(net, x, stride), stride)
        return reference.relu(y)

    module = unit(BRANCH, "act", basic(features, stride), kind, shortcut=shortcut)
    assert_equals_reference(module, expected, train=True)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("kind", "features", "stride"), [("A", 4, 1), ("A", 7, 2), ("B", 4, 1), ("B", 6, 2)]
)
def test_a_1x1_convolution_is_the_crossing_unless_a_projection_is(kind, features, stride, norm):
    own = kind == "A" or stride == 1

    def expected(net, x):
        if own:
            around = net.conv("unit/shortcut/conv", x, stride)
            around = net.norm("unit/shortcut/norm", around) if norm else around
        else:
            around = net.shortcut("unit", x, kind, features, stride, norm=True)
        return reference.relu(around + branch(net, x, stride))

    module = unit(
        BRANCH, "act", basic(features, stride), kind, shortcut=f"conv{'(norm)' if norm else ''}"
    )
    assert_equals_reference(module, expected, train=True)
    _, _, variables, _ = run(module, train=False)
    assert ("projection" in variables["params"]) == (not own)


def test_a_gate_starts_at_its_bias_and_behind_a_shared_preactivation():
    module = unit(
        "act conv act conv", "", basic(INPUTS), shortcut="shortcut_gate(-6)", shared_preact=True
    )
    x = np.random.default_rng(0).normal(size=(2, 8, 8, INPUTS)).astype(np.float32)
    fresh = module.init(jax.random.key(0), x, train=False)
    np.testing.assert_array_equal(fresh["params"]["gate"]["conv"]["bias"], -6)

    def expected(net, x):
        x = reference.relu(x)
        f = net.conv("unit/conv2", reference.relu(net.conv("unit/conv1", x)))
        return (1 - gate(net, x, 1)) * x + f

    assert_equals_reference(module, expected, train=True)


def test_dropout_acts_on_the_shortcut_alone_and_in_training_alone():
    module = unit("conv mul(0) conv mul(0)", "", basic(INPUTS), shortcut="drop(0.5)")
    x = np.ones((4, 8, 8, INPUTS), np.float32)
    variables = module.init(jax.random.key(0), x, train=False)
    np.testing.assert_array_equal(module.apply(variables, x, train=False), x)
    y = np.asarray(module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)}))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert 0.4 < (y == 0).mean() < 0.6


def test_an_exclusive_gate_shares_one_between_the_paths():
    # With branch and shortcut both 1, (1 - g) + g is 1 whatever the gate.
    module = unit("mul(0) conv bias conv bias", "", basic(INPUTS), shortcut="exclusive_gate(-2)")
    x = np.ones((2, 8, 8, INPUTS), np.float32)
    variables = module.init(jax.random.key(0), x, train=False)
    variables["params"]["bias2"]["bias"] = jnp.float32(1)
    np.testing.assert_allclose(module.apply(variables, x, train=False), 1, rtol=1e-6)
