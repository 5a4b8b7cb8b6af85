import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from resnet_jax import tokens
from resnet_jax.models import layers, sequence
from resnet_jax.models.layers import ConvSpec, LayerOptions
from tests.models.reference import Reference, randomised, relu


class Net(nn.Module):
    """A string of tokens, as the fourth of nine units."""

    text: str
    convs: tuple[ConvSpec, ...] = ()
    options: LayerOptions = LayerOptions()
    numbered: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        apply = sequence.Layers(
            self.options, self.convs, train=train, index=4, units=9, numbered=self.numbered
        )
        return apply(tokens.parse(self.text, layers.STEM_VOCABULARY, "field"), x)


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=shape or (3, 6, 6, 4)).astype(np.float32)


def init(net: Net, x: np.ndarray) -> dict:
    """Fresh parameters."""
    return net.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype), train=False)


@functools.cache
def compiled(net: Net, train: bool):
    return jax.jit(
        lambda variables, x, key: net.apply(
            variables, x, train=train, mutable=["batch_stats"], rngs={"dropout": key}
        )
    )


def run(net: Net, x: np.ndarray, *, train: bool = False, variables: dict | None = None, seed=0):
    """The output and the variables after it; random parameters unless given."""
    if variables is None:
        variables = randomised(init(net, x))
    y, updated = compiled(net, train)(variables, x, jax.random.key(seed))
    return np.asarray(y), {**variables, **updated}


def names(variables: dict) -> set[str]:
    return {"/".join(p.key for p in path) for path, _ in jax.tree.leaves_with_path(variables)}


# Activations


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "relu": relu,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x * sigmoid(x),
    # The tanh approximation (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2).
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "identity": lambda x: x,
}


@pytest.mark.parametrize("kind", layers.ACTIVATIONS)
def test_activations_equal_their_definitions(kind):
    x = inputs()
    expected = ACTIVATIONS[kind](x.astype(np.float64))
    named, variables = run(Net(f"act({kind})"), x)
    np.testing.assert_allclose(named, expected, rtol=1e-5, atol=1e-6)
    assert variables == {}
    # `act` alone is the configured one.
    configured, _ = run(Net("act", options=LayerOptions(activation=kind)), x)
    np.testing.assert_array_equal(configured, named)


# Convolutions


