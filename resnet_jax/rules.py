"""Which values each config field may have; `configs/default.py` says what it means."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from resnet_jax.data import spec
from resnet_jax.models import designs, layers, shortcuts

MAX_POSITIONS = 2**31
"""Images that a run may show: positions in the stream are 32-bit integers."""

MAX_FLOAT32 = 3.4e38
"""About the largest float32, which is what rates and coefficients become."""

MAX_UNITS, MAX_CHANNELS = 10_000, 2**16
"""Beyond every network that fits a machine; without them a slip of the keyboard fills the memory."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which values a field may have.

    Attributes:
        expected: in words, after "expected".
        accepts: value -> whether it is legal.
        optional: whether the field may be unset.
    """

    expected: str
    accepts: Callable[[Any], bool]
    optional: bool = False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(low: int, high: int = MAX_POSITIONS - 1, *, optional: bool = False) -> Rule:
    return Rule(
        f"a whole number from {low} to {high}", lambda v: _is_int(v) and low <= v <= high, optional
    )


def _number(low: float, high: float = MAX_FLOAT32, *, open_low: bool = False) -> Rule:
    """Numbers from `low` up to, but without, `high`; infinity and NaN are none."""
    limit = f"above {low:g}" if open_low else f"at least {low:g}"

    def accepts(v: Any) -> bool:
        number = _is_int(v) or isinstance(v, float)
        return number and (low < v if open_low else low <= v) and v < high

    return Rule(f"a number {limit} and below {high:g}", accepts)


def _choice(*choices: str, optional: bool = False) -> Rule:
    return Rule("one of " + ", ".join(choices), lambda v: v in choices, optional)


def _integers(high: int, example: str, *, optional: bool = False) -> Rule:
    def accepts(v: Any) -> bool:
        return isinstance(v, tuple) and v != () and all(_is_int(x) and 0 < x <= high for x in v)

    words = f"a tuple of whole numbers from 1 to {high}, such as {example}"
    return Rule(words, accepts, optional)


def _increasing_fractions(v: Any) -> bool:
    numbers = isinstance(v, tuple) and all(isinstance(x, int | float) and 0 < x < 1 for x in v)
    return numbers and list(v) == sorted(set(v))


BOOLEAN = Rule("true or false", lambda v: isinstance(v, bool))
_TEXT = Rule("text", lambda v: isinstance(v, str))
_OPTIONAL_TEXT = dataclasses.replace(_TEXT, optional=True)

RULES: Mapping[str, Rule] = {
    "seed": _integer(0, 2**32 - 1),
    "num_epochs": _number(0, MAX_POSITIONS, open_low=True),
    "num_steps": _integer(1, optional=True),
    "batch_size": _integer(1),
    "accumulation": _integer(1),
    "eval_batch_size": _integer(1),
    "precision": _choice("float32", "bfloat16"),
    "conv_backend": _choice("auto", "xla", "native"),
    "augment": _TEXT,
    "label_smoothing": _number(0, 1),
    "ema_decay": _number(0, 1),
    "log_every": _integer(1),
    "eval_every": _integer(1, optional=True),
    "tensorboard": BOOLEAN,
    "profile": BOOLEAN,
    "data.name": _choice(*spec.names(), spec.NONE),
    "data.dir": Rule("a directory", lambda v: isinstance(v, str) and v != "", optional=True),
    "data.prepare": BOOLEAN,
    "data.validation": _integer(0),
    "data.placement": _choice("device"),
    "model.design": _choice(*designs.DESIGNS),
    "model.branch": _OPTIONAL_TEXT,
    "model.after": _OPTIONAL_TEXT,
    "model.stem": _OPTIONAL_TEXT,
    "model.final": _OPTIONAL_TEXT,
    "model.depth": _integer(1, MAX_UNITS),
    "model.width": _number(0, 1000, open_low=True),
    "model.stage_widths": _integers(MAX_CHANNELS, "(16,32,64)"),
    "model.stage_sizes": _integers(MAX_UNITS, "(3,3,3)", optional=True),
    "model.bottleneck": BOOLEAN,
    "model.bottleneck_width": _integer(1, MAX_CHANNELS, optional=True),
    "model.groups": _integer(1, MAX_CHANNELS),
    "model.kernels": Rule(
        "a tuple of odd kernel sizes below 100, such as (3,3)",
        lambda v: (
            isinstance(v, tuple)
            and v != ()
            and all(_is_int(x) and x in range(1, 100, 2) for x in v)
        ),
        optional=True,
    ),
    "model.stride_on": _choice("3x3", "first"),
    "model.shortcut": _choice(*shortcuts.SHORTCUTS),
    "model.projection": _choice(*shortcuts.PROJECTIONS),
    "model.combine": _choice(*layers.COMBINES),
    "model.shared_preact": _choice("paper", "none", "all"),
    "model.norm": _choice(*layers.NORMS),
    "model.activation": _choice(*layers.ACTIVATIONS),
    "model.remat": BOOLEAN,
    "optimizer.name": _choice("sgd", "adamw"),
    "optimizer.learning_rate": _number(0, open_low=True),
    "optimizer.schedule": _choice("cosine", "linear", "step", "constant"),
    "optimizer.milestones": Rule(
        "a tuple of increasing fractions of the run, such as (0.5,0.75)", _increasing_fractions
    ),
    "optimizer.step_factor": _number(0, open_low=True),
    "optimizer.warmup": _number(0, 1),
    "optimizer.warmup_shape": _choice("linear", "constant"),
    "optimizer.warmup_factor": _number(0, open_low=True),
    "optimizer.momentum": _number(0, 1),
    "optimizer.nesterov": BOOLEAN,
    "optimizer.beta1": _number(0, 1),
    "optimizer.beta2": _number(0, 1),
    "optimizer.epsilon": _number(0, open_low=True),
    "optimizer.weight_decay": _number(0),
    "optimizer.decay_coupling": _choice("coupled", "decoupled", optional=True),
    "optimizer.decayed": Rule(
        "a tuple of patterns, such as ('.*/kernel',)",
        lambda v: isinstance(v, tuple) and all(isinstance(x, str) for x in v),
    ),
    "optimizer.clip_norm": _number(0),
    "checkpoint.every": _integer(1),
    "checkpoint.keep": _integer(1),
}
"""Dotted field name -> rule; the names are those of `configs/default.py` (tested)."""
