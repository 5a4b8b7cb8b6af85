import ast
import json
import math
import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import default
from resnet_jax import config as configs
from resnet_jax.data import spec
from resnet_jax.errors import ConfigError

FIELDS = configs.flatten(default.get_config())
TRAIN_IMAGES = spec.get("cifar10").splits["train"]

# Field -> (values at the edges of what it may be, values that it may not be).
INT_MAX = 2**31 - 1
COUNT = ([1, INT_MAX], [0, -1, INT_MAX + 1, 10**400])
OPEN_UNIT = ([0.0, 0, 0.999], [1.0, 1, -1e-9, math.nan, math.inf])
POSITIVE = ([1e-9, 1, 3e38], [0.0, 0, -1.0, math.nan, math.inf, -math.inf, 10**400])
NOT_NEGATIVE = ([0.0, 0, 3e38], [-1e-9, math.nan, math.inf])
BOOLEAN = ([True, False], [0, 1, "true"])
TEXT = (["", "x"], [0, ("x",)])
VALUES = {
    "seed": ([0, 2**32 - 1], [-1, 2**32]),
    "num_epochs": ([1e-9, 164, 2.0**31 - 1], [0.0, -1.0, math.nan, math.inf, 2.0**31]),
    "num_steps": COUNT,
    "batch_size": COUNT,
    "accumulation": COUNT,
    "eval_batch_size": COUNT,
    "precision": (["float32", "bfloat16"], ["float16", "Float32", ""]),
    "profile": BOOLEAN,
    "conv_backend": (["auto", "xla", "native"], ["cudnn", "Auto", ""]),
    "augment": (["", "crop(4) flip"], [0]),
    "eval_augment": (["", "flip crops(5)"], [0]),
    "label_smoothing": OPEN_UNIT,
    "ema_decay": OPEN_UNIT,
    "log_every": COUNT,
    "eval_every": COUNT,
    "early_stopping": ([0, 1, INT_MAX], [-1, INT_MAX + 1]),
    "tensorboard": BOOLEAN,
    "data.name": ([*spec.names(), spec.FOLDER, spec.NONE], ["mnist", "", "CIFAR10"]),
    "data.dir": (["/data", "~"], [""]),
    "data.prepare": BOOLEAN,
    "data.validation": ([0, 1, INT_MAX], [-1, INT_MAX + 1]),
    "data.resize": ([1, 4096], [0, -1, 4097]),
    "data.fraction": ([1e-9, 0.5, 1, 1.0], [0, 0.0, -0.1, 1.001, 2, math.nan, math.inf]),
    "data.fraction_seed": ([0, 2**32 - 1], [-1, 2**32]),
    "data.mix": (spec.names(), ["mnist", "", spec.NONE]),
    "data.mix_fraction": ([1e-9, 0.5, 1, 1.0], [0, 0.0, -0.1, 1.001, 2, math.nan]),
    "data.placement": (["device"], ["host", ""]),
    "data.image_size": ([1, 4096], [0, 4097]),
    "data.test_fraction": OPEN_UNIT,
    "data.broken": OPEN_UNIT,
    "model.design": (["original", "fixup"], ["resnet", ""]),
    "model.init": ([(), ((".*", "fill(0)"),)], [("head",), ((".*", 0),), ((".*",),)]),
    "model.weight_standardization": (["none", "plain", "scaled"], ["full", ""]),
    "model.scaled_activation": BOOLEAN,
    "model.branch": TEXT,
    "model.after": TEXT,
    "model.stem": TEXT,
    "model.final": TEXT,
    "model.head": TEXT,
    "model.depth": ([1, 10_000], [0, -20, 10_001, 2_000_000_000]),
    "model.width": ([1e-9, 1, 999.0], [0.0, -1.0, 1000.0, 1e308, math.nan]),
    "model.stage_widths": ([(1,), (16, 32, 64), (65536,)], [(), (0,), (16, -32), (65537,)]),
    "model.stage_sizes": ([(1,), (10_000, 1)], [(), (0, 1), (3, 3.0), (10**9,), (True,)]),
    "model.bottleneck": BOOLEAN,
    "model.bottleneck_width": ([1, 65536], [0, 65537]),
    "model.groups": ([1, 65536], [0, 65537]),
    "model.kernels": ([(1,), (3, 3), (99,)], [(), (2, 3), (-1,), (0,), (101,), (3.0,), (True,)]),
    "model.stride_on": (["3x3", "first"], ["1x1", ""]),
    "model.shortcut": (["identity", "scale(0.5)"], [0, ("x",)]),
    "model.projection": (["A", "B", "D"], ["a", "", "C"]),
    "model.downsampling": (["stride", "blur", "blur(2)", "blur(7)"], ["", "blur(8)", "blur(1)"]),
    "model.drop_path": OPEN_UNIT,
    "model.drop_path_schedule": (["linear", "constant"], ["cosine", ""]),
    "model.zero_init": BOOLEAN,
    "model.combine": (["add", "add(1, 0.5)"], [0, ("x",)]),
    "model.shared_preact": (["paper", "none", "all", "reshaping", "projected"], ["some", ""]),
    "model.norm": (
        ["batch", "ghost(32)", "group(8)", "layer", "frn", "dyt", "dyt(0.2)", "none"],
        ["batchnorm", "", "group", "ghost(0)", "batch(3)", "group(2) batch", "batch none"],
    ),
    "model.activation": (["relu", "gelu"], ["ReLU", ""]),
    "model.remat": BOOLEAN,
    "model.plugins": ([(), ("a",), ("a.b_c", "d")], [("",), (".a",), ("a:b",), ("a b",), (1,)]),
    "model.unit": (["a:B", "a.b.c:D"], ["", "a", "a.b", ":B", "a:", "a:B:C", "a b:C"]),
    "optimizer.name": (["sgd", "adamw"], ["adam", ""]),
    "optimizer.learning_rate": POSITIVE,
    "optimizer.schedule": (["cosine", "linear", "step", "constant"], ["cos", ""]),
    "optimizer.milestones": ([(), (0.5,), (0.5, 0.75)], [(0.5, 0.4), (0.5, 0.5), (0, 1), ("a",)]),
    "optimizer.step_factor": POSITIVE,
    "optimizer.warmup": OPEN_UNIT,
    "optimizer.warmup_shape": (["linear", "constant"], ["cosine", ""]),
    "optimizer.warmup_factor": POSITIVE,
    "optimizer.momentum": OPEN_UNIT,
    "optimizer.nesterov": BOOLEAN,
    "optimizer.beta1": OPEN_UNIT,
    "optimizer.beta2": OPEN_UNIT,
    "optimizer.epsilon": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.decay_coupling": (["coupled", "decoupled"], ["l2", ""]),
    "optimizer.decayed": ([(), (".*",)], [(1,), ((),)]),
    "optimizer.rates": ([(), ((".*", 0.1), ("head/.*", "1/L"))], [(".*", 0.1), ((".*", True),)]),
    "optimizer.clip_norm": NOT_NEGATIVE,
    "optimizer.adaptive_clip": NOT_NEGATIVE,
    "finetune.init_from": (["runs/a"], [1, ""]),
    "finetune.reinit": ([(), ("head",)], ["head", (1,), ("",)]),
    "finetune.drop": ([(), ("stage4",)], ["head", (1,), ("",)]),
    "finetune.freeze": ([(), ("stem", "all_but_head")], ["head", (1,), ("",)]),
    "finetune.frozen_norms": (["running", "batch"], ["train", ""]),
    "finetune.cache_features": BOOLEAN,
    "finetune.l2_sp": NOT_NEGATIVE,
    "finetune.teacher": (["runs/a"], [1, ""]),
    "finetune.teacher_temperature": POSITIVE,
    "finetune.teacher_weight": ([1e-9, 0.5, 1], [0, 0.0, -0.1, 1.001, math.nan]),
    "finetune.phases": (
        [(), (("head", ()), ("all", (("num_epochs", 5.0), ("tensorboard", True))))],
        ["head", ("head",), (("head",),), (("a b", ()),), (("a", ()), ("a", ())), (("a", ("b",)),)],
    ),
    "probe.every": ([0, 1, INT_MAX], [-1, INT_MAX + 1]),
    "checkpoint.every": COUNT,
    "checkpoint.keep": COUNT,
}
SAMPLES = {bool: True, int: 7, float: 0.5, str: "text", tuple: (3, 3)}


