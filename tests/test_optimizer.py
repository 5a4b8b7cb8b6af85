import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import default
from resnet_jax import optimizer, plan, step
from resnet_jax.errors import ConfigError

STEPS = 1000


@pytest.fixture
def fields() -> ConfigDict:
    """The section `optimizer` with a rate of 0.1, no decay and no warm-up."""
    section = default.get_config().optimizer
    section.schedule = "constant"
    section.weight_decay = 0.0
    section.decayed = (".*",)
    return section


def run(fields, steps, gradient, start=1.0):
    """The parameter after `steps` updates with constant gradients, and the optimizer's state."""
    params = {"kernel": jnp.float32(start), "bias": jnp.float32(start)}
    chain = optimizer.create(fields, optimizer.schedule(fields, STEPS), params)
    state = chain.init(params)
    for _ in range(steps):
        gradients = jax.tree.map(lambda p: jnp.full_like(p, gradient), params)
        updates, state = chain.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return {name: float(value) for name, value in params.items()}, state


def sgd(steps, gradient, *, rate=0.1, momentum=0.9, decay=0.0, nesterov=False, coupled=True):
    """The recurrence of PyTorch's SGD, by hand; decoupled decay bypasses the momentum."""
    p, v = 1.0, 0.0
    for _ in range(steps):
        g = gradient + (decay * p if coupled else 0)
        v = momentum * v + g
        direction = g + momentum * v if nesterov else v
        p -= rate * (direction + (0 if coupled else decay * p))
    return p


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("coupling", ["coupled", "decoupled"])
def test_sgd_with_decay_is_the_recurrence_by_hand(fields, nesterov, coupling):
    fields.weight_decay, fields.nesterov, fields.decay_coupling = 0.5, nesterov, coupling
    expected = sgd(3, 0.2, decay=0.5, nesterov=nesterov, coupled=coupling == "coupled")
    assert run(fields, 3, 0.2)[0]["kernel"] == pytest.approx(expected, rel=1e-6)


def test_coupled_decay_is_the_default_and_the_two_differ_by_the_momentums_factor(fields):
    fields.weight_decay = 1e-3
    coupled = 1 - run(fields, 100, 0.0)[0]["kernel"]
    fields.decay_coupling = "decoupled"
    decoupled = 1 - run(fields, 100, 0.0)[0]["kernel"]
    by_hand = [1 - sgd(100, 0.0, decay=1e-3, coupled=first) for first in (True, False)]
    assert [coupled, decoupled] == pytest.approx(by_hand, rel=1e-3)
    # Towards 1 / (1 - momentum) = 10, less the momentum's build-up and what has decayed already.
    assert 8.5 < coupled / decoupled < 9.5


def test_decay_acts_on_the_named_parameters_only(fields):
    fields.weight_decay, fields.decayed = 0.5, ("kernel",)
    after, _ = run(fields, 2, 0.0)
    assert after["bias"] == 1.0
    assert after["kernel"] < 1.0


def test_a_pattern_for_no_parameter_is_refused(fields):
    fields.decayed = ("kernal",)
    with pytest.raises(ConfigError, match="'kernal' matches no parameter"):
        run(fields, 1, 0.0)


def test_clipping_comes_before_decay_and_momentum(fields):
    fields.clip_norm, fields.weight_decay = 1.0, 0.5
    # Two gradients of 3 have norm 3 sqrt(2), so each is clipped to 1 / sqrt(2); the decay is not.
    expected = sgd(2, 1 / np.sqrt(2), decay=0.5)
    assert run(fields, 2, 3.0)[0]["kernel"] == pytest.approx(expected, rel=1e-6)


def updates(fields, params, gradients, rates=()):
    """The first update of a constant rate."""
    chain = optimizer.create(fields, optimizer.schedule(fields, STEPS), params, rates)
    return chain.update(gradients, chain.init(params), params)[0]


def test_rates_multiply_whole_updates_decay_included(fields):
    fields.weight_decay = 0.5
    params = {"kernel": jnp.float32(1), "bias": jnp.float32(1)}
    rates = (optimizer.Rate("bias", 0.1, "optimizer.rates"), optimizer.Rate(".*", 0.5, "f"))
    found = updates(fields, params, params, rates)
    assert float(found["kernel"]) == pytest.approx(-0.1 * 1.5 * 0.5)
    assert float(found["bias"]) == pytest.approx(-0.1 * 1.5 * 0.05)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("coupling", [None, "decoupled"])
def test_a_rate_for_all_is_another_learning_rate(fields, name, coupling):
    fields.name, fields.weight_decay, fields.decay_coupling = name, 0.3, coupling
    params = {"kernel": jnp.float32(1)}
    rates = (optimizer.Rate(".*", 0.25, "optimizer.rates"),)
    found = updates(fields, params, params, rates)
    fields.learning_rate /= 4
    expected = updates(fields, params, params)
    assert float(found["kernel"]) == pytest.approx(float(expected["kernel"]), rel=1e-6)


def test_a_rate_for_no_parameter_is_refused_with_its_source(fields):
    params = {"kernel": jnp.float32(1)}
    rates = (optimizer.Rate("gain", 0.1, "optimizer.rates of design 'fixup'"),)
    with pytest.raises(ConfigError, match=r"rates of design 'fixup': 'gain' matches no.*\n.*=\(\)"):
        updates(fields, params, params, rates)


