"""Deep networks at initialisation, as one compiled unit that is applied in a Python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import step
from resnet_jax.models import architecture
from resnet_jax.models.designs import DESIGNS
from resnet_jax.models.unit import Unit


def fresh_units(model, kept: int = 3) -> tuple[Unit, list]:
    """The second unit of a network, and initial variables of some units as its rules leave them."""
    network = architecture.build(model, 10)
    few = network.clone(
        stages=(network.stages[0][:kept],)
    )  # the rules have been read for all units
    tree = step.init_variables(few, 0, (8, 8, 3))
    kinds = [kind for kind in tree if "stage1" in tree[kind]]
    blocks = sorted(tree["params"]["stage1"])
    fresh = [{kind: tree[kind]["stage1"][block] for kind in kinds} for block in blocks]
    return Unit(network.stages[0][1], network.options), fresh


@pytest.mark.parametrize(
    "fields",
    [
        *({"design": name} for name in DESIGNS),
        {"shortcut": "none"},
        {"shortcut": "scale(0.5, 0.5)"},
        {"shortcut": "exclusive_gate(-1)"},
        {"shortcut": "shortcut_gate(-6)", "design": "full_preact"},
        {"shortcut": "conv"},
        {"shortcut": "drop(0.1)"},
        {"combine": "add(1, 1/sqrt(L))"},
        {"combine": "learned(1, 0)"},
        {"combine": "subtract"},
        {"combine": "orthogonal"},
        {"combine": "orthogonal(tensor)", "design": "full_preact"},
        {"norm": "ghost(1)"},
        {"norm": "group(2)", "weight_standardization": "plain"},
        {"norm": "layer"},
        {"norm": "frn", "activation": "identity"},
        {"norm": "dyt"},
        {"weight_standardization": "scaled", "scaled_activation": True},
        {"branch": "conv norm act conv norm se(2)"},
        {"branch": "conv norm act conv norm eca"},
    ],
    ids=lambda fields: " ".join(map(str, fields.values())),
)
def test_fifty_four_units_have_finite_outputs_and_gradients(section, fields):
    """One compiled unit, applied in a loop: the second of a network of 54."""
    module, fresh = fresh_units(section(stage_sizes=(54,), stage_widths=(8,), **fields))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)

    def apply(variables, x):
        rngs = {"dropout": jax.random.key(0)}
        return module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    forward = jax.jit(apply)

    @jax.jit
    def backward(variables, x, gradient):
        return jax.vjp(apply, variables, x)[1](gradient)

    inputs = []
    for number in range(54):
        inputs.append(x)
        x = forward(fresh[number % len(fresh)], x)
    assert np.isfinite(x).all()
    gradient = jnp.ones_like(x) / x.size
    for number in reversed(range(54)):
        of_variables, gradient = backward(fresh[number % len(fresh)], inputs[number], gradient)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(of_variables))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient) != 0).any()


def test_a_fresh_depth_mup_networks_signal_is_bounded_in_depth(section):
    """Yang et al. 2023, section 3: L branches of variance 1/L; a He-initialised one keeps its input's."""

    def growth(units: int, **fields) -> float:
        fields |= {"design": "depth_mup", "stage_sizes": (units,), "stage_widths": (32,)}
        module, fresh = fresh_units(section(**fields), kept=units)
        forward = jax.jit(lambda variables, x: module.apply(variables, x, train=False))
        x = first = np.random.default_rng(0).normal(size=(4, 8, 8, 32)).astype(np.float32)
        for number in range(units):
            x = forward(fresh[number % len(fresh)], x)
        return float(np.var(x) / np.var(first))

    # Each unit multiplies the variance by at most 1 + 1/L, and (1 + 1/L)^L < e.
    found = [growth(units) for units in (2, 8, 32)]
    assert all(1 < ratio < 1.2 * np.e for ratio in found), found
    without = [growth(units, branch="act conv act conv", init=()) for units in (2, 8, 32)]
    assert without[1] > 10 * without[0]
    assert without[2] > 1_000 * without[1]
