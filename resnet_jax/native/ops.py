"""Convolution, batch normalisation, addition and ReLU as one differentiable operation.

The kernels are in `kernels.h`, their boundary in `ffi.cc`. Here is the calculus: which kernel computes
which derivative, and how the batch is split over devices. Input and filter gradient are separate calls,
so that XLA drops the one that nobody asks for.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from resnet_jax.sharding import DATA_AXIS

_SPLIT, _WHOLE = P(DATA_AXIS), P()


@dataclasses.dataclass(frozen=True)
class Kernels:
    """Where and with what vectors the kernels run.

    Attributes:
        lanes: float32 numbers in a vector; channels must be a multiple.
        mesh: the batch is split over its axis `data`.
    """

    lanes: int
    mesh: Mesh

    def serves(
        self, image: tuple[int, ...], kernel: int, features: int, stride: int, groups: int
    ) -> bool:
        """Whether there is a convolution for images [B, H, W, C], and a norm for its result."""
        batch, height, width, _ = image
        return (
            kernel == 3
            and groups == 1
            and features % self.lanes == 0
            and (stride == 1 or (stride == 2 and height % 2 == width % 2 == 0))
            and batch % self.mesh.devices.size == 0
        )

    def serves_norm(self, image: tuple[int, ...]) -> bool:
        """Whether images [B, H, W, C] can be normalised."""
        return image[-1] % self.lanes == 0 and image[0] % self.mesh.devices.size == 0

    def split(self, function: Callable, inputs: tuple, outputs: tuple | P) -> Callable:
        """Runs `function` on each device's share of the batch."""
        if self.mesh.devices.size == 1:
            return function
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=inputs, out_specs=outputs, check_vma=False
        )

    def total(self, x: jax.Array) -> jax.Array:
        """Sums over devices, inside a split function."""
        return x if self.mesh.devices.size == 1 else lax.psum(x, DATA_AXIS)


def _call(
    name: str, results: tuple, *args: jax.Array, stride: int = 1, relu: bool = False
) -> list[jax.Array]:
    """One call of a kernel; results are float32 of the given shapes."""
    shapes = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results)
    call = jax.ffi.ffi_call(f"resnet_{name}", shapes, vmap_method="sequential")
    return call(*args, stride=np.int64(stride), relu=bool(relu))


def _output_shape(x: jax.Array, w: jax.Array, stride: int) -> tuple[int, ...]:
    batch, height, width, _ = x.shape
    return (batch, height // stride, width // stride, w.shape[3])


def _convolve(kernels: Kernels, stride: int, x: jax.Array, w: jax.Array) -> tuple:
    """The convolution [B, H / stride, W / stride, features] and its sums [2, features]."""

    def local(x: jax.Array, w: jax.Array) -> tuple:
        shapes = (_output_shape(x, w, stride), (2, w.shape[3]))
        y, sums = _call("conv", shapes, x, w, stride=stride)
        return y, kernels.total(sums)

    return kernels.split(local, (_SPLIT, _WHOLE), (_SPLIT, _WHOLE))(x, w)


def _sums(kernels: Kernels, x: jax.Array) -> jax.Array:
    """Per channel, the sum of x [B, H, W, C] and of its square: [2, C]."""

    def local(x: jax.Array) -> jax.Array:
        return kernels.total(_call("reduce", ((2, x.shape[-1]),), x)[0])

    return kernels.split(local, (_SPLIT,), _WHOLE)(x)


def _xla_input_gradient(stride: int, x: jax.Array, w: jax.Array, dy: jax.Array) -> jax.Array:
    """For channels that do not fill a vector, as those of an image."""

    def convolve(x: jax.Array) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, w, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=numbers
        )

    return jax.linear_transpose(convolve, x)(dy)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def conv(kernels: Kernels, stride: int, x: jax.Array, w: jax.Array) -> jax.Array:
    """A 3x3 convolution with padding 1.

    Args:
        kernels: which must serve these shapes.
        stride: 1 or 2 pixels.
        x: float32 [B, H, W, C].
        w: float32 [3, 3, C, features].

    Returns:
        float32 [B, H / stride, W / stride, features].
    """
    return _convolve(kernels, stride, x, w)[0]


