import math

import jax
import numpy as np
import pytest

from resnet_jax import step
from resnet_jax.errors import ConfigError
from resnet_jax.models import architecture, signal
from resnet_jax.models.layers import ACTIVATIONS


def units(network):
    return [unit for stage in network.stages for unit in stage]


def test_relus_scale_is_the_papers_closed_form():
    # Brock et al. 2021, arXiv 2101.08692, "Determining nonlinearity-specific constants".
    expected = math.sqrt(2 / (1 - 1 / math.pi))
    assert signal.activation_scale("relu") == pytest.approx(expected, rel=1e-5)
    assert signal.activation_scale("identity") == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_scaled_activation_of_normal_inputs_has_unit_variance(kind):
    x = np.random.default_rng(0).normal(size=400_000).astype(np.float32)
    y = signal.activation_scale(kind) * np.asarray(ACTIVATIONS[kind](x), np.float64)
    assert y.var() == pytest.approx(1, abs=0.01)


def test_the_scale_is_a_number_within_a_trace_too():
    signal.activation_scale.cache_clear()
    traced = jax.jit(lambda x: x * signal.activation_scale("silu"))(1.0)
    assert float(traced) == pytest.approx(signal.activation_scale("silu"), rel=1e-6)


def betas(model) -> list[float]:
    network = architecture.build(model, 10)
    return [*(unit.beta for unit in units(network)), network.beta]


def test_the_variance_grows_by_alpha_squared_and_starts_anew_where_the_shape_changes(section):
    # Three stages of two units; the first of the later ones shares its pre-activation.
    found = betas(section(design="nf", depth=14, projection="B"))
    expected = np.sqrt([1, 1.04, 1.08, 1.04, 1.08, 1.04, 1.08])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    never = betas(section(design="nf", depth=14, projection="B", shared_preact="none"))
    np.testing.assert_allclose(never, np.sqrt(1 + 0.04 * np.arange(7)), rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "second"),
    [
        ({"branch": "mul(1/beta) act conv act conv mul(0.5)"}, 1 + 0.25),
        ({"branch": "mul(1/beta) act conv act conv gain(0)"}, 1),
        ({"branch": "mul(1/beta) act conv act conv scale(2)"}, 1 + 4),
        ({"branch": "mul(1/beta) act conv act conv mul(1/L)"}, 1 + 1 / 36),
        ({"branch": "mul(3/beta) act conv mul(2) conv"}, 1 + 36),
        ({"branch": "mul(3/beta) act conv norm(batch) act conv"}, 1 + 1),
        ({"branch": "mul(1/beta) act conv act conv se(8) mul(0.2)"}, 1 + 0.04 / 4),
        ({"branch": "mul(1/beta) act conv act conv eca mul(2) mul(0.2)"}, 1 + 0.04),
        ({"combine": "add(0.5, 2)"}, 0.25 + 4 * 0.04),
        ({"combine": "learned(0, 1)"}, 0.04),
        ({"combine": "subtract"}, 1.04),
        ({"combine": "orthogonal"}, 1.04),
        ({"shortcut": "scale(0.5, 0.5)"}, 0.25 + 0.01),
        ({"shortcut": "none"}, 0.04),
        ({"shortcut": "exclusive_gate"}, 0.25 + 0.01),
        ({"shortcut": "shortcut_gate"}, 0.25 + 0.04),
        ({"after": "mul(2)"}, 4 * 1.04),
    ],
)  # fmt: skip
def test_every_factor_on_the_way_counts(section, fields, second):
    found = betas(section(**{"design": "nf", "depth": 14, "projection": "B"} | fields))
    assert found[:2] == pytest.approx([1, math.sqrt(second)], rel=1e-12)


def test_option_a_counts_as_the_mean_over_all_channels(section):
    found = betas(section(design="nf", depth=14))
    np.testing.assert_allclose(found[2:4], np.sqrt([1.08, 0.54 + 0.04]), rtol=1e-12)


def test_beta_is_one_where_nothing_uses_it(section):
    assert set(betas(section(design="full_preact", branch="mul(0) conv norm act conv"))) == {1.0}


def test_a_signal_without_variance_has_no_beta(section):
    branch = "mul(1/beta) act conv act conv gain(0)"
    with pytest.raises(ConfigError, match=r"'beta'.*behind unit 1 .*variance of 0; write"):
        architecture.build(section(design="nf", branch=branch, shortcut="none"), 10)
    with pytest.raises(ConfigError, match=r"mul\(1/\(beta-1\)\) has no value"):
        architecture.build(section(design="nf", branch="mul(1/(beta-1)) conv conv"), 10)


def test_a_scalar_that_a_rule_starts_at_zero_grows_as_the_paper_counts(tiny, section):
    # Brock et al. 2021, arXiv 2102.06171, section 3: beta grows by alpha^2 with their SkipInit scalar too.
    branch = "mul(1/beta) act conv act conv gain mul(0.2)"
    fields = {"design": "nf", "branch": branch, "init": ((r".*/gain1/gain", "fill(0)"),)}
    assert betas(section(depth=14, **fields)) == betas(section(design="nf", depth=14))
    network = architecture.build(tiny(**fields), 10)
    params = step.init_variables(network, 0, (8, 8, 3))["params"]
    assert params["stage2"]["block1"]["gain1"]["gain"] == 0


SE = "mul(1/beta) act conv act conv se(8) mul(2) mul(0.4)"
"""With the factor of 2 that Brock et al. give it, and alpha = 0.4."""


@pytest.mark.parametrize(
    "fields",
    [
        {"projection": "B"},
        {"projection": "B", "activation": "silu"},
        {"projection": "A"},
        {"projection": "B", "branch": SE},
    ],
)
def test_the_variance_by_depth_at_initialisation_is_the_predicted_one(section, fields):
    # Wide, since each channel's variance is itself random; 32 pixels, since padding is without variance.
    model = section(design="nf", stage_sizes=(4, 4), stage_widths=(64, 128), **fields)
    network = architecture.build(model, 10)
    variables = step.init_variables(network, 0, (32, 32, 3))
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    apply = jax.jit(
        lambda v, x: network.apply(v, x, train=False, capture_intermediates=True)[1][
            "intermediates"
        ]
    )
    seen = apply(variables, images)
    outputs = [seen[f"stage{s}"][f"block{b}"]["__call__"][0] for s in (1, 2) for b in (1, 2, 3, 4)]
    found = [float(np.var(np.asarray(y), axis=(0, 1, 2)).mean()) for y in outputs]
    predicted = [unit.beta**2 for unit in units(network)][1:] + [network.beta**2]
    np.testing.assert_allclose(found, predicted, rtol=0.1)
