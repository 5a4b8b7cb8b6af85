"""A user's own tokens and units, by import path; docs/plugins.md shows how to write them.

Importing a module runs it. So only names that the user gave for this very command may come here: see
`workdir.read_config` for those that a config in a workdir holds.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax import tokens
from resnet_jax.errors import ConfigError, UserError
from resnet_jax.models.remat import recomputed
from resnet_jax.tokens import REQUIRED, Argument, Signature, Token

_ANNOTATIONS = "int, float, bool, str, Literal[...] of texts, or one of them | None"
_GIVEN_BY_THE_NETWORK = ("parent", "name", "dtype")
"""Fields of a linen module that are no arguments of its token."""


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A token of a user's module.

    Attributes:
        name: of the token, the function and the class.
        module: where it is from.
        target: a function `(x, *, [train], arguments) -> y` or a linen module that is called with
            `(x)` or `(x, train)`.
        signature: its arguments.
        takes_train: whether it is called with `train`.
        takes_dtype: whether it is a linen module with a field `dtype`, that of the computation.
    """

    name: str
    module: str
    target: Callable
    signature: Signature = dataclasses.field(compare=False)
    takes_train: bool
    takes_dtype: bool

    def apply(
        self, token: Token, name: str, x: jax.Array, *, train: bool, dtype: jnp.dtype
    ) -> jax.Array:
        """Applies the token to `x` [B, H, W, C], within the current Flax module.

        Args:
            token: with one argument for each of the signature.
            name: of the linen module, if it is one.
            x: input.
            train: see `ResNet`.
            dtype: of the computation.

        Returns:
            [B, H', W', C'], of the type of `x`.

        Raises:
            ConfigError: the user's code fails or returns something else.
        """
        names = [argument.name for argument in self.signature.arguments]
        arguments = dict(zip(names, token.arguments, strict=True))
        more = {"train": train} if self.takes_train else {}
        try:
            if isinstance(self.target, type):
                arguments |= {"dtype": dtype} if self.takes_dtype else {}
                y = self.target(**arguments, name=name)(x, **more)
            else:
                y = self.target(x, **more, **arguments)
        except Exception as error:
            raise _failure(f"the token {token} of {self.module}", error) from error
        if not isinstance(y, jax.Array) or y.ndim != 4 or y.shape[0] != x.shape[0]:
            raise ConfigError(
                f"the token {token} of {self.module} made {_describe(y)} of {_describe(x)}; "
                "expected an array [B, H, W, C] of as many images"
            )
        return y.astype(x.dtype)


def load(modules: Sequence[str], builtin: Mapping[str, Signature]) -> tuple[Plugin, ...]:
    """Imports modules and finds their tokens: public functions and linen modules.

    Args:
        modules: import paths.
        builtin: tokens whose names are taken.

    Raises:
        ConfigError: a module cannot be imported, or holds something that can be no token, or a name
            that is taken.
    """
    found: dict[str, Plugin] = {}
    for path in modules:
        module = _import(path, "config.model.plugins")
        objects = _public(module)
        if not objects:
            raise ConfigError(
                f"config.model.plugins: {path!r} has no public function or linen module of its own; "
                "write one, such as 'def double(x): return 2 * x'"
            )
        for name, target in objects.items():
            plugin = _plugin(name, path, target)
            owner = found[name].module if name in found else "resnet_jax"
            if name in builtin or name in found:
                raise ConfigError(
                    f"config.model.plugins: {path} has a token {name!r}, but so has {owner}; "
                    "rename it, or write _ in front if it is no token"
                )
            found[name] = plugin
    return tuple(found.values())


def vocabulary(
    builtin: Mapping[str, Signature], plugins: Sequence[Plugin]
) -> Mapping[str, Signature]:
    """The built-in tokens and those of plugins."""
    return {**builtin, **{plugin.name: plugin.signature for plugin in plugins}}


def load_unit(path: str) -> type[nn.Module]:
    """The unit class that `my_pkg.my_unit:MyUnit` names.

    Raises:
        ConfigError: it cannot be imported or is no linen module.
    """
    module_path, _, name = path.partition(":")
    module = _import(module_path, "config.model.unit")
    unit = getattr(module, name, None)
    if unit is None:
        near = difflib.get_close_matches(name, vars(module), n=1)
        hint = f"did you mean {module_path}:{near[0]}?" if near else "define it there"
        raise ConfigError(f"config.model.unit: {module_path} has no {name}; {hint}")
    if not (isinstance(unit, type) and issubclass(unit, nn.Module)):
        raise ConfigError(
            f"config.model.unit={path!r} is no linen module class but {type(unit).__name__}; "
            "see resnet_jax/models/unit.py for the interface"
        )
    return unit