def _conv_forward(kernels: Kernels, stride: int, x: jax.Array, w: jax.Array) -> tuple:
    return conv(kernels, stride, x, w), (x, w)


def _conv_backward(kernels: Kernels, stride: int, saved: tuple, dy: jax.Array) -> tuple:
    x, w = saved

    def input_gradient(x: jax.Array, w: jax.Array, dy: jax.Array) -> jax.Array:
        if x.shape[-1] % kernels.lanes:
            return _xla_input_gradient(stride, x, w, dy)
        return _call("conv_input_gradient", (x.shape,), w, dy, stride=stride)[0]

    def filter_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
        (dw,) = _call("conv_filter_gradient", (w.shape,), x, dy, stride=stride)
        return kernels.total(dw)

    dx = kernels.split(input_gradient, (_SPLIT, _WHOLE, _SPLIT), _SPLIT)(x, w, dy)
    return dx, kernels.split(filter_gradient, (_SPLIT, _SPLIT), _WHOLE)(x, dy)


conv.defvjp(_conv_forward, _conv_backward)


@dataclasses.dataclass(frozen=True)
class NormAct:
    """What `norm_act` does, apart from its arrays.

    Attributes:
        kernels: which must serve the shapes.
        stride: of the convolution, 1 or 2 pixels.
        relu: whether a ReLU follows.
        epsilon: added to the variance.
    """

    kernels: Kernels
    stride: int
    relu: bool
    epsilon: float


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def norm_act(
    spec: NormAct,
    x: jax.Array,
    w: jax.Array | None,
    scale: jax.Array,
    bias: jax.Array,
    residual: jax.Array | None,
    running: tuple[jax.Array, jax.Array] | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[relu]([conv]x, normalised, scaled and shifted, [+ residual]).

    Batch normalisation of Ioffe & Szegedy 2015 (arXiv 1502.03167, algorithm 1) over the global batch.

    Args:
        spec: static description.
        x: float32 [B, H, W, C].
        w: 3x3 kernel [3, 3, C, features], or None for no convolution (features = C).
        scale: float32 [features].
        bias: float32 [features].
        residual: float32 [B, H', W', features], added in front of the ReLU, or None.
        running: mean and variance to normalise by, or None for those of the batch.

    Returns:
        the result [B, H', W', features], and the mean and the (biased) variance used, which are
        constants to differentiation.
    """
    return _norm_act_forward(spec, x, w, scale, bias, residual, running)[0]


def _norm_act_forward(
    spec: NormAct,
    x: jax.Array,
    w: jax.Array | None,
    scale: jax.Array,
    bias: jax.Array,
    residual: jax.Array | None,
    running: tuple[jax.Array, jax.Array] | None,
) -> tuple:
    kernels = spec.kernels
    y, sums = (x, None) if w is None else _convolve(kernels, spec.stride, x, w)
    if running is None:
        sums = _sums(kernels, y) if sums is None else sums
        mean, mean_of_squares = sums / (y.size // y.shape[-1])
        variance = jnp.maximum(mean_of_squares - mean * mean, 0)
    else:
        mean, variance = running
    factor = scale * lax.rsqrt(variance + spec.epsilon)
    coefficients = jnp.stack([factor, bias - mean * factor])
    extra = () if residual is None else (residual,)

    def apply(y: jax.Array, coefficients: jax.Array, *extra: jax.Array) -> jax.Array:
        return _call("norm_act", (y.shape,), y, coefficients, *extra, relu=spec.relu)[0]

    inputs = (_SPLIT, _WHOLE) + (_SPLIT,) * len(extra)
    out = kernels.split(apply, inputs, _SPLIT)(y, coefficients, *extra)
    # Without a ReLU nothing is masked, and the output need not be kept.
    mask = out if spec.relu else y
    # What is saved holds arrays only, so that absence is told by structure: None or ().
    absent = [None if x is None else () for x in (residual, running)]
    saved = (x, w, scale, y, mask, mean, variance, *absent)
    return (out, mean, variance), saved


def _norm_act_backward(spec: NormAct, saved: tuple, cotangents: tuple) -> tuple:
    x, w, scale, y, mask, mean, variance, residual, running = saved
    no_residual, batch_statistics = residual is None, running is None
    kernels, dout = spec.kernels, cotangents[0]
    inverse = lax.rsqrt(variance + spec.epsilon)

    def reduce(y: jax.Array, mask: jax.Array, dout: jax.Array) -> tuple:
        shapes = ((2, y.shape[-1]),) + (() if no_residual else (y.shape,))
        sums, *dz = _call("reduce", shapes, y, mask, dout, relu=spec.relu)
        return kernels.total(sums), *dz

    outputs = (_WHOLE,) if no_residual else (_WHOLE, _SPLIT)
    (dbias, dot), *dz = kernels.split(reduce, (_SPLIT,) * 3, outputs)(y, mask, dout)
    dscale = (dot - mean * dbias) * inverse
    # dy = a dz + b y + c, with dz the gradient behind the ReLU: the derivative of algorithm 1,
    # regrouped so that one pass over dz and y, without the normalised y, is enough.
    a = scale * inverse
    if batch_statistics:
        count = y.size // y.shape[-1]
        b = -a * inverse * dscale / count
        c = -a * dbias / count - b * mean
    else:
        b = c = jnp.zeros_like(a)
    coefficients = jnp.stack([a, b, c])
    gradients = _gradients_of_inputs(spec, x, w, y, mask, dout, coefficients)
    none = None if batch_statistics else (jnp.zeros_like(mean), jnp.zeros_like(variance))
    return *gradients, dscale, dbias, (dz[0] if dz else None), none


def _gradients_of_inputs(
    spec: NormAct,
    x: jax.Array,
    w: jax.Array | None,
    y: jax.Array,
    mask: jax.Array,
    dout: jax.Array,
    coefficients: jax.Array,
) -> tuple[jax.Array, jax.Array | None]:
    """The gradients of x and of w, each in a call of its own."""
    kernels, relu, stride = spec.kernels, spec.relu, spec.stride
    pixels = (_SPLIT, _SPLIT, _SPLIT, _WHOLE)

    def before_norm(y: jax.Array, mask: jax.Array, dout: jax.Array, c: jax.Array) -> jax.Array:
        return c[0] * (jnp.where(mask > 0, dout, 0) if relu else dout) + (c[1] * y + c[2])

    if w is None:
        return kernels.split(before_norm, pixels, _SPLIT)(y, mask, dout, coefficients), None

    def input_gradient(*args: jax.Array) -> jax.Array:
        x, y, mask, dout, c, w = args
        if x.shape[-1] % kernels.lanes:
            return _xla_input_gradient(stride, x, w, before_norm(y, mask, dout, c))
        name = "conv_input_gradient"
        return _call(name, (x.shape,), w, y, mask, dout, c, stride=stride, relu=relu)[0]

    def filter_gradient(*args: jax.Array) -> jax.Array:
        name = "conv_filter_gradient"
        return kernels.total(_call(name, (w.shape,), *args, stride=stride, relu=relu)[0])

    shared = (x, y, mask, dout, coefficients)
    dx = kernels.split(input_gradient, (_SPLIT, *pixels, _WHOLE), _SPLIT)(*shared, w)
    return dx, kernels.split(filter_gradient, (_SPLIT, *pixels), _WHOLE)(*shared)


norm_act.defvjp(_norm_act_forward, _norm_act_backward)
