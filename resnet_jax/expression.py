"""Arithmetic expressions as arguments of tokens, such as `1/sqrt(L)`; never Python's `eval`."""

import ast
import dataclasses
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping


@dataclasses.dataclass(frozen=True)
class Expression:
    """An arithmetic expression that may use some names, such as `1/sqrt(L)`."""

    text: str

    def value(self, **names: float) -> float:
        """Evaluates it.

        Raises:
            ValueError: no expression of `names`, or no finite value (a division by zero, say).
        """
        function = _compile(self.text, names)
        try:
            result = float(function(names))
        except (ArithmeticError, ValueError) as error:  # sqrt(-1) is a ValueError
            raise ValueError(f"has no value: {error}") from None
        if not math.isfinite(result):
            raise ValueError("has no finite value")
        return result

    def uses(self, name: str) -> bool:
        """Whether the name occurs in it."""
        return re.search(rf"\b{re.escape(name)}\b", self.text) is not None

    def __str__(self) -> str:
        return self.text


_LONGEST = 200
"""Characters of an expression; some of many thousand would exhaust the stack of Python's parser."""

_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # of floats: 9**9**9 overflows, where integers would take forever
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}

_Function = Callable[[Mapping[str, float]], float]


def _compile(text: str, names: Collection[str]) -> _Function:
    """A function from the values of `names` to that of the expression.

    Raises:
        ValueError: anything else than arithmetic on numbers and `names`.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        raise ValueError("is no arithmetic expression") from None
    return _compile_node(tree.body, names)


def _compile_node(node: ast.expr, names: Collection[str]) -> _Function:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return lambda values: value
        case ast.Name(id=name) if name in names:
            return lambda values: values[name]
        case ast.BinOp(left, op, right) if type(op) in _OPERATIONS:
            binary = _OPERATIONS[type(op)]
            first, second = _compile_node(left, names), _compile_node(right, names)
            return lambda values: binary(first(values), second(values))
        case ast.UnaryOp(op, operand) if type(op) in _OPERATIONS:
            unary, inner = _OPERATIONS[type(op)], _compile_node(operand, names)
            return lambda values: unary(inner(values))
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument], keywords=[]):
            inner = _compile_node(argument, names)
            return lambda values: math.sqrt(inner(values))
    raise ValueError(
        f"may use numbers, + - * / **, sqrt and {', '.join(names) or 'no names'}, not "
        f"{ast.unparse(node)!r}"
    )


def expression(*names: str) -> Callable[[str], Expression]:
    """An argument parser for expressions of `names`.

    It checks the form only: 1/(L-1) has a value where L is not 1.
    """

    def parse_expression(text: str) -> Expression:
        _compile(text, names)
        return Expression(text)

    return parse_expression
