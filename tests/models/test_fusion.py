"""Networks on the native kernels against the same networks on XLA's convolutions."""

import jax
import numpy as np
import pytest

from resnet_jax import checkpoint, plan, sharding, step, steps, train
from resnet_jax.data import pipeline
from resnet_jax.metrics import Metrics
from resnet_jax.models import fusion
from resnet_jax.models.designs import DESIGNS
from resnet_jax.native import build

CALL = 'custom_call_target="resnet_'

OTHER_STRINGS = {
    "open_skipinit": ("act conv act conv gain(0.5)", ""),
    "open_fixup": ("bias conv bias act bias conv gain bias", "act"),
    "other_activation": ("conv norm act(silu) conv norm", "act(silu)"),
    "no_norm": ("conv norm(none) act conv norm(none)", "act"),
    "dropout": ("norm act conv drop(0.3) norm act conv", ""),
}


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """Skips where the kernels cannot be built."""
    built = build.library()
    if isinstance(built, build.Unavailable):
        pytest.skip(built.reason)


@pytest.fixture
def config(tiny_config):
    """Channels that fill a vector, and a first step that moves."""
    tiny_config.model.stage_widths = (16, 16, 32)
    tiny_config.optimizer.warmup = 0.0
    tiny_config.optimizer.learning_rate = 0.01
    return tiny_config


@pytest.fixture
def compute(config):
    """A function from a backend and devices to gradients, statistics, metrics, and the program."""

    def run(backend, devices=1):
        config.conv_backend = backend
        made = plan.make(config, jax.devices()[:devices])
        assert made.backend.name == backend
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
        labels = random.integers(0, 10, 32).astype(np.int32)
        examples = pipeline.place(pipeline.Examples(images, labels), made.recipe.batches.mesh)
        state = step.init_state(made.recipe, 0, (8, 8, 1))
        compiled = (
            jax.jit(lambda s: step._gradients(made.recipe, s, examples)).lower(state).compile()
        )
        gradients, statistics, metrics = compiled(state)
        return state, gradients, statistics, metrics.means(), compiled.as_text()

    return run


def assert_same_network(ours, theirs):
    """Equal but for rounding; a ReLU that rounding switches over moves single gradients by more."""
    assert checkpoint.sha256(ours[0]) == checkpoint.sha256(theirs[0])  # the same initial state
    assert ours[3] == pytest.approx(theirs[3], rel=1e-5)
    differences = [
        float(np.abs(a - b).max() / (np.abs(b).max() + 1e-6))
        for a, b in zip(
            *(map(np.asarray, jax.tree.leaves(r[1])) for r in (ours, theirs)), strict=True
        )
    ]
    assert np.median(differences) < 2e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours[2], theirs[2])


@pytest.mark.parametrize("design", [*DESIGNS, *OTHER_STRINGS])
def test_every_design_is_the_same_network_on_both_backends(config, compute, design):
    config.model.stage_sizes, config.model.stage_widths = (1, 1), (16, 32)
    if design in DESIGNS:
        config.model.design = design
    else:
        config.model.branch, config.model.after = OTHER_STRINGS[design]
    ours, theirs = compute("native"), compute("xla")
    assert CALL in ours[4]
    assert CALL not in theirs[4]
    assert_same_network(ours, theirs)


@pytest.mark.parametrize("design", [*DESIGNS, *OTHER_STRINGS])
def test_every_design_evaluates_the_same_on_both_backends(config, compile_in_haste, design):
    """With statistics of batches that differ from the initial ones, which a fused norm could get wrong."""
    config.model.stage_sizes, config.model.stage_widths = (1, 1), (16, 32)
    if design in DESIGNS:
        config.model.design = design
    else:
        config.model.branch, config.model.after = OTHER_STRINGS[design]
    random = np.random.default_rng(0)
    images = random.normal(size=(8, 8, 8, 1)).astype(np.float32)
    found, text = {}, {}
    for backend in ("native", "xla"):
        config.conv_backend = backend
        model = plan.make(config, jax.devices()[:1]).recipe.model
        if not found:
            # Away from what a fresh network has: scales of 1, zeros behind a branch, a head of 0.
            variables = step.init_variables(model, 0, (8, 8, 1))
            moved = [x + random.uniform(0.05, 0.15, x.shape) for x in jax.tree.leaves(variables)]
            moved = [np.asarray(x, np.float32) for x in moved]
            variables = jax.tree.unflatten(jax.tree.structure(variables), moved)
        apply = compile_in_haste(
            lambda v, x, m=model: m.apply(v, x, train=False), variables, images
        )
        found[backend], text[backend] = np.asarray(apply(variables, images)), apply.as_text()
    assert CALL in text["native"]
    assert CALL not in text["xla"]
    scale = np.abs(found["xla"]).max()
    assert np.ptp(found["xla"]) > 1e-3 * scale
    np.testing.assert_allclose(found["native"], found["xla"], rtol=0, atol=2e-5 * scale)