@pytest.mark.parametrize(
    ("design", "changes", "expected"),
    [
        ("original", {}, []),
        ("fixup", {}, [0.1]),
        ("fixup", {"rates": ()}, []),
        ("original", {"rates": (("head/.*", 0.5), (".*", "1/L"))}, [0.5, 1 / 9]),
        # Yang et al. 2023, arXiv 2310.02244, table 1: SGD's rate is unchanged, Adam's over sqrt(L).
        ("depth_mup", {}, [1.0]),
        ("depth_mup", {"name": "adamw"}, [1 / 3]),
    ],
)
def test_rates_are_the_designs_unless_the_field_says_otherwise(design, changes, expected):
    config = default.get_config()
    config.model.design = design
    config.optimizer.update(changes)
    found = [rate.factor for rate in optimizer.rate_factors(config)]
    assert found == pytest.approx(expected)


def test_a_run_uses_the_designs_rates(tiny_config, one_device):
    tiny_config.conv_backend = "xla"
    tiny_config.model.design = "fixup"
    tiny_config.optimizer.schedule, tiny_config.optimizer.warmup = "constant", 0.0
    tiny_config.optimizer.nesterov = False
    made = plan.make(tiny_config, one_device)
    params = step.init_variables(made.recipe.model, 0, (8, 8, 1))["params"]
    ones = jax.tree.map(jnp.ones_like, params)
    found = made.recipe.optimizer.update(ones, made.recipe.optimizer.init(params), params)[0]
    assert float(found["stage1"]["block1"]["gain1"]["gain"]) == pytest.approx(-0.01)
    assert float(found["stem"]["bias"]["bias"]) == pytest.approx(-0.01)
    np.testing.assert_allclose(found["head"]["bias"], -0.1, rtol=1e-6)

    tiny_config.model.branch = "norm act conv norm act conv"
    with pytest.raises(ConfigError, match="design 'fixup'"):
        plan.make(tiny_config, one_device)
    tiny_config.optimizer.rates = ()
    plan.make(tiny_config, one_device)


@pytest.mark.parametrize("factor", ["1/0", "n", "-1", -0.5, "L L"])
def test_a_rate_that_is_no_factor_is_refused(factor):
    config = default.get_config()
    config.optimizer.rates = ((".*", factor),)
    with pytest.raises(ConfigError, match=r"config\.optimizer\.rates: the factor"):
        optimizer.rate_factors(config)


def test_adaptive_clipping_bounds_channels_by_their_weights_but_not_the_head(fields):
    fields.adaptive_clip = 0.1
    params = {
        "conv": {"kernel": jnp.ones((3, 3, 2, 4)) * jnp.arange(4.0)},
        "head": {"kernel": jnp.ones((4, 2))},
    }
    gradients = jax.tree.map(lambda p: jnp.full_like(p, 0.2), params)
    found = jax.tree.map(lambda u: np.asarray(-u / 0.1), updates(fields, params, gradients))
    # A channel of weights w has norm w * sqrt(18): gradients above w / 10 shrink to it, and a
    # channel of zeros keeps a norm of 0.1 * 1e-3.
    weights = np.asarray(params["conv"]["kernel"])
    clipped = found["conv"]["kernel"][..., 1:]
    np.testing.assert_allclose(clipped, np.minimum(0.2, 0.1 * weights[..., 1:]), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found["conv"]["kernel"][..., 0]), 1e-4, rtol=1e-5)
    np.testing.assert_allclose(found["head"]["kernel"], 0.2, rtol=1e-6)


def test_adamw_is_the_recurrence_by_hand(fields):
    fields.name, fields.weight_decay = "adamw", 0.1
    p, m, v = 1.0, 0.0, 0.0
    for t in range(1, 4):
        m, v = 0.9 * m + 0.1 * 0.2, 0.999 * v + 0.001 * 0.04
        direction = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        p -= 0.1 * (direction + 0.1 * p)
    assert run(fields, 3, 0.2)[0]["kernel"] == pytest.approx(p, rel=1e-5)


def test_the_schedules_count_is_the_number_of_updates(fields):
    _, state = run(fields, 3, 0.0)
    assert int(optax.tree.get(state, "count")) == 3


def rates(fields, *at):
    schedule = optimizer.schedule(fields, STEPS)
    return [float(schedule(step)) for step in at]


def test_cosine_falls_to_zero_at_the_end_of_the_run(fields):
    fields.schedule = "cosine"
    assert rates(fields, 0, 500, 1000) == pytest.approx([0.1, 0.05, 0.0], abs=1e-8)


def test_linear_falls_in_a_straight_line(fields):
    fields.schedule = "linear"
    assert rates(fields, 0, 250, 1000) == pytest.approx([0.1, 0.075, 0.0], abs=1e-8)


def test_steps_are_at_fractions_of_the_whole_run_also_behind_a_warmup(fields):
    fields.schedule = "step"
    at = (499, 500, 749, 750, 999)
    expected = [0.1, 0.01, 0.01, 0.001, 0.001]
    assert rates(fields, *at) == pytest.approx(expected, rel=1e-5)
    fields.warmup = 0.1
    assert rates(fields, *at) == pytest.approx(expected, rel=1e-5)


def test_warmup_rises_from_zero_and_the_schedule_fills_the_rest(fields):
    fields.schedule, fields.warmup = "cosine", 0.2
    assert rates(fields, 0, 100, 200, 600, 1000) == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-8)


def test_constant_warmup_stays_at_its_factor(fields):
    fields.warmup, fields.warmup_shape = 0.1, "constant"
    assert rates(fields, 0, 99, 100, 999) == pytest.approx([0.01, 0.01, 0.1, 0.1])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_rate(fields, steps):
    fields.schedule, fields.warmup = "cosine", 0.5
    values = [float(optimizer.schedule(fields, steps)(step)) for step in range(steps)]
    assert np.isfinite(values).all()
    assert 0 < max(values) <= np.float32(0.1)
