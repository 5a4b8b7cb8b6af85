import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import step
from resnet_jax.errors import ConfigError
from resnet_jax.models import architecture, initial_values

SHAPES = {"conv1": (3, 3, 64, 128), "conv2": (1, 1, 128, 32)}


@pytest.fixture
def params():
    return {
        name: {"kernel": jnp.ones(shape), "bias": jnp.ones(4)} for name, shape in SHAPES.items()
    }


def applied(params, *rules, units=54, convs=2, seed=0):
    parsed = initial_values.parse(rules, units, convs, "model.init")
    return initial_values.apply(params, parsed, jax.random.key(seed))


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("mul(L**(-1/(2*m-2)))", 54**-0.5),
        ("fill(0)", 0),
        ("fill(m)", 2),
        ("mul(1/sqrt(L))", 54**-0.5),
    ],
)
def test_fixed_rules_change_what_they_name_and_nothing_else(params, rule, value):
    after = applied(params, (".*/kernel", rule))
    for name in SHAPES:
        np.testing.assert_allclose(after[name]["kernel"], value, rtol=1e-6)
        np.testing.assert_array_equal(after[name]["bias"], 1)


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        ("normal(0.01)", 1e-4),
        ("fan_in(2)", 2 / (9 * 64)),
        ("fan_out(1)", 1 / (9 * 128)),
    ],
)
def test_random_rules_have_their_variance_and_depend_on_seed_and_name(params, rule, variance):
    first = applied(params, (".*/kernel", rule))
    values = np.asarray(first["conv1"]["kernel"])
    assert values.var() == pytest.approx(variance, rel=0.02)
    assert abs(values.mean()) < 0.02 * variance**0.5
    other = np.asarray(applied(params, (".*/kernel", rule), seed=1)["conv1"]["kernel"])
    assert (values != other).all()
    alone = applied({"conv1": params["conv1"]}, (".*/kernel", rule))
    np.testing.assert_array_equal(alone["conv1"]["kernel"], values)


def test_rules_act_in_order_each_on_the_ones_before(params):
    after = applied(params, (".*/kernel", "fill(3)"), (".*", "mul(2)"), ("conv1/.*", "mul(5)"))
    assert float(after["conv1"]["kernel"][0, 0, 0, 0]) == 30
    assert float(after["conv2"]["kernel"][0, 0, 0, 0]) == 6
    assert float(after["conv2"]["bias"][0]) == 2


def test_m_in_a_pattern_is_the_number_of_convolutions(params):
    after = applied(params, ("conv{m}/kernel", "fill(0)"))
    assert (np.asarray(after["conv2"]["kernel"]) == 0).all()
    assert (np.asarray(after["conv1"]["kernel"]) == 1).all()


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((("conv9/kernel", "fill(0)"),), "config.model.init: 'conv9/kernel' matches no parameter"),
        (((".*", "zero"),), "config.model.init: 'zero' is no token"),
        (((".*", "fill(0) mul(2)"),), "exactly one of mul(factor), fill(value)"),
        (((".*", "mul(1/(m-2))"),), "mul(1/(m-2)) has no value"),
        (((".*", "normal(-1)"),), "normal(-1) is negative"),
    ],
)
def test_what_is_no_rule_is_refused(params, rules, words):
    with pytest.raises(ConfigError) as caught:
        applied(params, *rules)
    assert words in str(caught.value)


def test_a_rule_for_kernels_contradicts_their_standardisation(tiny):
    network = architecture.build(tiny(design="fixup", weight_standardization="scaled"), 10)
    with pytest.raises(ConfigError, match=r"design 'fixup'.*stage1/block1/conv1/kernel.*'scaled'"):
        step.init_variables(network, 0, (8, 8, 3))
    network = architecture.build(tiny(design="fixup", weight_standardization="scaled", init=()), 10)
    step.init_variables(network, 0, (8, 8, 3))


def test_a_field_overrides_the_designs_own_rules(tiny):
    def head(**fields):
        network = architecture.build(tiny(design="fixup", **fields), 10)
        return np.asarray(step.init_variables(network, 0, (8, 8, 3))["params"]["head"]["kernel"])

    assert (head() == 0).all()
    assert head(init=()).std() == pytest.approx(0.01, rel=0.3)
    np.testing.assert_array_equal(head(init=(("head/kernel", "fill(1)"),)), 1)


def test_without_rules_the_values_are_those_of_the_layers(tiny):
    plain = step.init_variables(architecture.build(tiny(), 10), 0, (8, 8, 3))
    ruled = architecture.build(tiny(init=(("head/bias", "fill(1)"),)), 10)
    params = step.init_variables(ruled, 0, (8, 8, 3))["params"]
    np.testing.assert_array_equal(params["head"].pop("bias"), 1)
    plain["params"]["head"].pop("bias")
    jax.tree.map(np.testing.assert_array_equal, params, plain["params"])