def slow(fields):
    """Kinds that take the path of one that every run tests."""
    return pytest.param(fields, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "ghost(4)", "zero_init": True, "projection": "D", "stem": ""},
        {"zero_init": True, "drop_path": 0.5, "downsampling": "blur(2)"},
        slow({"norm": "group(8)", "design": "full_preact", "drop_path": 0.5,
              "drop_path_schedule": "constant", "downsampling": "blur(3)", "projection": "B"}),
        slow({"norm": "frn", "activation": "identity", "branch": "conv norm act conv norm eca(3)"}),
        slow({"norm": "dyt", "design": "full_preact", "projection": "D"}),
        slow({"norm": "layer", "stem": "resnet_c", "downsampling": "blur(3)"}),
    ],
    ids=lambda fields: " ".join(map(str, fields.values())),
)  # fmt: skip
def test_other_layers_are_the_same_network_too(config, compute, fields):
    config.model.stage_widths, config.model.stage_sizes = (16, 32), (1, 1)
    for name, value in fields.items():
        config.model[name] = value
    ours = compute("native")
    assert CALL in ours[4]
    assert_same_network(ours, compute("xla"))


@pytest.mark.slow
def test_a_dropped_path_is_added_by_xla_and_the_norm_before_it_is_still_a_kernel(config, compute):
    config.model.stage_widths, config.model.stage_sizes = (16,), (1,)
    config.model.drop_path = 0.5
    text = compute("native")[4]
    assert text.count('custom_call_target="resnet_norm_act"') == 1 + 2


def test_a_plain_net_and_a_projection_too(config, compute):
    config.model.shortcut = "none"
    assert_same_network(compute("native"), compute("xla"))
    config.model.shortcut, config.model.projection = "identity", "B"
    assert_same_network(compute("native"), compute("xla"))


PATHS = [
    {"shortcut": "scale(0.5, 0.5)", "combine": "subtract"},
    {"shortcut": "exclusive_gate(-1)", "combine": "orthogonal"},
    {"shortcut": "shortcut_gate", "combine": "add(1, 0.5)", "weight_standardization": "plain"},
    {"shortcut": "conv(norm)", "projection": "B", "combine": "learned(1, 0.5)"},
]


@pytest.mark.parametrize("fields", PATHS, ids=str)
def test_every_path_is_the_same_network_on_both_backends(config, compute, fields):
    config.model.stage_sizes, config.model.stage_widths = (1, 1), (16, 32)
    config.model.update(fields)
    ours, theirs = compute("native"), compute("xla")
    assert CALL in ours[4]
    assert_same_network(ours, theirs)


def test_eight_devices_are_the_same_network(compute):
    ours = compute("native", 8)
    assert_same_network(ours, compute("xla"))
    assert "f32[2,8,8,16]" in ours[4]
    assert "f32[16,8,8,16]" not in ours[4]


def test_the_original_unit_is_two_operations(config, compute):
    """Stem, and two a unit: nothing of a norm, an addition or a ReLU is left to XLA."""
    text = compute("native")[4]
    assert text.count('custom_call_target="resnet_norm_act"') == 1 + 2 * 3
    assert text.count('custom_call_target="resnet_conv"') == 1 + 2 * 3


def test_channels_that_fill_no_vector_are_left_to_xla(config, compute):
    config.model.stage_widths = (4, 8, 12)
    ours = compute("native")
    assert CALL not in ours[4]
    assert_same_network(ours, compute("xla"))


@pytest.mark.parametrize(("first", "second"), [("native", "xla"), ("xla", "native")])
def test_a_checkpoint_of_one_backend_is_continued_by_the_other(
    config, tmp_path, monkeypatch, capsys, first, second
):
    class Stopped(BaseException):
        pass

    config.checkpoint.every = 4
    config.conv_backend = first
    save = checkpoint.Checkpoints.save

    def save_and_die(self, *args):
        save(self, *args)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", save_and_die)
        with pytest.raises(Stopped):
            train.train_and_evaluate(config, tmp_path / "mixed", jax.devices()[:1])
    config.conv_backend = second
    mixed = train.train_and_evaluate(config, tmp_path / "mixed", jax.devices()[:1])
    assert f"conv_backend {first}, now {second}" in capsys.readouterr().out
    alone = train.train_and_evaluate(config, tmp_path / "alone", jax.devices()[:1])
    assert mixed["test_loss"] == pytest.approx(alone["test_loss"], rel=1e-3)


def test_the_state_is_donated_and_steps_repeat_bit_for_bit(config):
    config.conv_backend = "native"
    recipe = plan.make(config, jax.devices()[:1]).recipe
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
    placed = pipeline.place(pipeline.Examples(images, np.zeros(32, np.int32)), recipe.batches.mesh)
    run = steps.compile(recipe)
    hashes = set()
    for _ in range(2):
        state = step.init_state(recipe, 0, (8, 8, 1))
        metrics = jax.device_put(Metrics.empty(), sharding.replicated(recipe.batches.mesh))
        state, _ = run(state, metrics, placed, 3)
        hashes.add(checkpoint.sha256(state))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("conv norm act conv", ("c", "n", True, 3)),
        ("conv norm conv", ("c", "n", False, 2)),
        ("conv other norm", ("c", None, False, 1)),
        ("norm act", (None, "n", True, 2)),
        ("norm", (None, "n", False, 1)),
        ("conv act", ("c", None, False, 1)),
        ("act conv", None),
        ("other", None),
        ("", None),
    ],
)
def test_the_longest_run_of_tokens_becomes_one_operation(kinds, expected):
    names = {"conv": "c", "norm": "n"}
    steps = [fusion.Step(kind, names.get(kind, "x")) for kind in kinds.split()]
    run = fusion.longest_run(steps)
    assert (run and (run.conv, run.norm, run.relu, run.length)) == expected