def apply_unit(
    unit: type[nn.Module], spec: Any, options: Any, name: str, x: jax.Array, train: bool
) -> jax.Array:
    """Applies a user's unit to `x` [B, H, W, C], within the current Flax module.

    Returns:
        [B, H / stride, W / stride, features], of the type of `x`.

    Raises:
        ConfigError: the user's code fails or returns another shape.
    """
    try:
        module = unit(spec, options, name=name)
        y = recomputed(module, x, train) if options.remat else module(x, train)
    except Exception as error:
        raise _failure(f"config.model.unit: {unit.__module__}:{unit.__name__}", error) from error
    height, width = (-(-size // spec.stride) for size in x.shape[1:3])
    expected = (x.shape[0], height, width, spec.features)
    if not isinstance(y, jax.Array) or y.shape != expected:
        raise ConfigError(
            f"config.model.unit: {unit.__module__}:{unit.__name__} made {_describe(y)} of "
            f"{_describe(x)}; expected {list(expected)} (stride {spec.stride})"
        )
    return y.astype(x.dtype)


def check(network: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Traces a network that holds a user's code, for training and for evaluation.

    Raises:
        ConfigError: it fails, or keeps state that a run would not.
    """
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    try:
        init = functools.partial(network.init, train=False)
        variables = jax.eval_shape(init, keys, images)
        train = functools.partial(network.apply, train=True, mutable=["batch_stats"], rngs=keys)
        jax.eval_shape(train, variables, images)
    except Exception as error:
        raise _failure("the network with config.model.plugins or unit", error) from error
    others = variables.keys() - {"params", "batch_stats"}
    if others:
        raise ConfigError(
            f"a token or unit of your own keeps {', '.join(sorted(others))}; a run keeps only the "
            "collections params and batch_stats"
        )


def _import(path: str, field: str) -> types.ModuleType:
    try:
        return importlib.import_module(path)
    # A module that exits would end the program as if it had done its work.
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{field}: cannot import {path!r}: {_reason(error)}\n"
            f"it must be a module that Python finds: in {Path.cwd()} or on PYTHONPATH"
        ) from error


def _public(module: types.ModuleType) -> dict[str, Callable]:
    """What `__all__` names, else the functions and linen modules defined there without a `_`."""
    named = getattr(module, "__all__", None)
    if named is not None:
        return {name: getattr(module, name, None) for name in named}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (issubclass(value, nn.Module) if isinstance(value, type) else callable(value))
    }


def _plugin(name: str, path: str, target: Any) -> Plugin:
    where = f"config.model.plugins: {path}.{name}"
    is_module = isinstance(target, type) and issubclass(target, nn.Module)
    if not (is_module or (callable(target) and not isinstance(target, type))):
        raise ConfigError(f"{where} is no function and no linen module; take it out of __all__")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigError(f"{where} is no name of a token; use the letters a-z, digits and _")
    try:
        hints = typing.get_type_hints(target)
        call = list(inspect.signature(target.__call__ if is_module else target).parameters.values())
    except Exception as error:
        raise ConfigError(f"{where} has no readable signature: {_reason(error)}") from error
    call = call[1:] if is_module else call  # without self
    if not call or call[0].kind not in (call[0].POSITIONAL_ONLY, call[0].POSITIONAL_OR_KEYWORD):
        raise ConfigError(f"{where} takes no x; expected, say, (x, *, train, beta: float = 1.0)")
    takes_train = any(parameter.name == "train" for parameter in call[1:])
    if is_module:
        arguments = {
            field.name: REQUIRED if field.default is dataclasses.MISSING else field.default
            for field in dataclasses.fields(target)
            if field.init and field.name not in _GIVEN_BY_THE_NETWORK
        }
    else:
        arguments = {
            parameter.name: REQUIRED if parameter.default is parameter.empty else parameter.default
            for parameter in call[1:]
            if parameter.name != "train"
        }
    parsed = tuple(_argument(where, n, hints.get(n), default) for n, default in arguments.items())
    meaning = (inspect.getdoc(target) or name).splitlines()[0]
    takes_dtype = is_module and any(f.name == "dtype" for f in dataclasses.fields(target))
    return Plugin(name, path, target, Signature(meaning, parsed), takes_train, takes_dtype)


def _argument(where: str, name: str, annotation: Any, default: Any) -> Argument:
    parse = _parser(annotation)
    if parse is None:
        has = "no annotation" if annotation is None else f"the annotation {annotation}"
        raise ConfigError(f"{where}: the argument {name} has {has}; expected {_ANNOTATIONS}")
    if default is REQUIRED or default is None:
        return Argument(name, parse, default)
    try:
        return Argument(name, parse, parse(str(default)))
    except ValueError:
        raise ConfigError(
            f"{where}: the argument {name} has the default {default!r}, which is no {annotation}"
        ) from None


def _parser(annotation: Any) -> Callable[[str], Any] | None:
    """How a token's argument of this type is read; None if there is no way."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        inner = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        return _parser(inner[0]) if len(inner) == 1 else None
    if typing.get_origin(annotation) is typing.Literal:
        choices = typing.get_args(annotation)
        return tokens.word(*choices) if all(isinstance(c, str) for c in choices) else None
    return {int: _integer, float: tokens.number(), bool: _boolean, str: str}.get(annotation)


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise ValueError("is no whole number")
    return int(text)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text.lower() == "true"


def _failure(what: str, error: Exception) -> UserError:
    """The error of a user's code as one to show; one of ours stays as it is."""
    return error if isinstance(error, UserError) else ConfigError(f"{what} fails: {_reason(error)}")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


def _describe(value: Any) -> str:
    if isinstance(value, jax.Array):
        return f"an array {list(value.shape)}"
    return f"a value of the type {type(value).__name__}"