def with_field(field: str, value) -> ConfigDict:
    """The default config with one field set, whatever its type."""
    return _changed({field: value})


def with_fields(**fields) -> ConfigDict:
    """The default config with fields set whatever their type; a double underscore is a dot."""
    return _changed({name.replace("__", "."): value for name, value in fields.items()})


def _changed(fields: dict) -> ConfigDict:
    values = default.get_config().to_dict()
    for field, value in fields.items():
        section, _, leaf = field.rpartition(".")
        (values[section] if section else values)[leaf] = value
    return ConfigDict(values)


def message(config: ConfigDict) -> str:
    """The error of an invalid config: one or two lines."""
    with pytest.raises(ConfigError) as caught:
        configs.validate(config)
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    return text


def slips(name: str) -> list[str]:
    """What a finger makes of a field's last part: a letter dropped, doubled, changed or moved."""
    head, dot, leaf = name.rpartition(".")
    changed = {leaf[:i] + leaf[i + 1 :] for i in range(len(leaf))}
    changed |= {leaf[: i + 1] + leaf[i:] for i in range(len(leaf))}
    changed |= {leaf[:i] + "q" + leaf[i + 1 :] for i in range(len(leaf))}
    changed |= {leaf[:i] + leaf[i + 1] + leaf[i] + leaf[i + 2 :] for i in range(len(leaf) - 1)}
    return [slip for slip in (f"{head}{dot}{part}" for part in changed) if slip not in FIELDS]


