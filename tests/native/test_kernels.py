"""Every custom call, through JAX, against XLA in double precision or NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

F32 = jnp.float32
BATCH, SIZE = 3, 6
SHAPES = [(1, 1), (1, 2), (3, 1), (3, 2), ("lanes", 1), ("lanes", 2)]
"""Input channels and stride."""


@functools.partial(jax.jit, static_argnames=("name", "shapes", "stride", "relu"))
def call(*operands, name, shapes, stride=1, relu=False):
    results = [jax.ShapeDtypeStruct(shape, F32) for shape in shapes]
    kernel = jax.ffi.ffi_call(f"resnet_{name}", results)
    return kernel(*operands, stride=np.int64(stride), relu=relu)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def close(found, expected):
    """Equal but for the rounding of float32."""
    expected = np.asarray(expected, np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def reference(stride):
    """The convolution of NumPy arrays in double precision."""

    def convolve(x, w):
        padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("nhwcij,ijco->nhwo", windows[:, ::stride, ::stride], w)

    return convolve


def gradients(x, w, dy, stride):
    """XLA's gradients of x and w."""

    def convolve(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        padding = ((1, 1), (1, 1))
        return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=numbers)

    return jax.vjp(convolve, x, w)[1](jnp.asarray(dy, F32))


class Case:
    """A convolution, and a normalisation behind it."""

    def __init__(self, lanes, channels, stride, relu=True):
        self.stride, self.relu = stride, relu
        self.channels, self.features = lanes if channels == "lanes" else channels, 2 * lanes
        size = SIZE // stride
        self.x = normal(BATCH, SIZE, SIZE, self.channels)
        self.w = normal(3, 3, self.channels, self.features)
        self.y, self.out, self.dout = (
            normal(BATCH, size, size, self.features, seed=seed) for seed in (1, 2, 3)
        )
        self.coef = normal(3, self.features)
        self.dz = np.where(self.out > 0, self.dout, 0) if relu else self.dout
        self.dy = self.coef[0] * self.dz + self.coef[1] * self.y + self.coef[2]


@pytest.mark.parametrize(("channels", "stride"), SHAPES)
def test_conv(kernels, channels, stride):
    case = Case(kernels.lanes, channels, stride)
    shapes = (case.y.shape, (2, case.features))
    y, sums = call(case.x, case.w, name="conv", shapes=shapes, stride=stride)
    expected = reference(stride)(case.x, case.w)
    close(y, expected)
    close(sums, [expected.sum((0, 1, 2)), (expected**2).sum((0, 1, 2))])


@pytest.mark.parametrize(("channels", "stride"), SHAPES)
def test_filter_gradient(kernels, channels, stride):
    case = Case(kernels.lanes, channels, stride)
    attributes = {"stride": stride, "relu": False}
    name = "conv_filter_gradient"
    (dw,) = call(case.x, case.dy, name=name, shapes=(case.w.shape,), **attributes)
    close(dw, gradients(case.x, case.w, case.dy, stride)[1])


@pytest.mark.parametrize("stride", [1, 2])
def test_input_gradient(kernels, stride):
    case = Case(kernels.lanes, "lanes", stride)
    attributes = {"stride": stride, "relu": False}
    name = "conv_input_gradient"
    (dx,) = call(case.w, case.dy, name=name, shapes=(case.x.shape,), **attributes)
    close(dx, gradients(case.x, case.w, case.dy, stride)[0])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_from_behind_the_norm(kernels, stride, relu):
    case = Case(kernels.lanes, "lanes", stride, relu)
    dx, dw = gradients(case.x, case.w, case.dy, stride)
    behind = (case.y, case.out if relu else case.y, case.dout, case.coef)
    attributes = {"stride": stride, "relu": relu}
    name = "conv_input_gradient"
    close(call(case.w, *behind, name=name, shapes=(dx.shape,), **attributes)[0], dx)
    name = "conv_filter_gradient"
    close(call(case.x, *behind, name=name, shapes=(dw.shape,), **attributes)[0], dw)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_norm_act(kernels, relu, residual):
    case = Case(kernels.lanes, 3, 1)
    expected = case.y * case.coef[0] + case.coef[1] + (case.dout if residual else 0)
    operands = (case.y, case.coef[:2]) + ((case.dout,) if residual else ())
    (out,) = call(*operands, name="norm_act", shapes=(case.y.shape,), relu=relu)
    close(out, np.maximum(expected, 0) if relu else expected)


@pytest.mark.parametrize("relu", [False, True])
def test_reduce(kernels, relu):
    case = Case(kernels.lanes, 3, 1, relu)
    expected = [case.dz.sum((0, 1, 2)), (case.dz * case.y).sum((0, 1, 2))]
    pair = (2, case.features)
    operands = (case.y, case.out, case.dout)
    (sums,) = call(*operands, name="reduce", shapes=(pair,), relu=relu)
    close(sums, expected)
    sums, dz = call(*operands, name="reduce", shapes=(pair, case.y.shape), relu=relu)
    close(sums, expected)
    np.testing.assert_array_equal(dz, case.dz)


