"""Checks a config before anything is written or downloaded: names, types, ranges, contradictions.

`configs/default.py` lists the fields with their meaning, `rules.py` the values each may have.
"""

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from resnet_jax import early_stopping
from resnet_jax.data import augment, fraction, mix, resize, spec, views
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import features, l2_sp, phases
from resnet_jax.models import architecture, places, plugins
from resnet_jax.optimizer import rate_factors
from resnet_jax.rules import MAX_POSITIONS, RULES


def flatten(config: Mapping, prefix: str = "") -> dict[str, Any]:
    """The fields of a config by dotted name."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def expected(field: str) -> str:
    """What `field` may be, in words.

    Raises:
        ConfigError: there is no such field; names the nearest one.
    """
    if field not in RULES:
        raise ConfigError(f"config.{field} is no field; {_hint(field)}")
    rule = RULES[field]
    return rule.expected + (", or None for unset" if rule.optional else "")


_OTHER_NAMES = {
    "lr": "optimizer.learning_rate",
    "wd": "optimizer.weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "epochs": "num_epochs",
    "steps": "num_steps",
    "bn": "model.norm",
    "block": "model.design",
    "layers": "model.depth",
    "warmup_epochs": "optimizer.warmup",
    "pretrained": "finetune.init_from",
}
"""What other code bases call some fields."""


def _hint(field: str) -> str:
    """The field that may have been meant by a name that is none."""
    section, _, leaf = field.rpartition(".")
    named = [known for known in RULES if known.rpartition(".")[2] == leaf]
    if leaf in _OTHER_NAMES or len(named) == 1:
        return f"did you mean {_OTHER_NAMES.get(leaf) or named[0]}?"
    near = difflib.get_close_matches(field, RULES, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]}?"
    inside = [known for known in RULES if section and known.startswith(f"{section}.")]
    return f"there are {', '.join(inside)}" if inside else "configs/default.py lists the fields"


def check_names(config: ConfigDict) -> None:
    """Checks that a config has all fields and no others.

    Raises:
        ConfigError: it does not.
    """
    flat = flatten(config)
    for field in flat:
        expected(field)
    missing = [field for field in RULES if field not in flat]
    if missing:
        more = f" and {len(missing) - 3} more fields" if len(missing) > 3 else ""
        raise ConfigError(
            f"the config lacks {', '.join(missing[:3])}{more}; start from configs/default.py"
        )


def validate(config: ConfigDict, dataset: Dataset | None = None) -> None:
    """Checks a whole config.

    Args:
        config: fields as in `configs/default.py`.
        dataset: that of the config if None.

    Raises:
        ConfigError: the first thing that is wrong: the field, its value and what to type.
        DataError: its data set is a directory, which is not what it should be.
    """
    check_names(config)
    for field, value in flatten(config).items():
        rule = RULES[field]
        if not (rule.accepts(value) if value is not None else rule.optional):
            raise ConfigError(f"config.{field}={value!r}: expected {expected(field)}")
    dataset = spec.of(config.data) if dataset is None else dataset
    _check_data(config, dataset)
    _check_optimizer(config.optimizer)
    if config.batch_size % config.accumulation:
        raise ConfigError(
            f"config.accumulation={config.accumulation} does not divide "
            f"config.batch_size={config.batch_size}; choose a divisor"
        )
    if config.model.bottleneck_width and not config.model.bottleneck:
        raise ConfigError(
            "config.model.bottleneck_width is set but the units are basic; "
            "add --config.model.bottleneck=true or leave it unset"
        )
    if config.finetune.drop and config.finetune.init_from is None:
        raise ConfigError(
            f"config.finetune.drop={config.finetune.drop!r} leaves out parts of weights, and there are none; "
            "name them by --config.finetune.init_from=WORKDIR or FILE, or leave it empty"
        )
    augment.parse(config.augment, dataset.image_shape)
    views.parse(config.eval_augment, resize.shape(dataset.image_shape, config.data.resize))
    channels = dataset.image_shape[-1]
    network = architecture.build(config.model, dataset.num_classes, channels=channels)
    places.check_batch(network, channels, config.batch_size // config.accumulation)
    resize.check(config.data.resize, places.total_stride(network))
    rate_factors(config)
    features.check(config)
    l2_sp.check(config)
    if config.model.plugins or config.model.unit:
        plugins.check(network, resize.shape(dataset.image_shape, config.data.resize))
    for phase in phases.configs(config):
        validate(phase, dataset if phase.data == config.data else None)


def _check_data(config: ConfigDict, dataset: Dataset) -> None:
    images = dataset.splits["train"]
    if config.data.validation >= images:
        raise ConfigError(
            f"config.data.validation={config.data.validation} leaves nothing to train on; "
            f"{dataset.name} has {images} training images"
        )
    mix.check(config, dataset)
    own = _own_examples(config, dataset)
    if own < dataset.num_classes and config.data.fraction < 1:
        raise ConfigError(fraction.too_few(config.data.fraction, own, dataset.num_classes))
    if config.data.image_size is not None and config.data.name != spec.FOLDER:
        raise ConfigError(
            f"config.data.image_size is set but config.data.name={config.data.name!r} has images of "
            f"one size; leave it unset, or write --config.data.name={spec.FOLDER}"
        )
    if config.eval_every is not None and not config.data.validation:
        raise ConfigError(
            "config.eval_every is set but no images are held out; "
            "add, say, --config.data.validation=5000, or leave it unset"
        )
    early_stopping.check(config)
    shown = num_steps(config, dataset) * config.batch_size
    if shown >= MAX_POSITIONS:
        length = "num_epochs" if config.num_steps is None else "num_steps"
        raise ConfigError(
            f"the run would show {shown:,} images, the limit is {MAX_POSITIONS - 1:,}; "
            f"lower config.{length} or config.batch_size"
        )


def _check_optimizer(optimizer: ConfigDict) -> None:
    if optimizer.name == "adamw" and optimizer.decay_coupling == "coupled":
        raise ConfigError(
            "config.optimizer.decay_coupling='coupled' contradicts config.optimizer.name='adamw'; "
            "leave it unset, or write 'decoupled'"
        )
    if optimizer.nesterov and (optimizer.name != "sgd" or optimizer.momentum == 0):
        raise ConfigError(
            "config.optimizer.nesterov=True needs config.optimizer.name='sgd' and a momentum above 0; "
            "write, say, --config.optimizer.nesterov=false"
        )
    if optimizer.schedule == "step" and not optimizer.milestones:
        raise ConfigError(
            "config.optimizer.schedule='step' needs config.optimizer.milestones, such as (0.5,0.75); "
            "for a rate without steps write 'constant'"
        )
    if optimizer.schedule == "step" and optimizer.milestones[0] < optimizer.warmup:
        raise ConfigError(
            f"config.optimizer.warmup={optimizer.warmup} lasts beyond the first of "
            f"config.optimizer.milestones={optimizer.milestones}; make it shorter"
        )


def check_devices(config: ConfigDict, devices: int) -> None:
    """Checks that every device gets as many images of a micro-batch as the others.

    Raises:
        ConfigError: it does not.
    """
    micro_batch = config.batch_size // config.accumulation
    if micro_batch % devices:
        below = micro_batch // devices * devices or devices
        raise ConfigError(
            f"{devices} devices do not divide a micro-batch of {micro_batch} images "
            f"(config.batch_size / config.accumulation); write, say, "
            f"--config.batch_size={below * config.accumulation}"
        )


def train_examples(config: ConfigDict, dataset: Dataset | None = None) -> int:
    """Images that a run trains on."""
    return _own_examples(config, dataset) + mix.size(config)


def _own_examples(config: ConfigDict, dataset: Dataset | None) -> int:
    """Those of `data.name`: a fraction of what is not held out for validation."""
    dataset = spec.of(config.data) if dataset is None else dataset
    kept = dataset.splits["train"] - config.data.validation
    return fraction.size(kept, config.data.fraction)


def num_steps(config: ConfigDict, dataset: Dataset | None = None) -> int:
    """Steps of the run: `num_steps`, else `num_epochs` in steps, at least 1."""
    if config.num_steps is not None:
        return config.num_steps
    return max(1, round(config.num_epochs * train_examples(config, dataset) / config.batch_size))


def to_json(config: ConfigDict) -> str:
    """The resolved config as indented JSON, one field a line."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> ConfigDict:
    """The config that `to_json` wrote; it is data only and not yet validated.

    Raises:
        ValueError: not JSON, or not an object of fields.
    """

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: restore(item) for key, item in value.items()}
        return tuple(map(restore, value)) if isinstance(value, list) else value

    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    try:
        return ConfigDict(restore(data))
    except AttributeError as error:  # a key that ConfigDict needs for itself
        raise ValueError(str(error)) from None


