import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import tokens
from resnet_jax.models import combines
from resnet_jax.models.combines import COMBINES, is_plain_sum
from tests.models.reference import relu
from tests.models.test_unit import INPUTS, assert_equals_reference, basic, run, unit

BRANCH = "conv norm act conv"


def parse(text: str) -> tokens.Token:
    return tokens.parse_one(text, COMBINES, "config.model.combine")


def two_paths(net, x):
    """Shortcut and branch of the unit `BRANCH`."""
    return x, net.conv("unit/conv2", relu(net.norm("unit/norm1", net.conv("unit/conv1", x))))


def inner(a, b, axes):
    return (a * b).sum(axes, keepdims=True)


def orthogonal(x, f, axes):
    return x + f - inner(x, f, axes) / (inner(x, x, axes) + 1e-6) * x


BY_HAND = {
    "add": lambda net, x, f: x + f,
    "add(1, 0.5)": lambda net, x, f: x + 0.5 * f,
    "add(l/L, 2)": lambda net, x, f: x / 3 + 2 * f,
    "learned": lambda net, x, f: (
        net.params["unit/combine/shortcut"] * x + net.params["unit/combine/branch"] * f
    ),
    "subtract": lambda net, x, f: x - f,
    "orthogonal": lambda net, x, f: orthogonal(x, f, (3,)),
    "orthogonal(tensor)": lambda net, x, f: orthogonal(x, f, (1, 2, 3)),
}


@pytest.mark.parametrize("combine", BY_HAND)
def test_every_way_to_combine_equals_numpy(combine):
    module = unit(BRANCH, "", basic(INPUTS), combine=combine)
    assert_equals_reference(
        module, lambda net, x: BY_HAND[combine](net, *two_paths(net, x)), train=True
    )


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("add", True),
        ("add(1)", True),
        ("add(1, 1)", True),
        ("add(1, 2)", False),
        ("learned", False),
    ],
)
def test_only_the_plain_sum_is_one(text, plain):
    assert is_plain_sum(parse(text)) == plain


def test_learned_weights_start_where_the_arguments_say_and_have_names():
    _, _, variables, x = run(unit(BRANCH, "", basic(INPUTS), combine="learned(1, 0)"), train=False)
    assert set(variables["params"]["combine"]) == {"shortcut", "branch"}
    module = unit(BRANCH, "", basic(INPUTS), combine="learned(1, 0)")
    fresh = module.init(jax.random.key(0), x, train=False)
    np.testing.assert_array_equal(module.apply(fresh, x, train=False), x)


@pytest.mark.parametrize(("over", "axes"), [("position", (3,)), ("tensor", (1, 2, 3))])
def test_the_orthogonal_update_adds_nothing_along_the_shortcut(over, axes):
    random = np.random.default_rng(0)
    x, f = random.normal(size=(2, 3, 4, 4, 8)).astype(np.float32)
    added = np.asarray(combines.orthogonal(x, f, over, 1e-6)) - x
    np.testing.assert_allclose((added * x).sum(axes), 0, atol=1e-4)
    along = combines.orthogonal(x, 3 * x, over, 1e-6)
    np.testing.assert_allclose(along, x, atol=1e-4)
    zero = combines.orthogonal(np.zeros_like(x), f, over, 1e-6)
    np.testing.assert_allclose(zero, f, atol=1e-6)


def test_inner_products_are_float32_in_bfloat16_too():
    # In bfloat16 a sum of 4,096 ones stops at 256, and the branch would not be removed.
    ones = jnp.ones((1, 16, 16, 16), jnp.bfloat16)
    y = combines.orthogonal(ones, ones, "tensor", 1e-6)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(y, np.float32), 1)
    jaxpr = str(jax.make_jaxpr(lambda x: combines.orthogonal(x, x, "tensor", 1e-6))(ones))
    sums = [line for line in jaxpr.splitlines() if "reduce_sum" in line]
    assert len(sums) == 2
    assert all("f32" in line for line in sums)