def test_rules_and_the_default_config_name_the_same_fields():
    assert configs.RULES.keys() == FIELDS.keys()


def test_the_default_config_is_valid():
    configs.validate(default.get_config())


def test_every_field_has_its_meaning_beside_its_default():
    lines = Path(default.__file__).read_text().splitlines()
    tree = ast.parse("\n".join(lines))
    meanings = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            section = node.targets[0].value.id
            name = ("" if section == "config" else f"{section}.") + node.targets[0].attr
            meanings[name] = lines[node.end_lineno - 1][node.end_col_offset :]
    for field in FIELDS:
        assert re.search(r"# .*\w\w", meanings[field]), field


@pytest.mark.parametrize("field", FIELDS)
def test_a_mistyped_field_is_named_and_mostly_corrected(field):
    corrected = 0
    for slip in slips(field):
        with pytest.raises(ConfigError) as caught:
            configs.expected(slip)
        assert str(caught.value).startswith(f"config.{slip} is no field; ")
        corrected += str(caught.value).endswith(f"did you mean {field}?")
    assert corrected > len(slips(field)) / 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("optimizer.lr", "did you mean optimizer.learning_rate?"),
        ("learning_rate", "did you mean optimizer.learning_rate?"),
        ("epochs", "did you mean num_epochs?"),
        ("probe.frequency", "there are probe.every"),
        ("x", "configs/default.py lists the fields"),
    ],
)
def test_a_name_of_other_code_bases_leads_to_ours(name, words):
    with pytest.raises(ConfigError) as caught:
        configs.expected(name)
    assert str(caught.value) == f"config.{name} is no field; {words}"


