import dataclasses

import pytest

from configs import default
from resnet_jax import formula
from resnet_jax.models import architecture
from resnet_jax.models.unit import UnitSpec


def unit(**fields) -> UnitSpec:
    """The second unit of a network, which keeps the shape."""
    model = default.get_config().model
    for name, value in fields.items():
        model[name] = value
    return architecture.build(model, 10).stages[0][1]


# The formulas of the papers: He et al. 2015, eq. 1; He et al. 2016, figure 4; Zhang et al. 2019, figure 1.
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "y = act(x + norm(conv(act(norm(conv(x))))))"),
        ({"design": "full_preact"}, "y = x + conv(act(norm(conv(act(norm(x))))))"),
        (
            {"branch": "bias conv bias act bias conv gain bias", "after": "act"},
            "y = act(x + a * conv(act(conv(x + b1) + b2) + b3) + b4)",
        ),
        (
            {"branch": "act conv act(silu) conv gain(0)", "after": ""},
            "y = x + a * conv(silu(conv(act(x))))",
        ),
        (
            {"branch": "conv conv drop(0.007407407407407408)", "after": ""},
            "y = x + drop[0.00741](conv(conv(x)))",
        ),
        ({"branch": "conv conv mul(1/sqrt(L))", "after": ""}, "y = x + 1/sqrt(L) * conv(conv(x))"),
        (
            {"branch": "conv conv mul(l+1) bias mul(2)", "after": ""},
            "y = x + 2 * ((l+1) * conv(conv(x)) + b)",
        ),
        (
            {"branch": "conv norm(none) drop(0.3) conv se", "after": "scale"},
            "y = s * (x + se[16](conv(drop[0.3](norm[none](conv(x))))))",
        ),
        ({"shortcut": "none"}, "y = act(norm(conv(act(norm(conv(x))))))"),
        (
            {"design": "full_preact", "shared_preact": "all"},
            "y = p + conv(act(norm(conv(p)))), p = act(norm(x))",
        ),
        (
            {"bottleneck": True, "depth": 29, "branch": "conv conv"},
            "y = act(x + conv(conv(conv(x))))",
        ),
    ],
)
def test_the_formula_follows_from_the_strings(fields, expected):
    assert formula.of_unit(unit(**fields)) == expected


@pytest.mark.parametrize(
    ("shortcut", "combine", "expected"),
    [
        ("scale(0.5)", "add", "0.5 * x + f(x)"),
        ("scale(0.5, 0.1)", "add(1.0, 1.0)", "0.5 * x + 0.1 * f(x)"),
        ("identity", "add(1.0, 1/sqrt(L))", "x + 1/sqrt(L) * f(x)"),
        ("identity", "subtract", "x - f(x)"),
        ("conv(none)", "learned(1.0, 0.0)", "learned[1.0, 0.0](conv[none](x), f(x))"),
        ("identity", "orthogonal(position)", "orthogonal[position](x, f(x))"),
        ("exclusive_gate(-6)", "add", "(1 - g(x)) * x + g(x) * f(x)"),
        ("shortcut_gate(-6)", "add", "(1 - g(x)) * x + f(x)"),
    ],
)
def test_a_shortcut_or_meeting_with_arguments_is_shown_with_them(shortcut, combine, expected):
    assert formula.combined(shortcut, combine, "x", "f(x)") == expected


def test_parentheses_balance_for_every_unit():
    spec = unit(design="full_preact")
    for shortcut in ("identity", "none", "exclusive_gate(-6)"):
        text = formula.of_unit(dataclasses.replace(spec, shortcut=shortcut))
        assert text.count("(") == text.count(")")