_ARGUMENT_TYPES: Mapping[type, tuple[str, Callable[[str], Any]]] = {
    bool: ("0 or 1", {"0": False, "1": True}.__getitem__),
    int: ("a whole number", int),
    float: ("a number", float),
    str: ("text", str),
}


def parse_arguments(text: str | None, **defaults: Any) -> dict[str, Any]:
    """Reads what follows the colon of `--config FILE:ARG,...`, for a config's `get_config`.

    Args:
        text: `name=value` pairs separated by commas; None or "" for none.
        **defaults: the arguments that exist; a value is read as its default's type, a bool from
            0 or 1.

    Raises:
        ConfigError: an unknown or repeated argument, or a value of another type.
    """
    values = dict(defaults)
    # As one types them: 0 and not False.
    typed = {name: int(v) if isinstance(v, bool) else v for name, v in defaults.items()}
    legal = ", ".join(f"{name}={value}" for name, value in typed.items()) or "none"
    given = set()
    for item in text.split(",") if text else ():
        name, equals, value = item.partition("=")
        if name not in defaults or name in given or not equals:
            problem = "is given twice" if name in given else "is unknown"
            raise ConfigError(f"config argument {item!r} {problem}; the arguments are {legal}")
        given.add(name)
        words, read = _ARGUMENT_TYPES[type(defaults[name])]
        try:
            values[name] = read(value)
        except (ValueError, KeyError):
            raise ConfigError(f"config argument {item!r}: expected {words}") from None
    return values