@pytest.mark.parametrize("field", FIELDS)
def test_a_mistyped_field_in_a_config_is_refused(field):
    slip = slips(field)[0]
    assert f"config.{slip} is no field" in message(with_field(slip, FIELDS[field]))


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_of_another_type_is_refused_with_the_field_and_what_is_expected(field):
    section, _, leaf = field.rpartition(".")
    kind = (default.get_config()[section] if section else default.get_config()).get_type(leaf)
    fits = {kind, int} if kind is float else {kind}
    wrong = [value for other, value in SAMPLES.items() if other not in fits]
    assert len(wrong) >= 3
    for value in [*wrong, b"x"] + ([] if configs.RULES[field].optional else [None]):
        text = message(with_field(field, value))
        assert f"config.{field}={value!r}: expected {configs.RULES[field].expected}" in text


def test_the_table_of_values_lists_every_field():
    assert VALUES.keys() == FIELDS.keys()


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_out_of_range_is_refused_with_the_field(field):
    for value in VALUES[field][1]:
        assert f"config.{field}={value!r}: expected " in message(with_field(field, value))


@pytest.mark.parametrize("field", FIELDS)
def test_values_at_the_edges_of_a_range_are_accepted(field):
    for value in VALUES[field][0]:
        assert configs.RULES[field].accepts(value), value