def test_sums(kernels):
    case = Case(kernels.lanes, 3, 1)
    (sums,) = call(case.y, name="reduce", shapes=((2, case.features),), relu=False)
    close(sums, [case.y.sum((0, 1, 2)), (case.y**2).sum((0, 1, 2))])


def test_two_calls_are_equal_to_the_bit(kernels):
    x, w = normal(64, 16, 16, 3), normal(3, 3, 3, kernels.lanes)
    shapes = ((64, 16, 16, kernels.lanes), (2, kernels.lanes))
    first, second = (call(x, w, name="conv", shapes=shapes, stride=1) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "operands", "shapes", "attributes", "message"),
    [
        ("conv", [(2, 4, 4, 3), (3, 3, 3, 1)], [(2, 4, 4, 1), (2, 1)], {"stride": 1}, "multiple"),
        ("conv", [(2, 5, 5, 3), (3, 3, 3, 16)], [(2, 2, 2, 16), (2, 16)], {"stride": 2}, "even"),
        ("conv", [(2, 6, 6, 3), (3, 3, 3, 16)], [(2, 2, 2, 16), (2, 16)], {"stride": 3}, "stride"),
        ("conv", [(2, 4, 4, 3), (5, 5, 3, 16)], [(2, 4, 4, 16), (2, 16)], {"stride": 1}, "kernel"),
        ("conv", [(2, 4, 4, 3), (3, 3, 4, 16)], [(2, 4, 4, 16), (2, 16)], {"stride": 1}, "kernel"),
        ("conv", [(2, 4, 4, 3), (3, 3, 3, 16)], [(2, 4, 4, 32), (2, 16)], {"stride": 1}, "output"),
        ("conv", [(2, 4, 4, 3), (3, 3, 3, 16)], [(2, 4, 4, 16), (1, 16)], {"stride": 1}, "sums"),
        (
            "conv",
            [(2, 4, 4), (3, 3, 3, 16)],
            [(2, 4, 4, 16), (2, 16)],
            {"stride": 1},
            "4 dimensions",
        ),
        (
            "conv_input_gradient",
            [(3, 3, 3, 16), (2, 4, 4, 16)],
            [(2, 4, 4, 3)],
            {"stride": 1, "relu": False},
            "channels",
        ),
        (
            "conv_filter_gradient",
            [(2, 4, 4, 3), (1, 4, 4, 16)],
            [(3, 3, 3, 16)],
            {"stride": 1, "relu": False},
            "output",
        ),
        ("norm_act", [(2, 4, 4, 16), (3, 16)], [(2, 4, 4, 16)], {"relu": True}, "coef"),
        (
            "norm_act",
            [(2, 4, 4, 16), (2, 16), (2, 4, 2, 16)],
            [(2, 4, 4, 16)],
            {"relu": True},
            "residual",
        ),
        ("norm_act", [(2, 4, 4, 3), (2, 3)], [(2, 4, 4, 3)], {"relu": True}, "channels"),
        (
            "reduce",
            [(2, 4, 4, 16), (1, 4, 4, 16), (2, 4, 4, 16)],
            [(2, 16)],
            {"relu": True},
            "out is",
        ),
        ("reduce", [(0, 4, 4, 16)], [(2, 16)], {"relu": False}, "not empty"),
        ("reduce", [(2, 4, 4, 16)], [(2, 32)], {"relu": False}, "sums"),
        ("reduce", [(2, 4, 4, 16)] * 2, [(2, 16)], {"relu": True}, "out and dout"),
        (
            "conv_filter_gradient",
            [(2, 4, 4, 3), *[(2, 4, 4, 16)] * 2],
            [(3, 3, 3, 16)],
            {"stride": 1, "relu": True},
            "expected dy",
        ),
    ],
)
def test_what_is_not_served_is_an_error(kernels, name, operands, shapes, attributes, message):
    arrays = [np.zeros(shape, np.float32) for shape in operands]
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        jax.block_until_ready(call(*arrays, name=name, shapes=tuple(shapes), **attributes))


def test_other_types_are_an_error(kernels):
    x, w = np.zeros((2, 4, 4, 3), np.float16), normal(3, 3, 3, 16)
    shapes = ((2, 4, 4, 16), (2, 16))
    with pytest.raises(jax.errors.JaxRuntimeError, match="float32"):
        jax.block_until_ready(call(x, w, name="conv", shapes=shapes, stride=1))
    w, dy = normal(3, 3, 16, 16), np.zeros((2, 4, 4, 16), np.float16)
    attributes = {"name": "conv_input_gradient", "stride": 1, "relu": False}
    with pytest.raises(jax.errors.JaxRuntimeError, match="float32"):
        jax.block_until_ready(call(w, dy, shapes=(dy.shape,), **attributes))