@pytest.mark.parametrize(
    ("spec", "size", "half", "bias"),
    [
        (ConvSpec(6, 3), (6, 6), (6, 6), False),
        (ConvSpec(6, 3), (6, 6), (6, 6), True),
        (ConvSpec(6, 3, 2), (6, 6), (3, 3), False),
        (ConvSpec(6, 3, 2), (7, 5), (4, 3), False),
        (ConvSpec(6, 1, 2), (7, 6), (4, 3), True),
        (ConvSpec(6, 5, 2), (6, 6), (3, 3), False),
        (ConvSpec(6, 7, 2), (8, 8), (4, 4), False),
        (ConvSpec(6, 3, 2, groups=2), (6, 6), (3, 3), False),
        (ConvSpec(8, 3, 1, groups=4), (6, 6), (6, 6), True),
    ],
)
def test_convolutions_pad_both_sides_alike(spec, size, half, bias):
    x = inputs(2, *size, 4)
    net = Net("conv", (spec,), LayerOptions(conv_bias=bias))
    y, variables = run(net, x)
    assert y.shape == (2, *half, spec.features)
    shape = (spec.kernel, spec.kernel, 4 // spec.groups, spec.features)
    assert variables["params"]["conv1"]["kernel"].shape == shape
    assert ("bias" in variables["params"]["conv1"]) == bias
    expected = Reference(variables, train=False).conv(
        "conv1", x.astype(np.float64), spec.stride, spec.groups
    )
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_conv_tokens_take_the_convolutions_in_order():
    y, variables = run(Net("conv conv", (ConvSpec(5, 3), ConvSpec(7, 1, 2))), inputs())
    kernels = {name: leaves["kernel"].shape for name, leaves in variables["params"].items()}
    assert kernels == {"conv1": (3, 3, 4, 5), "conv2": (1, 1, 5, 7)}
    assert y.shape == (3, 3, 3, 7)


# Batch normalisation


@pytest.mark.parametrize("shape", [(3, 6, 6, 4), (2, 1, 1, 4)])
def test_in_training_the_batch_is_normalised_by_its_own_biased_variance(shape):
    x = inputs(*shape) * 3 + 2
    y, variables = run(Net("norm"), x, train=True)
    before = randomised(init(Net("norm"), x))
    net = Reference(before, train=True)
    expected = net.norm("norm1", x.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    # 0.9 of the old statistics and 0.1 of the batch's; the variance is biased here too.
    for name in ("mean", "var"):
        updated = variables["batch_stats"]["norm1"][name]
        np.testing.assert_allclose(updated, net.stats[f"norm1/{name}"], rtol=1e-5)
        assert (updated != before["batch_stats"]["norm1"][name]).all()


def test_in_inference_the_running_statistics_normalise_and_stay_bitwise_the_same():
    x = inputs()
    y, variables = run(Net("norm"), x)
    before = randomised(init(Net("norm"), x))
    expected = Reference(before, train=False).norm("norm1", x.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], before["batch_stats"])


def test_in_inference_an_image_does_not_depend_on_the_others():
    x = inputs()
    alone, _ = run(Net("norm"), x[:1])
    together, _ = run(Net("norm"), x)
    np.testing.assert_allclose(alone, together[:1], rtol=1e-6)


@pytest.mark.parametrize("net", [Net("norm(none)"), Net("norm", options=LayerOptions(norm="none"))])
def test_no_norm_is_the_identity_without_parameters(net):
    x = inputs()
    y, variables = run(net, x, train=True)
    np.testing.assert_array_equal(y, x)
    assert names(variables) == set()


def test_a_norm_that_is_named_wins_over_the_configured_one():
    _, variables = run(Net("norm(batch)", options=LayerOptions(norm="none")), inputs())
    assert names(variables["params"]) == {"norm1/scale", "norm1/bias"}


# Learned and fixed factors


@pytest.mark.parametrize(
    ("text", "name", "start", "shape"),
    [
        ("bias", "bias1/bias", 0.0, ()),
        ("gain", "gain1/gain", 1.0, ()),
        ("gain(0)", "gain1/gain", 0.0, ()),
        ("gain(-0.5)", "gain1/gain", -0.5, ()),
        ("scale", "scale1/scale", 1.0, (4,)),
        ("scale(1e-4)", "scale1/scale", 1e-4, (4,)),
    ],
)
def test_learned_scalars_and_scales_start_where_the_string_says(text, name, start, shape):
    x = inputs()
    variables = init(Net(text), x)
    module, leaf = name.split("/")
    assert names(variables) == {f"params/{name}"}
    value = variables["params"][module][leaf]
    assert value.shape == shape
    np.testing.assert_array_equal(value, np.full(shape, start, np.float32))

    new = 0.75 + np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    variables["params"][module][leaf] = new
    y, _ = run(Net(text), x, variables=variables)
    np.testing.assert_allclose(y, x + new if text == "bias" else x * new, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("mul(0.5)", 0.5),
        ("mul(1/sqrt(L))", 1 / 3),
        ("mul(1 - 0.5*l/L)", 1 - 2 / 9),
        ("mul(-l)", -4),
    ],
)
def test_mul_is_a_fixed_factor_of_the_unit_and_the_number_of_units(text, factor):
    x = inputs()
    y, variables = run(Net(text), x)  # unit 4 of 9
    np.testing.assert_allclose(y, x * factor, rtol=1e-6)
    assert variables == {}


# Squeeze-and-excitation


