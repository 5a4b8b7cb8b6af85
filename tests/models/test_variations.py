"""Units under `zero_init`, `drop_path` and `downsampling`, and the stems that go with them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import plan, sharding, step, steps
from resnet_jax.data import pipeline
from resnet_jax.errors import ConfigError
from resnet_jax.metrics import Metrics
from resnet_jax.models import architecture, pooling
from resnet_jax.models.layers import ConvSpec
from tests.models.reference import Reference, randomised, relu
from tests.models.test_architecture import DESIGN_STRINGS, error, units
from tests.models.test_layers import Net, inputs, run
from tests.models.test_resnet import count, flatten, forward, shapes
from tests.models.test_unit import assert_equals_reference, basic, unit

NORMED = [
    name for name, (branch, _) in DESIGN_STRINGS.items() if branch.endswith(("norm", "norm act"))
]


def strings(sequence) -> str:
    return " ".join(map(str, sequence))


# Zero initialisation


@pytest.mark.parametrize(
    ("design", "norm"),
    [(design, "batch") for design in NORMED] + [("original", "ghost(2)"), ("original", "dyt")],
)
def test_only_the_last_norm_of_each_branch_starts_at_zero(tiny, design, norm):
    branch, after = DESIGN_STRINGS[design]
    fields = {"branch": branch, "after": after, "norm": norm, "projection": "B"}
    network = architecture.build(tiny(**fields, zero_init=True), 10)
    params = flatten(step.init_variables(network, 0, (8, 8, 3))["params"])
    zero = {name for name, leaf in params.items() if name.endswith("scale") and (leaf == 0).all()}
    assert zero == {f"stage{n}/block1/norm2/scale" for n in (1, 2, 3)}
    plain = architecture.build(tiny(**fields), 10)
    assert shapes(plain) == shapes(network)


def test_every_unit_starts_as_its_shortcut(tiny, images):
    network = architecture.build(tiny(zero_init=True, after="", stage_widths=(4, 4, 4)), 10)
    variables = step.init_variables(network, 0, (8, 8, 3))
    variables["params"]["head"]["bias"] = np.arange(10, dtype=np.float32)
    logits, _ = forward(network, variables, images, train=True)
    other = randomised(variables, seed=5)
    for stage in (1, 2, 3):
        block = variables["params"][f"stage{stage}"]["block1"]
        block["conv1"] = other["params"][f"stage{stage}"]["block1"]["conv1"]
    same, _ = forward(network, variables, images, train=True)
    np.testing.assert_array_equal(logits, same)


def test_a_bottleneck_starts_its_third_norm_at_zero(tiny):
    network = architecture.build(
        tiny(bottleneck=True, depth=11, projection="B", zero_init=True), 10
    )
    assert {strings(u.branch) for u in units(network)} == {
        "conv norm act conv norm act conv norm(batch, 0.0)"
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"design": "full_preact"}, ["zero_init=True", "'norm act conv norm act conv'", "gain(0)"]),
        ({"norm": "none"}, ["zero_init=True", "norm behind the last 'conv'"]),
        ({"branch": "conv norm act conv norm(none)"}, ["norm behind the last 'conv'"]),
        ({"branch": "conv norm act conv", "after": "norm act"}, ["norm behind the last 'conv'"]),
        ({"shortcut": "none"}, ["zero_init=True contradicts", "shortcut='none'"]),
    ],
)
def test_a_branch_without_a_last_norm_cannot_start_at_zero(tiny, fields, words):
    message = error(tiny(zero_init=True, **fields))
    assert [word for word in words if word not in message] == []


def test_a_layer_scale_at_the_end_of_a_branch_starts_each_unit_near_its_shortcut():
    # Touvron et al. 2021, arXiv 2103.17239, section 2.
    def expected(net: Reference, x: np.ndarray, factor: float | None = None) -> np.ndarray:
        y = net.conv("unit/conv2", relu(net.norm("unit/norm1", net.conv("unit/conv1", x))))
        return x + y * (net.params["unit/scale1/scale"] if factor is None else factor)

    module = unit("conv norm act conv scale(1e-4)", "", basic(4))
    assert_equals_reference(module, expected, train=True)
    x = inputs(2, 6, 6, 4)
    fresh = module.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype), train=False)
    y = module.apply(fresh, x, train=False)
    assert 0 < np.abs(y - x).max() < 1e-2


# Stochastic depth


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        # Huang et al. 2016, arXiv 1603.09382, eq. 4, with a survival probability of 0.5 at the end.
        ("linear", [0.5 * unit / 6 for unit in range(1, 7)]),
        ("constant", [0.5] * 6),
    ],
)
def test_the_drop_probability_of_each_unit_follows_the_schedule(tiny, schedule, rates):
    network = architecture.build(tiny(depth=14, drop_path=0.5, drop_path_schedule=schedule), 10)
    tokens = [unit.branch[-1] for unit in units(network)]
    assert {token.name for token in tokens} == {"drop_path"}
    assert [token.arguments[0] for token in tokens] == pytest.approx(rates)


def test_without_drop_path_there_is_no_code_for_it(tiny):
    assert architecture.build(tiny(drop_path=0.0), 10) == architecture.build(tiny(), 10)
    fields = {"drop_path": 0.0, "drop_path_schedule": "constant"}
    assert architecture.build(tiny(**fields), 10) == architecture.build(tiny(), 10)


def test_an_image_is_dropped_whole_and_what_is_kept_has_the_same_mean():
    x = np.ones((4000, 2, 2, 3), np.float32)
    y, _ = run(Net("drop_path(0.3)"), x, train=True)
    kept = y[:, 0, 0, 0] != 0
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1, :1], y.shape))
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    # Five standard deviations of the share and of the mean of 4000 draws.
    deviation = math.sqrt(0.3 * 0.7 / 4000)
    assert abs(kept.mean() - 0.7) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / 0.7
    other, _ = run(Net("drop_path(0.3)"), x, train=True, seed=1)
    assert (y != other).any()


def test_inference_drops_nothing():
    x = inputs()
    np.testing.assert_array_equal(run(Net("drop_path(0.9)"), x)[0], x)


def test_a_unit_adds_its_branch_over_the_survival_probability_or_not_at_all():
    module = unit("conv act conv drop_path(0.25)", "", basic(4))
    x = np.random.default_rng(0).normal(size=(64, 4, 4, 4)).astype(np.float32)
    shape = jax.ShapeDtypeStruct(x.shape, jnp.float32)
    init = functools.partial(module.init, train=False)
    variables = randomised(jax.eval_shape(init, jax.random.key(0), shape))
    branch = np.asarray(module.apply(variables, x, train=False)) - x
    rngs = {"dropout": jax.random.key(3)}
    y = np.asarray(jax.jit(functools.partial(module.apply, train=True))(variables, x, rngs=rngs))
    kept = (y != x).any((1, 2, 3))
    assert 0 < kept.sum() < 64
    np.testing.assert_allclose(y[kept], (x + branch / 0.75)[kept], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(y[~kept], x[~kept])


def test_dropped_paths_do_not_depend_on_the_number_of_devices(tiny_config, tiny_examples):
    tiny_config.model.drop_path = 0.5
    tiny_config.model.stage_widths, tiny_config.model.stage_sizes = (4,), (2,)
    tiny_config.optimizer.warmup = 0.0
    params = []
    for devices in (1, 8):
        made = plan.make(tiny_config, jax.devices()[:devices])
        mesh = made.recipe.batches.mesh
        images = tiny_examples.images[..., :1]
        examples = pipeline.place(pipeline.Examples(images, tiny_examples.labels), mesh)
        state = step.init_state(made.recipe, 0, (8, 8, 1))
        metrics = jax.device_put(Metrics.empty(), sharding.replicated(mesh))
        state, _ = steps.compile(made.recipe)(state, metrics, examples, 3)
        params.append(jax.device_get(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *params)


def test_a_plain_net_has_no_path_to_drop_to(tiny):
    message = error(tiny(drop_path=0.2, shortcut="none"))
    assert "config.model.drop_path=0.2 contradicts config.model.shortcut='none'" in message


# Anti-aliased downsampling


@pytest.mark.parametrize(
    ("fields", "branch"),
    [
        ({}, "conv norm act blur(3, 2) conv norm"),
        ({"design": "full_preact"}, "norm act conv norm act blur(3, 2) conv"),
        ({"branch": "conv conv norm"}, "conv blur(3, 2) conv norm"),
        ({"kernels": (1, 5)}, "conv norm act conv blur(3, 2) norm"),
        (
            {"bottleneck": True, "depth": 11},
            "conv norm act conv norm act blur(3, 2) conv norm",
        ),
        (
            {"bottleneck": True, "depth": 11, "stride_on": "first"},
            "conv norm act blur(3, 2) conv norm act conv norm",
        ),
    ],
)
def test_a_blur_stands_behind_the_activation_of_the_strided_convolution(tiny, fields, branch):
    network = architecture.build(tiny(downsampling="blur(3)", **fields), 10)
    first, *rest = units(network)
    assert "blur" not in strings(first.branch)
    assert {strings(unit.branch) for unit in rest} == {branch}
    assert {conv.stride for unit in rest for conv in unit.convs} == {1}
    assert [unit.stride for unit in rest] == [2, 2]


@pytest.mark.parametrize(
    ("design", "projection"), [("original", "A"), ("full_preact", "B"), ("original", "D")]
)
def test_downsampling_by_a_blur_changes_no_parameter(tiny, images, design, projection):
    fields = {"design": design, "projection": projection}
    blurred = architecture.build(tiny(downsampling="blur(3)", **fields), 10)
    strided = architecture.build(tiny(**fields), 10)
    assert shapes(blurred) == shapes(strided)
    variables = randomised(shapes(blurred))
    logits, _ = forward(blurred, variables, images, train=False)
    others, _ = forward(strided, variables, images, train=False)
    assert np.abs(np.asarray(logits) - np.asarray(others)).max() > 1e-3


def blur(x: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(pooling.blur(jnp.asarray(x, jnp.float32), size, 2), np.float64)


def pooled(x: np.ndarray, size: int | None) -> np.ndarray:
    return blur(x, size) if size else sum(x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4


@pytest.mark.parametrize(
    ("projection", "size"), [("D", None), ("A", 3), ("B", 3), ("D", 3), ("A", 2)]
)
def test_the_shortcut_is_subsampled_as_the_branch_is(projection, size):
    """An anti-aliased or averaged shortcut against NumPy; `tests/models/test_unit.py` has the others."""
    convs = basic(6, 1 if size else 2)
    branch = f"conv norm act blur({size}, 2) conv norm" if size else "conv norm act conv norm"

    def expected(net: Reference, x: np.ndarray) -> np.ndarray:
        y = relu(net.norm("unit/norm1", net.conv("unit/conv1", x, convs[0].stride)))
        y = blur(y, size) if size else y
        y = net.norm("unit/norm2", net.conv("unit/conv2", y))
        around = pooled(x, size)
        if projection == "A":
            around = np.pad(around, ((0, 0), (0, 0), (0, 0), (1, 1)))
        else:
            around = net.norm("unit/projection/norm", net.conv("unit/projection/conv", around))
        return relu(around + y)

    module = unit(branch, "act", convs, projection, stride=2, blur=size)
    assert_equals_reference(module, expected, train=True)


# Stems


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("original", "conv norm act conv norm act conv norm act pool"),
        ("full_preact", "conv norm act conv norm act conv pool"),
        ("relu_only_preact", "conv norm act conv norm act conv norm pool"),
        ("skipinit", "conv act conv act conv pool"),
        ("fixup", "conv bias act conv bias act conv bias act pool"),
    ],
)
def test_the_stem_of_resnet_c_has_three_small_convolutions(tiny, design, expected):
    # He et al. 2019, arXiv 1812.01187, figure 2b: 32, 32 and 64 channels.
    branch, after = DESIGN_STRINGS[design]
    fields = {"branch": branch, "after": after, "projection": "B"}
    network = architecture.build(tiny(stem="resnet_c", stage_widths=(64, 8, 8), **fields), 10)
    assert " ".join(token.name for token in network.stem) == expected
    assert network.stem_convs == (ConvSpec(32, 3, 2), ConvSpec(32, 3), ConvSpec(64, 3))
    assert network.stem[-1].arguments == (3, 2)


@pytest.mark.parametrize("stem", ["imagenet", "resnet_c"])
def test_a_blurred_stem_pools_without_a_stride_and_has_the_same_shapes(tiny, images, stem):
    fields = {"stem": stem, "projection": "B"}
    blurred = architecture.build(tiny(downsampling="blur(5)", **fields), 10)
    assert strings(blurred.stem[-2:]) == "pool(3, 1) blur(5, 2)"
    assert blurred.stem_convs == architecture.build(tiny(**fields), 10).stem_convs
    variables = randomised(shapes(blurred, 32))
    logits, _ = forward(blurred, variables, np.zeros((2, 32, 32, 3), np.float32), train=False)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        # The network of timm's resnet50d, whose published weights have so many.
        ({"stem": "resnet_c", "projection": "D"}, 25_576_264),
        ({"projection": "D", "stem": "imagenet", "downsampling": "blur(3)"}, 25_557_032),
    ],
)
def test_resnet_50_d_has_the_published_parameters(section, fields, parameters):
    model = section(depth=50, bottleneck=True, stage_widths=(64, 128, 256, 512), **fields)
    assert count(architecture.build(model, 1000), 64)[0] == parameters


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("design", "projection"), [("original", "A"), ("full_preact", "B")])
def test_without_a_stem_the_first_unit_takes_the_images(tiny, channels, design, projection):
    model = tiny(stem="", design=design, projection=projection)
    network = architecture.build(model, 10, channels=channels)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, channels)).astype(np.float32)
    init = functools.partial(network.init, train=False)
    shape = jax.ShapeDtypeStruct(images.shape, jnp.float32)
    variables = randomised(jax.eval_shape(init, jax.random.key(0), shape))
    assert "stem" not in variables["params"]
    block = variables["params"]["stage1"]["block1"]
    assert block["conv1"]["kernel"].shape == (3, 3, channels, 4)
    assert ("projection" in block) == (projection == "B")
    logits, _ = forward(network, variables, images, train=False)
    assert logits.shape == (2, 10)


def test_a_run_without_a_stem_knows_the_channels_of_its_data(tiny_config):
    # The digits have one channel, which two groups would not divide.
    tiny_config.model.stem = ""
    made = plan.make(tiny_config, jax.devices()[:1])
    params = jax.eval_shape(lambda: step.init_variables(made.recipe.model, 0, (8, 8, 1)))["params"]
    assert params["stage1"]["block1"]["conv1"]["kernel"].shape == (3, 3, 1, 4)
    tiny_config.model.groups = 2
    with pytest.raises(ConfigError, match="groups=2 does not divide the 1 and 4 channels"):
        plan.make(tiny_config, jax.devices()[:1])


# Together

CHOICES = {
    "norm": ["batch", "ghost(2)", "group(2)", "layer", "frn", "dyt"],
    "branch": ["conv norm act conv norm", "norm act conv drop(0.1) norm act conv norm",
               "act conv norm act conv eca norm se(2)", "conv norm act conv norm scale(0.1)"],
    "after": ["", "act", "norm act"],
    "projection": ["A", "B", "D"],
    "downsampling": ["stride", "blur(2)", "blur(3)"],
    "drop_path": [0.0, 0.5],
    "drop_path_schedule": ["linear", "constant"],
    "zero_init": [False, True],
    "stem": [None, "", "imagenet", "resnet_c", "conv(5) act"],
    "shared_preact": ["paper", "none", "all", "reshaping"],
    "stride_on": ["3x3", "first"],
    "bottleneck": [False, True],
    "activation": ["relu", "silu", "identity"],
}  # fmt: skip


@pytest.mark.parametrize("number", range(16))
def test_any_options_combine(tiny, number):
    random = np.random.default_rng(number)
    fields = {name: values[random.integers(len(values))] for name, values in CHOICES.items()}
    fields |= {"stage_widths": (4, 8), "stage_sizes": (1, 1)}
    dtype = (jnp.float32, jnp.bfloat16)[number % 2]
    network = architecture.build(tiny(**fields), 10, dtype)
    images = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
    variables = shapes(network, 16)

    def loss(params, rest, images):
        rngs, mutable = {"dropout": jax.random.key(0)}, ["batch_stats"]
        variables = {**rest, "params": params}
        logits, updated = network.apply(variables, images, train=True, mutable=mutable, rngs=rngs)
        assert logits.shape == (4, 10)
        return logits.sum(), updated

    rest = {kind: tree for kind, tree in variables.items() if kind != "params"}
    trace = functools.partial(jax.eval_shape, jax.grad(loss, has_aux=True))
    gradients, updated = trace(variables["params"], rest, images)
    assert gradients == variables["params"]
    assert updated == rest
