import math
import time

import pytest

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.expression import Expression, expression
from resnet_jax.tokens import REQUIRED, Argument, Signature, Token

VOCABULARY = {
    "mul": Signature("an expression", (Argument("factor", expression("L", "l"), REQUIRED),))
}


def parse(text: str) -> tuple[Token, ...]:
    return tokens.parse(text, VOCABULARY, "config.model.branch")


def error(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("2.5e-1", 0.25),
        ("L", 9),
        ("l/L", 4 / 9),
        ("1 - 0.5*l/L", 1 - 2 / 9),
        ("1/sqrt(L)", 1 / 3),
        ("L**-0.5", 1 / 3),
        ("-L**2", -81),
        ("(-L)**2", 81),
        ("+l - -l", 8),
        ("2**3**2", 512),
        ("sqrt(sqrt(16))*(l-1)", 6),
        ("1/(L-1)", 1 / 8),
    ],
)
def test_expressions_are_arithmetic_with_the_usual_precedence(text, value):
    (token,) = parse(f"mul({text})")
    assert token.arguments[0].value(L=9, l=4) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "abs(L)",
        "__import__('os')",
        "sqrt(L, 2)",
        "sqrt(x=L)",
        "sqrt",
        "L.real",
        "(1).real",
        "n",
        "LL",
    ]
    + ["L[0]", "[L]", "(L,)", "lambda: 1", "L if l else 1", "L < l", "L and l", "L // 2", "L % 2"]
    + [
        "~l",
        "not l",
        "True",
        "None",
        "1j",
        "'L'",
        "f'{L}'",
        "inf",
        "nan",
        "sqrt(*L)",
        "1 + abs(L)",
    ],
)
def test_expressions_are_nothing_but_arithmetic(text):
    assert "may use numbers, + - * / **, sqrt and L, l, not" in error(f"mul({text})")


@pytest.mark.parametrize("text", ["1 2", "*L", "L +", "L := 1", "1; 2", "L = 1", "²", "()()"])
def test_what_is_not_even_an_expression_is_refused(text):
    with pytest.raises(ConfigError, match="factor"):
        parse(f"mul({text})")


@pytest.mark.parametrize(
    "text",
    ["1/0", "1/(L-9)", "0**-1", "(-1)**0.5", "sqrt(l-L)", "1e308*10", "1e999", "1e999-1e999"]
    + ["9**9**9", "9**9**9**9", "L**l**L**l**L", "9**999*9**999"],
)
def test_an_expression_without_a_finite_value_says_so_at_once(text):
    (token,) = parse(f"mul({text})")
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"has no (finite )?value"):
        token.arguments[0].value(L=9, l=4)
    assert time.perf_counter() - start < 1  # 9**9**9 of integers takes minutes


@pytest.mark.parametrize(
    "text",
    ["-" * 100_000 + "1", "1" + "+1" * 100_000, "1" + "**1" * 5_000, "9" * 5_000]
    + ["(" * 5_000 + "1" + ")" * 5_000],
    ids=["minus", "sum", "powers", "digits", "parentheses"],
)
def test_a_very_long_expression_is_refused_and_crashes_nothing(text):
    assert "is longer than 200 characters" in error(f"mul({text})")


@pytest.mark.parametrize("text", ["-" * 199 + "1", "(" * 99 + "1" + ")" * 99, "1" + "**1" * 66])
def test_the_deepest_expressions_that_are_short_enough_have_values(text):
    assert math.isfinite(Expression(text).value())


def test_an_expression_needs_a_value_for_each_of_its_names():
    with pytest.raises(ValueError, match="not 'L'"):
        Expression("1/L").value(l=1)