@pytest.mark.parametrize(
    ("text", "squeezed"), [("se", 1), ("se(2)", 4), ("se(3)", 2), ("se(1)", 8)]
)
def test_squeeze_and_excitation_gates_each_channel_by_the_means_of_all(text, squeezed):
    x = inputs(3, 5, 4, 8)
    y, variables = run(Net(text), x)
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), variables["params"]["se1"])
    assert params["squeeze"]["kernel"].shape == (8, squeezed)
    means = x.astype(np.float64).mean((1, 2))
    hidden = relu(means @ params["squeeze"]["kernel"] + params["squeeze"]["bias"])
    gate = sigmoid(hidden @ params["expand"]["kernel"] + params["expand"]["bias"])
    np.testing.assert_allclose(y, x * gate[:, None, None], rtol=1e-5, atol=1e-6)
    assert names(variables) == {
        f"params/se1/{layer}/{leaf}"
        for layer in ("squeeze", "expand")
        for leaf in ("kernel", "bias")
    }


# Dropout


def test_dropout_zeroes_its_share_in_training_and_scales_the_rest():
    x = np.ones((10, 10, 10, 10), np.float32)
    y, _ = run(Net("drop(0.3)"), x, train=True)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    # Five standard deviations of the mean of 10,000 draws.
    assert abs(kept.mean() - 0.7) < 5 * math.sqrt(0.3 * 0.7 / 10_000)
    other, _ = run(Net("drop(0.3)"), x, train=True, seed=1)
    assert (kept != (other != 0)).any()


@pytest.mark.parametrize(("text", "train"), [("drop(0.9)", False), ("drop(0)", True)])
def test_dropout_is_the_identity_in_inference_and_at_rate_0(text, train):
    x = inputs()
    y, _ = run(Net(text), x, train=train)
    np.testing.assert_array_equal(y, x)


def test_two_dropouts_draw_different_masks():
    y, _ = run(Net("drop(0.5) drop(0.5)"), np.ones((10, 10, 10, 10), np.float32), train=True)
    # Independent masks keep a quarter, within five standard deviations; a shared one would keep half.
    assert abs((y != 0).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 10_000)


# Pooling


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), (3, 1), (1, 1)])
def test_pooling_takes_the_largest_and_never_the_padding(window, stride):
    x = -1 - abs(inputs(2, 7, 6, 3))  # all below the zeros that padding might be made of
    y, _ = run(Net(f"pool({window}, {stride})"), x)
    sides = ((window - 1) // 2,) * 2
    padded = np.pad(x, ((0, 0), sides, sides, (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(1, 2))
    np.testing.assert_array_equal(y, windows[:, ::stride, ::stride].max((-1, -2)))


# What holds for all


EXAMPLES = {"mul": "mul(0.5)", "drop": "drop(0.5)", "drop_path": "drop_path(0.5)"}


@pytest.mark.parametrize("name", layers.STEM_VOCABULARY)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_token_has_a_layer_that_computes_in_the_given_dtype(name, dtype):
    x = jnp.asarray(inputs(), dtype)
    net = Net(EXAMPLES.get(name, name), (ConvSpec(4, 3),), LayerOptions(dtype=dtype))
    variables = init(net, x)
    y, updated = run(net, x, train=True, variables=variables)
    assert y.dtype == dtype
    assert np.isfinite(np.asarray(y, np.float32)).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} <= {jnp.dtype("float32")}


def test_layers_of_a_unit_are_counted_by_kind():
    text = "norm act conv norm(none) bias norm act conv bias gain"
    _, variables = run(Net(text, (ConvSpec(4, 3),) * 2), inputs())
    assert set(variables["params"]) == {"norm1", "norm3", "conv1", "conv2"} | {
        "bias1",
        "bias2",
        "gain1",
    }


def test_layers_outside_the_units_are_counted_only_where_a_kind_repeats():
    net = Net("conv norm act conv", (ConvSpec(4, 3),) * 2, numbered=False)
    _, variables = run(net, inputs())
    assert set(variables["params"]) == {"conv1", "norm", "conv2"}


def test_initial_norms_are_the_identity_and_biases_are_zero():
    net = Net("norm conv se", (ConvSpec(4, 3),), LayerOptions(conv_bias=True))
    variables = init(net, inputs())
    for path, leaf in jax.tree.leaves_with_path(variables):
        expected = {"scale": 1, "var": 1, "bias": 0, "mean": 0}.get(path[-1].key)
        if expected is not None:
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, expected, np.float32))
