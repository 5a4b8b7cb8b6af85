import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models import standardization
from resnet_jax.models.layers import ConvSpec, LayerOptions, convolution
from tests.models.reference import Reference, randomised

KINDS = [kind for kind in standardization.STANDARDIZATIONS if kind != "none"]


def kernel(scale=0.3, shift=0.2) -> np.ndarray:
    return shift + scale * np.random.default_rng(0).normal(size=(3, 3, 5, 7)).astype(np.float32)


@pytest.mark.parametrize(("kind", "square"), [("plain", 45), ("scaled", 1)])
def test_kernels_have_mean_0_and_a_fixed_norm_by_output_channel(kind, square):
    # Fan-in 3 * 3 * 5: variance 1 makes a sum of squares of 45; over sqrt(fan_in), of 1.
    found = np.asarray(standardization.standardize(kernel(), kind), np.float64)
    np.testing.assert_allclose(found.sum((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose((found**2).sum((0, 1, 2)), square, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernels_scale_and_mean_have_no_effect(kind):
    first = standardization.standardize(kernel(), kind)
    second = standardization.standardize(kernel(scale=0.9, shift=-1), kind)
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


def test_none_leaves_the_kernel_as_it_is():
    given = kernel()
    assert standardization.standardize(given, "none") is given


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2)])
def test_a_standardised_convolution_equals_numpy(kind, stride, groups):
    options = LayerOptions(standardization=kind, conv_bias=True)
    module = convolution(ConvSpec(6, 3, stride, groups), options, "conv")
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 4)).astype(np.float32)
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), x))
    y = module.apply(variables, x)

    params = variables["params"]
    assert set(params) == {"kernel", "bias"} | ({"gain"} if kind == "scaled" else set())
    w = params["kernel"].astype(np.float64)
    w = (w - w.mean((0, 1, 2))) / w.std((0, 1, 2))
    if kind == "scaled":
        w = w / np.sqrt(np.prod(w.shape[:3])) * params["gain"]
    net = Reference({"params": {"conv": {"kernel": w, "bias": params["bias"]}}}, train=False)
    expected = net.conv("conv", x.astype(np.float64), stride, groups)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_kernel_is_that_of_the_convolution_without_it(kind):
    x = jnp.zeros((1, 6, 6, 4))
    kernels = [
        convolution(ConvSpec(6, 3), LayerOptions(standardization=k), "conv").init(
            jax.random.key(0), x
        )["params"]["kernel"]
        for k in ("none", kind)
    ]
    np.testing.assert_array_equal(*kernels)


def test_bfloat16_computes_in_bfloat16_from_float32_parameters():
    options = LayerOptions(standardization="scaled", conv_bias=True, dtype=jnp.bfloat16)
    module = convolution(ConvSpec(6, 3), options, "conv")
    x = jnp.ones((1, 6, 6, 4), jnp.bfloat16)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert jax.eval_shape(functools.partial(module.apply), variables, x).dtype == jnp.bfloat16