def test_exactly_the_fields_that_are_unset_by_default_may_be_unset():
    assert {f for f, rule in configs.RULES.items() if rule.optional} == {
        f for f, value in FIELDS.items() if value is None
    }


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"accumulation": 3}, ["accumulation=3", "batch_size=128"]),
        ({"batch_size": 2, "accumulation": 4}, ["accumulation=4", "batch_size=2"]),
        ({"data__validation": 50_000}, ["data.validation=50000", "50000 training images"]),
        ({"model__bottleneck_width": 4}, ["bottleneck_width", "--config.model.bottleneck=true"]),
        (
            {"optimizer__name": "adamw", "optimizer__decay_coupling": "coupled"},
            ["decay_coupling='coupled'", "optimizer.name='adamw'", "decoupled"],
        ),
        ({"optimizer__name": "adamw", "optimizer__nesterov": True}, ["nesterov=True", "sgd"]),
        ({"optimizer__momentum": 0.0, "optimizer__nesterov": True}, ["nesterov=True", "momentum"]),
        (
            {"optimizer__schedule": "step", "optimizer__warmup": 0.6},
            ["warmup=0.6", "milestones=(0.5, 0.75)"],
        ),
        ({"optimizer__schedule": "step", "optimizer__milestones": ()}, ["milestones", "constant"]),
        ({"model__stage_sizes": (3, 3)}, ["model.stage_sizes=(3, 3)", "model.stage_widths"]),
        ({"model__depth": 21}, ["model.depth=21", "6n+2"]),
        ({"model__width": 0.5}, ["model.projection='A'", "'B'"]),
        ({"model__groups": 3}, ["model.groups=3"]),
        (
            {"model__projection": "C"},
            ["model.projection='C'", "projection=B --config.model.shortcut='conv(norm)'"],
        ),
        ({"data__resize": 3}, ["data.resize=3", "at least 4"]),
        ({"model__kernels": (3,)}, ["model.branch", "model.kernels"]),
        (
            {"model__shortcut": "none", "model__combine": "orthogonal"},
            ["model.combine='orthogonal'", "model.shortcut='none'"],
        ),
        ({"optimizer__rates": ((".*", "1/(L-9)"),)}, ["optimizer.rates", "1/(L-9)"]),
        ({"finetune__drop": ("head",)}, ["finetune.drop=('head',)", "--config.finetune.init_from"]),
        ({"data__resize": 64, "eval_augment": "crops(5, 64)"}, ["crops(5, 64)", "64x64"]),
        ({"data__image_size": 32}, ["data.image_size", "data.name=folder"]),
        ({"data__name": "folder"}, ["data.name='folder'", "data.dir"]),
        ({"data__name": "folder", "data__dir": "x"}, ["data.name='folder'", "data.image_size"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_fields_that_contradict_each_other_are_all_named(fields, named):
    text = message(with_fields(**fields))
    assert all(words in text for words in named), text


@pytest.mark.parametrize(
    ("field", "value", "token"),
    [
        ("model.branch", "", "has no 'conv'"),
        ("model.branch", "cnv act conv", "'cnv'"),
        ("model.branch", "conv,act", "','"),
        ("model.branch", "conv act(foo) conv", "foo"),
        ("model.branch", "conv act( conv", "'('"),
        ("model.branch", "conv drop(1) conv", "drop(1)"),
        ("model.branch", "conv mul(1/0) conv", "mul(1/0)"),
        ("model.branch", "conv mul(__import__('os')) conv", "__import__"),
        ("model.branch", "cönv", "'ö'"),
        ("model.after", "act act relu", "'relu'"),
        ("model.after", "conv", "'conv'"),
        ("model.stem", "cifar10", "'cifar10'"),
        ("model.final", "norm ac", "'ac'"),
        ("model.head", "dense act", "features"),
        ("model.head", "conv", "'conv'"),
        ("model.shortcut", "gate(-6)", "exclusive_gate(bias)"),
        ("model.combine", "sum", "'sum'"),
        ("augment", "crop", "pixels"),
        ("augment", "crop(4) flp", "'flp'"),
        ("augment", "crop(32)", "32x32"),
        ("augment", "cutout(-1)", "cutout(-1)"),
        ("augment", "mixup", "alpha"),
        ("augment", "mixup(1) flip cutmix(1)", "flip"),
        ("augment", "randaugment(2, 11)", "randaugment(2, 11)"),
        ("augment", "erase(0.5, 0.4, 0.1)", "smaller share first"),
        ("eval_augment", "flop", "'flip'"),
        ("eval_augment", "crops(4)", "5, 9"),
        ("eval_augment", "crops(5, 32)", "32x32"),
        ("eval_augment", "flip flip", "once"),
    ],
)
def test_a_bad_string_of_tokens_is_refused_with_the_field_and_the_token(field, value, token):
    text = message(with_field(field, value))
    assert f"config.{field}" in text
    assert token in text


def test_a_config_that_lacks_fields_is_refused_with_their_names():
    config = default.get_config()
    del config.seed
    assert "the config lacks seed;" in message(config)
    assert "seed, num_epochs, num_steps and 91 more fields" in message(ConfigDict())


@pytest.mark.parametrize("devices", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_a_batch_that_the_devices_do_not_divide_is_refused_with_one_that_they_do(
    devices, accumulation
):
    for batch_size in (accumulation * n for n in (1, 2, 5, 8, 24, 127)):
        config = with_fields(batch_size=batch_size, accumulation=accumulation)
        if batch_size // accumulation % devices == 0:
            configs.check_devices(config, devices)
            continue
        with pytest.raises(ConfigError, match=r"--config\.batch_size=\d+") as caught:
            configs.check_devices(config, devices)
        config.batch_size = int(re.search(r"--config\.batch_size=(\d+)", str(caught.value))[1])
        configs.check_devices(config, devices)


def test_a_run_ends_before_its_positions_overflow_32_bits():
    longest = with_fields(batch_size=1, num_steps=INT_MAX)
    configs.validate(longest)
    assert "2,147,483,648" in message(with_fields(batch_size=2, num_steps=2**30))
    assert "num_steps" in message(with_fields(batch_size=2**16, num_steps=2**15))
    assert "num_epochs" in message(with_fields(num_epochs=42_950.0))
    assert "num_epochs" in message(with_fields(num_epochs=2.0**31 - 1))


def test_the_length_is_the_number_of_epochs_in_whole_steps_unless_steps_are_given():
    assert configs.num_steps(with_fields(num_epochs=1.0)) == round(TRAIN_IMAGES / 128)
    assert configs.num_steps(with_fields(num_epochs=164.0)) == round(164 * TRAIN_IMAGES / 128)
    assert configs.num_steps(with_fields(num_epochs=1e-9)) == 1
    assert configs.num_steps(with_fields(num_epochs=1.0, num_steps=7)) == 7
    held_out = with_fields(num_epochs=1.0, data__validation=5000)
    assert configs.train_examples(held_out) == TRAIN_IMAGES - 5000
    assert configs.num_steps(held_out) == round((TRAIN_IMAGES - 5000) / 128)


def test_a_config_survives_json_with_its_tuples_and_unset_fields():
    config = with_fields(
        model__stage_sizes=(1, 2, 3),
        model__after="",
        num_epochs=0.1,
        data__dir='/data/"ü"\n',
        optimizer__milestones=(),
        model__init=(("head/.*", "fill(0)"), (r"stage\d/.*", "mul(2)")),
        optimizer__rates=((".*", 0.1), ("head/.*", "1/L")),
    )
    again = configs.from_json(configs.to_json(config))
    assert configs.flatten(again) == configs.flatten(config)
    assert [type(v) for v in configs.flatten(again).values()] == [
        type(v) for v in configs.flatten(config).values()
    ]
    configs.validate(again)
    assert configs.to_json(again) == configs.to_json(config)


def test_json_names_every_field_on_its_own_line():
    text = configs.to_json(default.get_config())
    for field in FIELDS:
        assert re.search(rf'^ +"{field.rpartition(".")[2]}": ', text, re.MULTILINE), field


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "{", '{"a.b": 1}', '{"__class__": 1}'])
def test_what_is_no_object_of_fields_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"\w"):
        configs.from_json(text)


