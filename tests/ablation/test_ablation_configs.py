"""Every file of `configs/ablations/` is found here, with its variants; a new one is tested by being there."""

import importlib
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import configs
from resnet_jax import config as fields
from resnet_jax import params, plan, step
from resnet_jax.ablation import before, design, estimate
from resnet_jax.data import pipeline, spec
from resnet_jax.errors import ConfigError
from resnet_jax.models import architecture

ROOT = Path(configs.__file__).parent.parent
FOLDER = ROOT / "configs" / "ablations"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def docstring(name: str) -> str:
    return importlib.import_module(f"configs.ablations.{name}").__doc__


def load(name: str, argument: str | None = None) -> design.Sweep:
    return design.load(str(FOLDER / f"{name}.py"), argument)


def variants(name: str) -> list[str]:
    """What a file knows behind its colon, by its own word."""
    with pytest.raises(ConfigError) as caught:
        load(name, "no_such")
    expected = str(caught.value).partition("expected ")[2]
    return [] if expected == "no argument" else expected.split(" or ")


ALL = [(name, argument) for name in NAMES for argument in (None, *variants(name))]


def test_there_are_sweeps():
    expected = {"he2016_shortcuts", "he2016_placements", "depth_shortcut", "norm_free"}
    assert expected | {"combine", "width_depth", "digits"} <= set(NAMES)
    assert {("he2016_placements", "docs"), ("depth_shortcut", "docs")} <= set(ALL)
    assert all(name == "digits" or (name, "cpu") in ALL for name in NAMES)


@pytest.mark.parametrize(("name", "argument"), ALL)
def test_every_arm_of_every_variant_is_a_valid_config(name, argument):
    sweep = load(name, argument)
    assert sweep.name == name
    assert sweep.question.endswith("?")
    design.validate(sweep)
    before.validate(sweep)


@pytest.mark.parametrize(("name", "argument"), ALL)
def test_arms_differ_and_every_one_is_compared_or_a_control(name, argument):
    sweep = load(name, argument)
    recipes = [fields.flatten(design.resolve(sweep, arm)) for arm in sweep.arms]
    assert all(a != b for i, a in enumerate(recipes) for b in recipes[:i])
    controls = {arm.control for arm in sweep.arms}
    assert all(arm.control is not None or arm.name in controls for arm in sweep.arms)
    assert all(arm.control is None or arm.control not in (None, arm.name) for arm in sweep.arms)


def shrunk(config: ConfigDict) -> ConfigDict:
    """The same kind of network and optimizer for 8 x 8 pixels, in one unit a stage."""
    widths = (4, 8, 8) if config.finetune.freeze else (4, 8)
    config.model.update({"stage_sizes": (1,) * len(widths), "stage_widths": widths, "width": 1.0})
    config.update({"batch_size": 8, "num_steps": 2, "conv_backend": "xla", "augment": ""})
    config.optimizer.update({"warmup": 0.0, "schedule": "constant"})
    config.data.fraction = 1.0
    return config


KINDS = ("name", "clip_norm", "adaptive_clip", "rates")
"""Fields of an optimizer that make it another one."""


def distinct_arms() -> dict[str, ConfigDict]:
    """The first arm of each kind that trains another network, or otherwise trains it, by its name."""
    known, found = set(), {}
    for name, argument in ALL:
        sweep = load(name, argument)
        for arm in sweep.arms:
            config = shrunk(design.resolve(sweep, arm))
            # Numbers alone, such as a rate or the bias of a gate, make no other program.
            model = dict(config.model.to_dict(), depth=None)
            model["shortcut"] = config.model.shortcut.partition("(")[0]
            kind = [config.optimizer[field] for field in KINDS]
            key = repr((sorted(model.items()), kind, config.finetune.freeze))
            if key not in known:
                known.add(key)
                found[f"{name}:{argument} {arm.name}"] = config
    return found


DISTINCT = distinct_arms()


def slow_if_bottleneck(arm: str):
    """Those take longest, and `tests/models/test_designs.py` has them."""
    return pytest.param(arm, marks=[pytest.mark.slow] if DISTINCT[arm].model.bottleneck else [])


@pytest.mark.parametrize("arm", [slow_if_bottleneck(arm) for arm in DISTINCT])
def test_every_arm_takes_a_finite_step_with_its_own_optimizer(
    arm, tiny_dataset, tiny_examples, one_device, compile_in_haste
):
    made = plan.make(DISTINCT[arm], one_device, tiny_dataset)
    recipe = made.recipe
    examples = pipeline.place(tiny_examples, recipe.batches.mesh)
    state = step.init_state(recipe, 0, made.image_shape)
    train = compile_in_haste(lambda state: step.train_step(recipe, state, examples), state)
    after, metrics = train(state)
    assert np.isfinite(metrics.means()["loss"])
    head = (np.asarray(s.params["head"]["kernel"]) for s in (state, after))
    assert (next(head) != next(head)).any()
    for path, leaf in jax.tree.leaves_with_path((after.params, after.batch_stats)):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    shapes = (jax.tree.map(jnp.shape, s.params) for s in (state, after))
    assert next(shapes) == next(shapes)


@pytest.mark.parametrize("name", [name for name, argument in ALL if argument == "cpu"])
def test_a_small_variant_takes_less_than_half_an_hour_on_two_cores(name, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    sweep = load(name, "cpu")
    expected = estimate.estimate(sweep, [], {"JAX_PLATFORMS": "cpu"})
    assert expected.total(sweep.runs) < 1800


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_has_the_command_of_every_variant_the_expected_result_and_the_time(name):
    text = docstring(name)
    commands = re.findall(r"python -m resnet_jax sweep (\S+)", text)
    found = [shlex.split(command)[0].partition(":") for command in commands]
    assert {file for file, _, _ in found} == {f"configs/ablations/{name}.py"}
    assert {argument for _, _, argument in found} == {"", *variants(name)}
    assert "Expected" in text
    assert "Time" in text


@pytest.mark.parametrize("name", NAMES)
def test_a_small_variant_has_two_seeds_and_the_others_eight(name):
    whole = {"transfer": 3}.get(name, 8)
    for argument in (None, *variants(name)):
        assert len(load(name, argument).seeds) == (2 if argument in ("cpu", "tiny") else whole)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_lists_the_sweep(name):
    assert f"`{name}.py`" in (ROOT / "README.md").read_text()


def parameters(config) -> int:
    model = architecture.build(config.model, 10)
    shape = spec.get("cifar10").image_shape
    return params.count(jax.eval_shape(lambda: step.init_variables(model, 0, shape))["params"])


@pytest.mark.parametrize(("argument", "control"), [(None, 8_949_210), ("cpu", 175_066)])
def test_widths_and_depths_have_equal_parameters(argument, control):
    """8,949,210 is WRN-40-4 (arXiv 1605.07146, table 5: 8.9M)."""
    sweep = load("width_depth", argument)
    counts = [parameters(design.resolve(sweep, arm)) for arm in sweep.arms]
    assert counts[0] == control
    assert counts == pytest.approx([control] * len(counts), rel=0.02)


def test_each_depth_has_its_own_control():
    arms = load("depth_shortcut").arms
    for arm in arms:
        if arm.control is not None:
            (control,) = [other for other in arms if other.name == arm.control]
            assert dict(arm.overrides) | {"model.shortcut": "identity"} == control.overrides
