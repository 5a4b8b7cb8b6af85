"""How the two paths of a residual unit meet: `combine(shortcut, branch)`, all [B, H, W, C]."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.expression import expression
from resnet_jax.tokens import Argument, Signature, Token, number, word

_FACTOR = expression("L", "l", "beta")

COMBINES = {
    "add": Signature(
        "a sum, with fixed factors on shortcut and branch",
        (Argument("shortcut", _FACTOR, 1.0), Argument("branch", _FACTOR, 1.0)),
        "shortcut * x + branch * f(x)",
        "He et al. 2015, arXiv 1512.03385, eq. 1",
    ),
    "learned": Signature(
        "a sum with a learned scalar on each path; the arguments are where they start",
        (Argument("shortcut", number(), 1.0), Argument("branch", number(), 1.0)),
        "a * x + b * f(x)",
    ),
    "subtract": Signature("the shortcut less the branch", (), "x - f(x)"),
    "orthogonal": Signature(
        "the shortcut and what of the branch is orthogonal to it",
        (
            Argument("over", word("position", "tensor"), "position"),
            Argument("epsilon", number(0.0), 1e-6),
        ),
        "x + f(x) - <x, f(x)> / (|x|^2 + epsilon) * x",
        "Oh et al. 2025, arXiv 2505.11881, section 3",
    ),
}
"""The tokens of `combine`."""


def is_plain_sum(combine: Token) -> bool:
    """Whether it is shortcut + branch, which native kernels know."""
    return combine.name == "add" and all(
        str(factor) in ("1.0", "1") for factor in combine.arguments
    )


def combined(
    combine: Token, shortcut: jax.Array, branch: jax.Array, names: dict[str, float]
) -> jax.Array:
    """Lets shortcut and branch [B, H, W, C] meet, within the current Flax module.

    Args:
        combine: a token of `COMBINES`.
        shortcut: what the shortcut carries.
        branch: the branch's output, of the same shape.
        names: what expressions may use, `L`, `l` and `beta`.
    """
    match combine.name, combine.arguments:
        case "add", (first, second):
            return scaled(shortcut, first, names) + scaled(branch, second, names)
        case "learned", (first, second):
            return Learned(first, second, name="combine")(shortcut, branch)
        case "subtract", ():
            return shortcut - branch
        case "orthogonal", (over, epsilon):
            return orthogonal(shortcut, branch, over, epsilon)
    raise ValueError(f"no way to combine for the token {combine}")


def scaled(x: jax.Array, factor: object, names: dict[str, float]) -> jax.Array:
    """`x` times an expression or a number; the same array where that is 1."""
    value = factor_value(factor, names)
    return x if value == 1 else x * jnp.asarray(value, x.dtype)


def factor_value(factor: object, names: dict[str, float]) -> float:
    """The value of an expression, or of a number as it stands in a signature's default.

    Raises:
        ValueError: it has none for these names.
    """
    return factor if isinstance(factor, float) else factor.value(**names)


def orthogonal(x: jax.Array, branch: jax.Array, over: str, epsilon: float) -> jax.Array:
    """The orthogonal update, x + f - (<x, f> / (|x|^2 + epsilon)) x.

    Oh et al. 2025, arXiv 2505.11881, section 3. The inner products are float32 in every precision:
    they are sums of up to H * W * C terms.

    Args:
        x: the shortcut [B, H, W, C].
        branch: f, of the same shape.
        over: `position`, products over the channels of each pixel; `tensor`, over each whole image.
        epsilon: added to |x|^2.
    """
    axes = {"position": (-1,), "tensor": (1, 2, 3)}[over]
    wide, f = x.astype(jnp.float32), branch.astype(jnp.float32)
    product = jnp.sum(wide * f, axis=axes, keepdims=True)
    square = jnp.sum(wide * wide, axis=axes, keepdims=True)
    return (wide + f - product / (square + epsilon) * wide).astype(x.dtype)


class Learned(nn.Module):
    """A sum with a learned scalar on each path, `combine/shortcut` and `combine/branch`."""

    shortcut: float
    branch: float

    @nn.compact
    def __call__(self, shortcut: jax.Array, branch: jax.Array) -> jax.Array:
        first = self.param("shortcut", nn.initializers.constant(self.shortcut), ())
        second = self.param("branch", nn.initializers.constant(self.branch), ())
        return shortcut * first.astype(shortcut.dtype) + branch * second.astype(branch.dtype)
