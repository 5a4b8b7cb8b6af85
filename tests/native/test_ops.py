"""The operations on the kernels against JAX's own, differentiated by JAX."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from resnet_jax import sharding
from resnet_jax.native import build, ops

EPSILON = 1e-5


@pytest.fixture(scope="module")
def kernels():
    """A function from a number of devices to `Kernels`; skips where they cannot be built."""
    built = build.library()
    if isinstance(built, build.Unavailable):
        pytest.skip(built.reason)
    return lambda devices: ops.Kernels(built.lanes, sharding.make_mesh(jax.devices()[:devices]))


def array(key, *shape):
    return jax.random.normal(jax.random.key(key), shape, jnp.float32)


def convolve(x, w, stride):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, w, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=numbers
    )


def reference(x, w, scale, bias, residual, running, *, stride, relu):
    """What `norm_act` computes, by its definition."""
    y = x if w is None else convolve(x, w, stride)
    mean, variance = (y.mean((0, 1, 2)), y.var((0, 1, 2))) if running is None else running
    y = (y - mean) * lax.rsqrt(variance + EPSILON) * scale + bias
    y = y if residual is None else y + residual
    return (jnp.maximum(y, 0) if relu else y), mean, variance


def inputs(channels, features, size, stride, *, conv, residual, running):
    out = features if conv else channels
    return (
        array(1, 8, size, size, channels),
        0.2 * array(2, 3, 3, channels, features) if conv else None,
        1 + 0.3 * array(3, out),
        array(4, out),
        array(5, 8, size // stride, size // stride, out) if residual else None,
        (0.1 * array(6, out), jnp.abs(array(7, out)) + 0.5) if running else None,
    )


CASES = [
    (16, 32, 8, stride, conv, residual, running, relu)
    for stride, conv, residual, running, relu in itertools.product(
        (1, 2), (True, False), (True, False), (True, False), (True, False)
    )
    if conv or stride == 1
] + [(3, 16, 8, 1, True, False, False, True), (16, 16, 7, 1, True, True, False, True)]


@pytest.mark.parametrize(
    ("channels", "features", "size", "stride", "conv", "residual", "running", "relu"), CASES
)
@pytest.mark.parametrize("devices", [1, 4])
def test_values_and_all_gradients_are_those_of_the_definition(
    kernels, devices, channels, features, size, stride, conv, residual, running, relu
):
    args = inputs(channels, features, size, stride, conv=conv, residual=residual, running=running)
    spec = ops.NormAct(kernels(devices), stride, relu, EPSILON)

    def ours(*args):
        return ops.norm_act(spec, *args)

    def theirs(*args):
        return reference(*args, stride=stride, relu=relu)

    got, wanted = jax.jit(ours)(*args), jax.jit(theirs)(*args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), got, wanted)
    weights = array(8, *wanted[0].shape)
    present = tuple(i for i in range(5) if args[i] is not None)

    def gradients(function):
        def loss(*args):
            return (function(*args)[0] * weights).sum()

        return jax.jit(jax.grad(loss, present))(*args)

    for a, b in zip(gradients(ours), gradients(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (16, 2), (3, 1)])
@pytest.mark.parametrize("devices", [1, 4])
def test_a_convolution_alone_and_its_gradients(kernels, devices, channels, stride):
    x, w = array(1, 8, 8, 8, channels), array(2, 3, 3, channels, 16)
    weights = array(3, 8, 8 // stride, 8 // stride, 16)
    chosen = kernels(devices)

    def both(function):
        value = jax.jit(function)(x, w)
        return value, *jax.jit(jax.grad(lambda x, w: (function(x, w) * weights).sum(), (0, 1)))(
            x, w
        )

    ours = both(lambda x, w: ops.conv(chosen, stride, x, w))
    theirs = both(lambda x, w: convolve(x, w, stride))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def calls(function, *args):
    """The kernels in a compiled program, in order of their names."""
    text = jax.jit(function).lower(*args).compile().as_text()
    return sorted(
        line.split('custom_call_target="')[1].split('"')[0]
        for line in text.splitlines()
        if 'custom_call_target="resnet_' in line
    )


def test_a_gradient_that_nobody_asks_for_costs_nothing(kernels):
    spec = ops.NormAct(kernels(1), 1, True, EPSILON)
    args = inputs(16, 16, 8, 1, conv=True, residual=False, running=False)

    def loss(x, w):
        return ops.norm_act(spec, x, w, *args[2:])[0].sum()

    common = ["resnet_conv", "resnet_norm_act", "resnet_reduce"]
    gradient = "resnet_conv_{}_gradient".format
    assert calls(jax.grad(loss, 0), *args[:2]) == sorted([*common, gradient("input")])
    assert calls(jax.grad(loss, 1), *args[:2]) == sorted([*common, gradient("filter")])


def test_a_batch_is_split_over_devices_and_never_whole_on_one(kernels):
    spec = ops.NormAct(kernels(8), 1, True, EPSILON)
    args = inputs(16, 32, 8, 1, conv=True, residual=True, running=False)
    split = sharding.split_batch(spec.kernels.mesh)
    x, residual = (jax.device_put(a, split) for a in (args[0], args[4]))

    def loss(x, w, residual):
        return (ops.norm_act(spec, x, w, *args[2:4], residual, None)[0] ** 2).sum()

    text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, args[1], residual).compile().as_text()
    assert "f32[1,8,8,32]" in text
    assert "f32[8,8,8,32]" not in text
    assert "all-gather" not in text
    assert "all-reduce" in text


def test_it_can_be_mapped_over(kernels):
    spec = ops.NormAct(kernels(1), 1, True, EPSILON)
    x, w, scale, bias, _, _ = inputs(16, 16, 8, 1, conv=True, residual=False, running=False)
    many = jnp.stack([x, 2 * x, x + 1])
    mapped = jax.vmap(lambda x: ops.norm_act(spec, x, w, scale, bias, None, None)[0])(many)
    for row, one in zip(mapped, many, strict=True):
        expected = ops.norm_act(spec, one, w, scale, bias, None, None)[0]
        np.testing.assert_array_equal(row, expected)


def test_a_nan_is_not_lost(kernels):
    spec = ops.NormAct(kernels(1), 1, True, EPSILON)
    args = list(inputs(16, 16, 8, 1, conv=True, residual=False, running=False))
    args[0] = args[0].at[0, 0, 0, 0].set(jnp.nan)
    out, mean, _ = ops.norm_act(spec, *args)
    assert jnp.isnan(mean).all()
    assert jnp.isnan(out).any()


@pytest.mark.parametrize(
    ("changed", "served"),
    [
        ({}, True),
        ({"stride": 2}, True),
        ({"kernel": 1}, False),
        ({"kernel": 5}, False),
        ({"groups": 2}, False),
        ({"features": 20}, False),
        ({"stride": 3}, False),
        ({"stride": 2, "image": (8, 7, 8, 16)}, False),
        ({"image": (7, 8, 8, 16)}, False),
    ],
)
def test_shapes_without_a_kernel_are_declined(kernels, changed, served):
    shapes = {"image": (8, 8, 8, 16), "kernel": 3, "features": 32, "stride": 1, "groups": 1}
    assert kernels(4).serves(**(shapes | changed)) is served
