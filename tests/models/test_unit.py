import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import tokens
from resnet_jax.models.combines import COMBINES
from resnet_jax.models.layers import STEM_VOCABULARY, ConvSpec, LayerOptions
from resnet_jax.models.shortcuts import SHORTCUTS
from resnet_jax.models.unit import Unit, UnitSpec, split_preact
from tests.models.reference import Reference, original_unit, preact_unit, randomised, relu

INPUTS = 4
"""Channels of the units' inputs."""


def parse(text: str) -> tuple[tokens.Token, ...]:
    return tokens.parse(text, STEM_VOCABULARY, "field")


def unit(
    branch: str,
    after: str,
    convs: tuple[ConvSpec, ...],
    projection: str = "A",
    *,
    conv_bias: bool = False,
    shortcut: str = "identity",
    combine: str = "add",
    **fields,
) -> Unit:
    """A unit; the rules that derive its fields from a config are tested in test_architecture.py."""
    spec = UnitSpec(
        branch=parse(branch),
        after=parse(after),
        convs=convs,
        features=convs[-1].features,
        stride=max(conv.stride for conv in convs),
        shortcut=tokens.parse_one(shortcut, SHORTCUTS, "field"),
        projection=projection,
        combine=tokens.parse_one(combine, COMBINES, "field"),
        projection_norm=branch.startswith("conv"),
        shared_preact=False,
        index=1,
        units=3,
    )
    return Unit(dataclasses.replace(spec, **fields), LayerOptions(conv_bias=conv_bias))


def run(module: Unit, *, train: bool) -> tuple[np.ndarray, dict, dict, np.ndarray]:
    """The output on random inputs and variables, the updated statistics, the variables, the inputs."""
    x = np.random.default_rng(3).normal(size=(3, 8, 8, INPUTS)).astype(np.float32)
    init = functools.partial(module.init, train=False)
    shape = jax.ShapeDtypeStruct(x.shape, jnp.float32)
    variables = randomised(jax.eval_shape(init, jax.random.key(0), shape))
    apply = functools.partial(module.apply, train=train, mutable=["batch_stats"])
    y, updated = jax.jit(apply)(variables, x)
    return np.asarray(y), updated.get("batch_stats", {}), variables, x


def assert_equals_reference(
    module: Unit, expected: Callable[[Reference, np.ndarray], np.ndarray], *, train: bool
) -> None:
    """Compares output and running statistics; `expected` computes the unit named `unit`."""
    y, stats, variables, x = run(module, train=train)
    net = Reference({kind: {"unit": tree} for kind, tree in variables.items()}, train=train)
    np.testing.assert_allclose(y, expected(net, x.astype(np.float64)), rtol=1e-4, atol=1e-4)
    updated = Reference({"params": {}, "batch_stats": {"unit": stats}}, train=train).stats
    assert updated.keys() == net.stats.keys()
    for name, value in updated.items():
        np.testing.assert_allclose(value, net.stats[name], rtol=1e-4, atol=1e-4, err_msg=name)


def basic(features: int, stride: int = 1) -> tuple[ConvSpec, ...]:
    return (ConvSpec(features, 3, stride), ConvSpec(features, 3))


def bottleneck(features: int, stride: int = 1, groups: int = 1) -> tuple[ConvSpec, ...]:
    inner = features // 2
    return (ConvSpec(inner, 1), ConvSpec(inner, 3, stride, groups), ConvSpec(features, 1))


# What the shortcut is, and the convolutions: the same shape, then a changed one.
SHAPES = {
    "identity": ("A", basic(INPUTS), {}),
    "option A": ("A", basic(7, 2), {}),
    "option B": ("B", basic(6, 2), {}),
    "plain": ("A", basic(6, 2), {"shortcut": "none"}),
    "bottleneck": ("A", bottleneck(INPUTS), {}),
    "bottleneck option A": ("A", bottleneck(8, 2), {}),
    "bottleneck option B": ("B", bottleneck(8, 2), {}),
    "bottleneck option B, stride 1": ("B", bottleneck(8), {}),
    "bottleneck, stride on the first": (
        "B",
        (ConvSpec(3, 1, 2), ConvSpec(3, 3), ConvSpec(8, 1)),
        {},
    ),
}


