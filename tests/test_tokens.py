import pytest

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.expression import expression
from resnet_jax.tokens import REQUIRED, Argument, Signature, Token

VOCABULARY = {
    "conv": Signature("no arguments"),
    "act": Signature("a word", (Argument("kind", tokens.word("relu", "silu"), None),)),
    "gain": Signature("a number", (Argument("start", tokens.number(), 1.0),)),
    "drop": Signature("a bounded number", (Argument("rate", tokens.number(0, 1), REQUIRED),)),
    "mul": Signature("an expression", (Argument("factor", expression("L", "l"), REQUIRED),)),
    "pool": Signature(
        "three arguments",
        (
            Argument("window", tokens.integer(1), 3),
            Argument("stride", tokens.integer(1), 2),
            Argument("kind", tokens.word("max", "mean"), None),
        ),
    ),
}


def parse(text: str) -> tuple[Token, ...]:
    return tokens.parse(text, VOCABULARY, "config.model.branch")


def error(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("config.model.branch")
    return message


# Grammar


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_string_has_no_tokens(text):
    assert parse(text) == ()


@pytest.mark.parametrize("text", ["conv act conv", "  conv\tact\n conv ", "conv act() conv"])
def test_tokens_are_read_left_to_right_whatever_the_white_space(text):
    assert parse(text) == (Token("conv"), Token("act", (None,)), Token("conv"))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("pool", (3, 2, None)),
        ("pool()", (3, 2, None)),
        ("pool( )", (3, 2, None)),
        ("pool(5)", (5, 2, None)),
        ("pool( 5 ,1 )", (5, 1, None)),
        ("pool(5, 1, mean)", (5, 1, "mean")),
        ("gain", (1.0,)),
        ("gain(-2)", (-2.0,)),
        ("gain(1e-3)", (0.001,)),
        ("drop(0)", (0.0,)),
        ("act(silu)", ("silu",)),
    ],
)
def test_arguments_are_positional_and_those_left_out_take_their_defaults(text, arguments):
    (token,) = parse(text)
    assert token.arguments == arguments
    assert [type(value) for value in token.arguments] == [type(value) for value in arguments]


def test_parentheses_nest_within_an_argument():
    first, second = parse("mul(1/(2*(L+(l)))) mul((L))")
    assert first.arguments[0].value(L=3, l=1) == 1 / 8
    assert second.arguments[0].value(L=3, l=1) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "conv act conv",
        "act(silu) gain(0.1) drop(0.30000000000000004)",
        "gain(1e-300) gain(-3)",
        "mul(1/sqrt(2 * L)) mul(-l**2)",
        "pool pool(5) pool(5, 1) pool(5, 1, mean)",
    ],
)
def test_what_a_token_prints_parses_to_the_same_token(text):
    parsed = parse(text)
    assert parse(" ".join(map(str, parsed))) == parsed


def test_an_unset_argument_and_those_after_it_are_not_printed():
    assert str(Token("act", (None,))) == "act"
    assert str(Token("pool", (None, 2))) == "pool"


# Errors: the field, the token, and what to type instead


def test_an_unknown_token_is_named_with_the_nearest_and_all_legal_ones():
    message = error("conv atc conv")
    assert "'atc'" in message
    assert "did you mean 'act'?" in message
    assert "conv, act(kind), gain(start), drop(rate), mul(factor)" in message


def test_a_token_that_resembles_none_gets_no_guess():
    message = error("xyzzy")
    assert "did you mean" not in message
    assert "conv, act(kind)" in message


@pytest.mark.parametrize("text", ["Conv", "convact", "conv1"])
def test_names_are_whole_and_their_case_matters(text):
    assert f"'{text}' is no token; did you mean 'conv'?" in error(text)


@pytest.mark.parametrize("text", ["act(silu", "conv act(", "mul(1/(L)", "act(silu conv act"])
def test_a_missing_closing_parenthesis_is_named(text):
    assert "has a '(' without its ')'" in error(text)


@pytest.mark.parametrize(
    ("text", "character", "position"),
    [("(conv)", "(", 0), ("conv + act", "+", 5), ("conv (3)", "(", 5), ("3conv", "3", 0)]
    + [("conv ) act", ")", 5), ("_conv", "_", 0), ("conv, act", ",", 4)],
)
def test_a_stray_character_is_named(text, character, position):
    message = error(text)
    assert repr(character) in message
    assert f"at position {position}" in message or f"follows {text[:position]!r}" in message


@pytest.mark.parametrize("text", ["act(silu)conv", "act(silu))", "conv)", "act(silu)(relu)"])
def test_tokens_that_touch_are_to_be_separated(text):
    assert "separate tokens by spaces" in error(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("conv(3)", ["conv(3) has 1 arguments", "write conv"]),
        ("gain(1, 2)", ["gain(1, 2) has 2 arguments", "write gain(start)"]),
        ("pool(3, 2, max, 1)", ["4 arguments", "write pool(window, stride, kind)"]),
        ("drop(,)", ["2 arguments", "write drop(rate)"]),
        ("drop", ["'drop' needs rate", "write drop(rate)"]),
        ("drop()", ["'drop' needs rate"]),
        ("mul", ["'mul' needs factor"]),
        ("act(tanh)", ["kind='tanh'", "relu, silu", "write act(kind)"]),
        ("act(ReLU)", ["kind='ReLU'", "relu, silu"]),
        ("pool(3,)", ["stride=''", "whole number"]),
        ("pool(2.5)", ["window='2.5'", "whole number of at least 1"]),
        ("pool(0)", ["window='0'", "at least 1"]),
        ("pool(three)", ["window='three'", "whole number"]),
        ("gain(big)", ["start='big'", "is no finite number"]),
        ("gain(nan)", ["start='nan'", "is no finite number"]),
        ("gain(-inf)", ["start='-inf'", "is no finite number"]),
        ("drop(1)", ["rate='1'", "[0, 1)"]),
        ("drop(-0.1)", ["rate='-0.1'", "[0, 1)"]),
        ("drop(nan)", ["rate='nan'", "[0, 1)"]),
        ("mul(1/)", ["factor='1/'", "is no arithmetic expression"]),
        ("mul(depth)", ["factor='depth'", "L, l", "not 'depth'"]),
    ],
)
def test_wrong_arguments_are_named_with_what_to_write(text, words):
    message = error(text)
    assert [word for word in words if word not in message] == []


def test_usage_lists_every_token_with_its_arguments():
    assert tokens.usage(VOCABULARY) == (
        "conv, act(kind), gain(start), drop(rate), mul(factor), pool(window, stride, kind)"
    )


def test_exactly_one_token_where_one_is_wanted():
    vocabulary = {"a": Signature("a"), "b": Signature("b", (Argument("x", tokens.integer(0), 1),))}
    assert tokens.parse_one(" b(2) ", vocabulary, "f") == Token("b", (2,))
    for text in ("", "a b"):
        with pytest.raises(ConfigError, match=rf"f='{text}': write exactly one of a, b\(x\)"):
            tokens.parse_one(text, vocabulary, "f")


def test_within_includes_both_ends():
    parse_number = tokens.within(0, 0.9)
    assert (parse_number("0"), parse_number("0.9")) == (0.0, 0.9)
    for text in ("-0.1", "0.91", "nan", "x", ""):
        with pytest.raises(ValueError, match=r"no number from 0 to 0\.9"):
            parse_number(text)
