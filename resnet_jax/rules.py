"""Which values each config field may have; `configs/default.py` says what it means."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any

from resnet_jax.data import spec
from resnet_jax.models import (
    designs,
    layers,
    norms,
    pooling,
    shortcuts,
    standardization,
    variations,
)

MAX_POSITIONS = 2**31
"""Images that a run may show: positions in the stream are 32-bit integers."""

MAX_FLOAT32 = 3.4e38
"""About the largest float32, which is what rates and coefficients become."""

MAX_IMAGE_SIZE = 4096
"""Pixels: beyond what fits a device's memory in any number."""

MAX_UNITS, MAX_CHANNELS = 10_000, 2**16
"""Beyond every network that fits a machine; without them a slip of the keyboard fills the memory."""


MAX_PIXELS = 4096
"""The side of an image; likewise."""


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


_SHARE = Rule(
    "a number above 0 and at most 1", lambda v: (_is_int(v) or isinstance(v, float)) and 0 < v <= 1
)


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


def _is_pairs(v: Any, second: type | UnionType) -> bool:
    """Whether it is a tuple of (pattern, value) pairs."""
    return isinstance(v, tuple) and all(
        isinstance(x, tuple)
        and len(x) == 2
        and isinstance(x[0], str)
        and isinstance(x[1], second)
        and (second is object or not isinstance(x[1], bool))
        for x in v
    )


_MODULE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


def _modules(v: Any) -> bool:
    return isinstance(v, tuple) and all(
        isinstance(x, str) and re.fullmatch(_MODULE, x, re.ASCII) is not None for x in v
    )


def _patterns(example: str) -> Rule:
    def accepts(v: Any) -> bool:
        return isinstance(v, tuple) and all(isinstance(x, str) and x != "" for x in v)

    comma = "" if "," in example else ","
    return Rule(f"a tuple of patterns, such as ({example}{comma})", accepts)


def _phases(v: Any) -> bool:
    """Whether it is a tuple of names with (field, value) pairs."""
    pairs = isinstance(v, tuple) and all(isinstance(x, tuple) and len(x) == 2 for x in v)
    return (
        pairs
        and all(isinstance(x[0], str) and re.fullmatch(r"\w+", x[0], re.ASCII) for x in v)
        and len({x[0] for x in v}) == len(v)
        and all(isinstance(x[1], tuple) and all(_is_pairs((y,), object) for y in x[1]) for x in v)
    )


BOOLEAN = Rule("true or false", lambda v: isinstance(v, bool))
_TEXT = Rule("text", lambda v: isinstance(v, str))
_WORKDIR = Rule("a workdir", lambda v: isinstance(v, str) and v != "", optional=True)
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
    "eval_augment": _TEXT,
    "label_smoothing": _number(0, 1),
    "ema_decay": _number(0, 1),
    "log_every": _integer(1),
    "eval_every": _integer(1, optional=True),
    "early_stopping": _integer(0),
    "tensorboard": BOOLEAN,
    "profile": BOOLEAN,
    "data.name": _choice(*spec.names(), spec.FOLDER, spec.NONE),
    "data.dir": Rule("a directory", lambda v: isinstance(v, str) and v != "", optional=True),
    "data.prepare": BOOLEAN,
    "data.validation": _integer(0),
    "data.resize": _integer(1, MAX_PIXELS, optional=True),
    "data.fraction": _SHARE,
    "data.fraction_seed": _integer(0, 2**32 - 1),
    "data.mix": _choice(*spec.names(), optional=True),
    "data.mix_fraction": _SHARE,
    "data.placement": _choice("device"),
    "data.image_size": _integer(1, MAX_IMAGE_SIZE, optional=True),
    "data.test_fraction": _number(0, 1),
    "data.broken": _number(0, 1),
    "model.design": _choice(*designs.DESIGNS),
    "model.branch": _OPTIONAL_TEXT,
    "model.after": _OPTIONAL_TEXT,
    "model.stem": _OPTIONAL_TEXT,
    "model.final": _OPTIONAL_TEXT,
    "model.head": _TEXT,
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
    "model.shortcut": _TEXT,
    "model.projection": dataclasses.replace(
        _choice(*shortcuts.PROJECTIONS),
        expected=f"one of {', '.join(shortcuts.PROJECTIONS)}; C is "
        "--config.model.projection=B --config.model.shortcut='conv(norm)'",
    ),
    "model.downsampling": Rule(
        f"one of {pooling.USAGE}, size from 2 to {pooling.MAX_BLUR}", pooling.is_downsampling
    ),
    "model.drop_path": _number(0, 1),
    "model.drop_path_schedule": _choice(*variations.DROP_PATH_SCHEDULES),
    "model.zero_init": BOOLEAN,
    "model.combine": _TEXT,
    "model.shared_preact": _choice(*designs.SHARED_PREACTS, optional=True),
    "model.norm": Rule(f"one of {norms.USAGE}", norms.is_kind),
    "model.activation": _choice(*layers.ACTIVATIONS),
    "model.remat": BOOLEAN,
    "model.weight_standardization": _choice(*standardization.STANDARDIZATIONS, optional=True),
    "model.scaled_activation": dataclasses.replace(BOOLEAN, optional=True),
    "model.init": Rule(
        "a tuple of (pattern, rule) pairs, such as (('head/.*','fill(0)'),)",
        lambda v: _is_pairs(v, str),
        optional=True,
    ),
    "model.plugins": Rule(
        "a tuple of import paths of modules, such as ('my_pkg.my_tokens',)", _modules
    ),
    "model.unit": Rule(
        "an import path such as my_pkg.my_unit:MyUnit",
        lambda v: isinstance(v, str) and re.fullmatch(rf"{_MODULE}:[A-Za-z_]\w*", v) is not None,
        optional=True,
    ),
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
    "optimizer.decayed": _patterns("'.*/kernel'"),
    "optimizer.rates": Rule(
        "a tuple of (pattern, factor) pairs, such as (('head/.*',0.1),)",
        lambda v: _is_pairs(v, str | int | float),
        optional=True,
    ),
    "optimizer.clip_norm": _number(0),
    "optimizer.adaptive_clip": _number(0),
    "finetune.init_from": dataclasses.replace(
        _WORKDIR, expected="a workdir, WORKDIR/checkpoints/STEP, or a file of PyTorch's weights"
    ),
    "finetune.reinit": _patterns("'head'"),
    "finetune.drop": _patterns("'stage4'"),
    "finetune.freeze": _patterns("'stem','stage1'"),
    "finetune.frozen_norms": _choice("running", "batch"),
    "finetune.cache_features": BOOLEAN,
    "finetune.l2_sp": _number(0),
    "finetune.teacher": _WORKDIR,
    "finetune.teacher_temperature": _number(0, open_low=True),
    "finetune.teacher_weight": _SHARE,
    "finetune.phases": Rule(
        "a tuple of (name, ((field, value), ...)) pairs with different names of letters and digits, "
        "such as (('head',(('num_epochs',5.0),)),)",
        _phases,
    ),
    "probe.every": _integer(0),
    "checkpoint.every": _integer(1),
    "checkpoint.keep": _integer(1),
}
"""Dotted field name -> rule; the names are those of `configs/default.py` (tested)."""
