import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models import shortcuts
from resnet_jax.models.layers import LayerOptions
from tests.models import reference


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