def test_flatten_names_fields_with_dots():
    nested = {"a": 1, "b": {"c": (2,), "d": {"e": None}}}
    assert configs.flatten(nested) == {"a": 1, "b.c": (2,), "b.d.e": None}
    assert configs.flatten(ConfigDict(nested)) == configs.flatten(nested)


ARGUMENTS = {"depth": 20, "width": 1.0, "recipe": "cosine", "bottleneck": False}


class TestParseArguments:
    def test_values_have_the_types_of_their_defaults(self):
        text = "depth=56,width=2,recipe=a=b,bottleneck=1"
        parsed = configs.parse_arguments(text, **ARGUMENTS)
        assert parsed == {"depth": 56, "width": 2.0, "recipe": "a=b", "bottleneck": True}
        assert [type(v) for v in parsed.values()] == [int, float, str, bool]

    @pytest.mark.parametrize("text", [None, ""])
    def test_nothing_means_the_defaults(self, text):
        before = dict(ARGUMENTS)
        assert configs.parse_arguments(text, **ARGUMENTS) == before == ARGUMENTS

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("dept=3", "'dept=3' is unknown"),
            ("depth", "'depth' is unknown"),
            ("depth=20,", "'' is unknown"),
            ("depth=1,depth=2", "'depth=2' is given twice"),
            ("depth=1e3", "'depth=1e3': expected a whole number"),
            ("depth=", "'depth=': expected a whole number"),
            ("width=wide", "'width=wide': expected a number"),
            ("bottleneck=2", "'bottleneck=2': expected 0 or 1"),
            (" depth=3", "' depth=3' is unknown"),
        ],
    )
    def test_anything_else_is_refused_with_the_argument(self, text, named):
        with pytest.raises(ConfigError) as caught:
            configs.parse_arguments(text, **ARGUMENTS)
        assert str(caught.value).startswith(f"config argument {named}")
        assert len(str(caught.value).splitlines()) == 1

    def test_the_legal_arguments_are_listed_as_one_types_them(self):
        with pytest.raises(ConfigError, match=r"depth=20, width=1\.0, recipe=cosine, bottleneck=0"):
            configs.parse_arguments("x=1", **ARGUMENTS)


def test_a_stored_config_with_impossible_numbers_is_refused_like_any_other():
    values = default.get_config().to_dict()
    for field in ("num_steps", "batch_size", "seed", "num_epochs", "log_every"):
        changed = values | {field: 10**400}
        assert f"config.{field}=" in message(configs.from_json(json.dumps(changed)))