def branch_of(convs: tuple[ConvSpec, ...], first: str, repeated: str) -> str:
    return " ".join([first] + [repeated] * (len(convs) - 1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("train", [True, False])
def test_the_original_unit_equals_numpy(shape, train):
    projection, convs, fields = SHAPES[shape]
    module = unit(
        branch_of(convs, "conv norm", "act conv norm"), "act", convs, projection, **fields
    )
    kind = fields.get("shortcut", projection)
    strides = tuple(conv.stride for conv in convs)
    assert_equals_reference(
        module, lambda net, x: original_unit(net, "unit", x, kind, strides), train=train
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("train", [True, False])
def test_the_full_preactivation_unit_equals_numpy(shape, train):
    projection, convs, fields = SHAPES[shape]
    branch = branch_of(convs, "norm act conv", "norm act conv")
    module = unit(branch, "", convs, projection, shared_preact=True, **fields)
    kind = fields.get("shortcut", projection)
    strides = tuple(conv.stride for conv in convs)
    assert_equals_reference(
        module,
        lambda net, x: preact_unit(net, "unit", x, kind, strides, shared=True),
        train=train,
    )


@pytest.mark.parametrize("shape", ["identity", "option A", "option B"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_shortcut_starts_behind_the_preactivation_where_that_is_shared(shape, shared):
    projection, convs, _ = SHAPES[shape]
    branch = "norm act conv norm act conv"
    module = unit(branch, "", convs, projection, shared_preact=shared)
    strides = tuple(conv.stride for conv in convs)
    assert_equals_reference(
        module,
        lambda net, x: preact_unit(net, "unit", x, projection, strides, shared=shared),
        train=True,
    )


def test_a_grouped_bottleneck_equals_numpy():
    # The original unit with 2 groups in its 3x3 convolution: Xie et al. 2017, arXiv 1611.05431, fig. 3c.
    module = unit("conv norm act conv norm act conv norm", "act", bottleneck(8, 2, groups=2), "B")
    assert_equals_reference(
        module, lambda net, x: original_unit(net, "unit", x, "B", (1, 2, 1), groups=2), train=True
    )


# The other placements of He et al. 2016, arXiv 1603.05027, figure 4.


def bn_after_add(net: Reference, x: np.ndarray) -> np.ndarray:
    y = net.conv("unit/conv2", relu(net.norm("unit/norm1", net.conv("unit/conv1", x))))
    return relu(net.norm("unit/norm2", x + y))


def relu_before_add(net: Reference, x: np.ndarray) -> np.ndarray:
    y = relu(net.norm("unit/norm1", net.conv("unit/conv1", x)))
    return x + relu(net.norm("unit/norm2", net.conv("unit/conv2", y)))


def relu_only_preact(net: Reference, x: np.ndarray) -> np.ndarray:
    y = net.norm("unit/norm1", net.conv("unit/conv1", relu(x)))
    return x + net.norm("unit/norm2", net.conv("unit/conv2", relu(y)))


def skipinit(net: Reference, x: np.ndarray) -> np.ndarray:
    """De & Smith 2020, arXiv 2002.10444, section 3.1: no norm, biases, a scalar on the branch."""
    y = net.conv("unit/conv2", relu(net.conv("unit/conv1", relu(x))))
    return x + y * net.params["unit/gain1/gain"]


def fixup(net: Reference, x: np.ndarray) -> np.ndarray:
    """Zhang et al. 2019, arXiv 1901.09321, figure 1: a scalar in front of each layer."""
    bias = [net.params[f"unit/bias{number}/bias"] for number in (1, 2, 3, 4)]
    y = relu(net.conv("unit/conv1", x + bias[0]) + bias[1])
    y = net.conv("unit/conv2", y + bias[2]) * net.params["unit/gain1/gain"] + bias[3]
    return relu(x + y)


@pytest.mark.parametrize(
    ("branch", "after", "expected", "conv_bias"),
    [
        ("conv norm act conv", "norm act", bn_after_add, False),
        ("conv norm act conv norm act", "", relu_before_add, False),
        ("act conv norm act conv norm", "", relu_only_preact, False),
        ("act conv act conv gain(0)", "", skipinit, True),
        ("bias conv bias act bias conv gain bias", "act", fixup, False),
    ],
)
def test_units_typed_as_strings_equal_numpy(branch, after, expected, conv_bias):
    module = unit(branch, after, basic(INPUTS), conv_bias=conv_bias)
    assert_equals_reference(module, expected, train=True)


def test_a_plain_unit_is_its_branch_alone_and_has_no_projection():
    module = unit("conv norm act conv norm", "", basic(6, 2), "B", shortcut="none")
    y, _, variables, x = run(module, train=False)
    assert set(variables["params"]) == {"conv1", "norm1", "conv2", "norm2"}
    for leaf in jax.tree.leaves(variables["params"]["norm2"]):
        leaf[...] = 0
    assert (np.asarray(module.apply(variables, x, train=False)) == 0).all()
    assert (y != 0).any()


def test_a_unit_whose_branch_is_zero_is_the_identity():
    module = unit("act conv act conv gain(0)", "", basic(INPUTS))
    _, _, variables, x = run(module, train=False)
    variables["params"]["gain1"]["gain"] = np.float32(0)
    np.testing.assert_array_equal(module.apply(variables, x, train=False), x)


@pytest.mark.parametrize(
    ("branch", "preact", "rest"),
    [
        ("norm act conv norm act conv", "norm act", "conv norm act conv"),
        ("conv norm act conv norm", "", "conv norm act conv norm"),
        ("bias conv conv", "bias", "conv conv"),
    ],
)
def test_the_preactivation_is_what_stands_in_front_of_the_first_conv(branch, preact, rest):
    assert split_preact(parse(branch)) == (parse(preact), parse(rest))
