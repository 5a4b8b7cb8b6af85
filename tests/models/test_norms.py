"""Each kind of norm against its definition in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import checkpoint, plan, sharding, step, steps, tokens
from resnet_jax import config as configs
from resnet_jax.data import pipeline
from resnet_jax.errors import ConfigError
from resnet_jax.metrics import Metrics
from resnet_jax.models import architecture, norms
from resnet_jax.models.layers import VOCABULARY
from tests.models.reference import randomised
from tests.models.test_layers import Net, init, inputs, names, run

EXAMPLES = {"ghost": "ghost(2)", "group": "group(2)"}
KINDS = [EXAMPLES.get(name, name) for name in norms.NORMS]


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """Normalised over the pixels and channels of a group, per image."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, groups, channels // groups)
    mean, var = (f(axis=(1, 2, 4), keepdims=True) for f in (x.mean, x.var))
    return ((x - mean) / np.sqrt(var + 1e-5)).reshape(batch, height, width, channels)


def of_images(x: np.ndarray, images: int) -> np.ndarray:
    """Normalised over the pixels of consecutive images."""
    parts = np.split(x, len(x) // images)
    return np.concatenate(
        [(p - p.mean((0, 1, 2))) / np.sqrt(p.var((0, 1, 2)) + 1e-5) for p in parts]
    )


def expected(kind: str, x: np.ndarray, p: dict) -> np.ndarray:
    """The definition of `kind` in training."""
    bare = {
        "batch": lambda: of_images(x, len(x)),
        "ghost(2)": lambda: of_images(x, 2),
        "ghost(6)": lambda: of_images(x, 6),
        "group(2)": lambda: grouped(x, 2),
        "group(4)": lambda: grouped(x, 4),
        # Pixels and channels of an image together: one mean and one variance an image.
        "layer": lambda: (
            (x - x.mean((1, 2, 3), keepdims=True)) / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
        ),
        "frn": lambda: x / np.sqrt((x**2).mean((1, 2), keepdims=True) + 1e-6),
        "dyt": lambda: np.tanh(p["alpha"] * x),
    }[kind]()
    y = bare * p["scale"] + p["bias"]
    return np.maximum(y, p["threshold"]) if kind == "frn" else y


@pytest.mark.parametrize(
    "kind", ["batch", "ghost(2)", "ghost(6)", "group(2)", "group(4)", "layer", "frn", "dyt"]
)
def test_a_norm_equals_its_definition_in_numpy(kind):
    # Far from 0, so that a variance by differences of squares would show.
    x = inputs(6, 5, 4, 4) * 3 + 2
    y, variables = run(Net(f"norm({kind})"), x, train=True)
    params = jax.tree.map(lambda v: np.asarray(v, np.float64), variables["params"]["norm1"])
    np.testing.assert_allclose(y, expected(kind, x.astype(np.float64), params), atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_says_which_kinds_have_state(kind):
    variables = init(Net(f"norm({kind})"), inputs())
    has_state = norms.NORMS[kind.partition("(")[0]].running
    assert ("batch_stats" in variables) == has_state
    if has_state:
        assert names(variables["batch_stats"]) == {"norm1/mean", "norm1/var"}
    leaves = {
        "none": set(),
        "frn": {"norm1/scale", "norm1/bias", "norm1/threshold"},
        "dyt": {"norm1/scale", "norm1/bias", "norm1/alpha"},
    }.get(kind, {"norm1/scale", "norm1/bias"})
    assert names(variables.get("params", {})) == leaves


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_a_scale_starts_at_1_or_where_the_token_says(kind):
    for text, start in ((f"norm({kind})", 1), (f"norm({kind}, 0)", 0), (f"norm({kind}, 0.5)", 0.5)):
        scale = init(Net(text), inputs())["params"]["norm1"]["scale"]
        np.testing.assert_array_equal(scale, np.full(4, start, np.float32))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "batch"])
def test_images_do_not_mix_in_inference_nor_without_state_in_training(kind):
    x, net = inputs(4, 5, 5, 4), Net(f"norm({kind})")
    for train in [False] if kind.startswith("ghost") else [False, True]:
        alone, _ = run(net, x[1:2], train=train)
        together, _ = run(net, x, train=train)
        np.testing.assert_allclose(together[1:2], alone, rtol=1e-5, atol=1e-6)


def test_layer_is_one_group():
    assert np.array_equal(
        run(Net("norm(layer)"), inputs())[0], run(Net("norm(group(1))"), inputs())[0]
    )


def test_dynamic_tanh_starts_where_it_is_told():
    for text, alpha in (("norm(dyt)", 0.5), ("norm(dyt(0.2))", 0.2)):
        assert init(Net(text), inputs())["params"]["norm1"]["alpha"] == np.float32(alpha)


# Ghost batch


def test_ghost_batches_update_the_running_statistics_one_after_the_other():
    # Hoffer et al. 2017, arXiv 1705.08741, algorithm 1.
    x = inputs(6, 5, 5, 4) + 1
    before = randomised(init(Net("norm(ghost(2))"), x))
    _, variables = run(Net("norm(ghost(2))"), x, train=True, variables=before)
    for name in ("mean", "var"):
        value = np.asarray(before["batch_stats"]["norm1"][name], np.float64)
        for part in np.split(x.astype(np.float64), 3):
            value = 0.9 * value + 0.1 * getattr(part, name)((0, 1, 2))
        np.testing.assert_allclose(variables["batch_stats"]["norm1"][name], value, rtol=1e-5)


def test_one_ghost_batch_is_batch_norm():
    x = inputs(6, 5, 5, 4) + 1
    before = randomised(init(Net("norm"), x))
    whole, updated = run(Net("norm"), x, train=True, variables=before)
    ghost, also = run(Net("norm(ghost(6))"), x, train=True, variables=before)
    np.testing.assert_allclose(ghost, whole, atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), also, updated)


@pytest.fixture
def trained(tiny_config, tiny_examples):
    """A function from changed fields to the state after three steps on some devices."""

    def train(devices=1, **changes):
        with tiny_config.unlocked():
            tiny_config.update_from_flattened_dict(changes)
        tiny_config.optimizer.warmup = 0.0
        tiny_config.model.stage_widths, tiny_config.model.stage_sizes = (4,), (1,)
        made = plan.make(tiny_config, jax.devices()[:devices])
        mesh = made.recipe.batches.mesh
        images = tiny_examples.images[..., :1]
        examples = pipeline.place(pipeline.Examples(images, tiny_examples.labels), mesh)
        state = step.init_state(made.recipe, 0, (8, 8, 1))
        metrics = jax.device_put(Metrics.empty(), sharding.replicated(mesh))
        return steps.compile(made.recipe)(state, metrics, examples, 3)[0]

    return train


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), a, b)


@pytest.mark.parametrize("images", [8, 1])
def test_ghost_batches_do_not_depend_on_the_number_of_devices(trained, images):
    """16 images on 8 devices: groups of more images than a device has, and of fewer."""
    fields = {"model.norm": f"ghost({images})", "model.design": "full_preact"}
    one, eight = trained(1, **fields), trained(8, **fields)
    assert_close(one.params, eight.params)
    assert_close(one.batch_stats, eight.batch_stats)


def test_ghost_batches_are_the_statistics_of_micro_batches(trained):
    """Accumulation normalises each micro-batch by itself; ghost batches do so within one."""
    ghost = trained(**{"model.norm": "ghost(4)"})
    micro = trained(**{"model.norm": "batch", "accumulation": 4})
    assert_close(ghost.params, micro.params)
    assert_close(ghost.batch_stats, micro.batch_stats)
    batch = trained(**{"accumulation": 1})
    assert checkpoint.sha256(batch.params) != checkpoint.sha256(ghost.params)
    difference = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), batch.params, ghost.params)
    assert max(jax.tree.leaves(difference)) > 1e-3


# Networks


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_every_kind_has_finite_logits_and_gradients(tiny, images, kind):
    small = {"stage_widths": (4,), "stage_sizes": (1,), "projection": "B"}
    network = architecture.build(tiny(norm=kind, **small), 10)
    variables = step.init_variables(network, 0, images.shape[1:])

    @jax.jit
    def loss(variables, images):
        logits, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
        return step.cross_entropy(logits, jnp.arange(4)).mean()

    gradients = jax.grad(loss)(variables, images)["params"]
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    assert np.abs(gradients["head"]["kernel"]).max() > 0


def test_a_checkpoint_of_batch_norm_fits_a_network_of_ghost_batches(tiny):
    trees = [
        jax.tree.structure(
            step.init_variables(architecture.build(tiny(norm=kind), 10), 0, (8, 8, 3))
        )
        for kind in ("batch", "ghost(2)")
    ]
    assert trees[0] == trees[1]


# Texts and errors


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("group( 8 )", "group(8)"),
        ("dyt", "dyt(0.5)"),
        ("dyt(.2)", "dyt(0.2)"),
        (" batch ", "batch"),
        ("layer()", "layer"),
    ],
)
def test_a_kind_is_kept_as_one_writes_it(text, canonical):
    assert norms.kind(text) == canonical == norms.kind(canonical)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "conv norm(grup(8)) conv",
            ["norm(grup(8))", "'grup'", "did you mean 'group'", "dyt(alpha)"],
        ),
        ("conv norm(group) conv", ["norm(group)", "'group' needs groups", "write group(groups)"]),
        ("conv norm(ghost(0)) conv", ["images='0'", "at least 1", "write ghost(images)"]),
        ("conv norm(batch layer) conv", ["norm(batch layer)", "is not one norm"]),
        ("conv norm(batch, x) conv", ["start='x'", "is no finite number", "norm(kind, start)"]),
    ],
)
def test_what_is_no_kind_is_refused_with_what_to_type(text, words):
    with pytest.raises(ConfigError) as caught:
        tokens.parse(text, VOCABULARY, "config.model.branch")
    message = str(caught.value)
    assert message.startswith("config.model.branch: ")
    assert [word for word in words if word not in message] == []
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"norm": "group(3)"},
            ["config.model.norm: group(3)", "4 channels", "the stem", "group(2)"],
        ),
        ({"norm": "group(8)"}, ["group(8)", "4 channels", "write, say, group(4)"]),
        (
            {"branch": "conv norm(group(8)) act conv norm"},
            ["config.model.branch: group(8)", "4 channels", "stage 1", "write, say, group(4)"],
        ),
        (
            {"after": "norm(group(5)) act"},
            ["config.model.after: group(5)", "stage 1", "write, say, group(4)"],
        ),
        ({"final": "norm(group(3))"}, ["config.model.final: group(3)", "8 channels", "the end"]),
        (
            {"stem": "norm(group(2)) conv"},
            ["config.model.stem: group(2)", "3 channels", "the stem"],
        ),
        ({"branch": "conv norm(none, 0) act conv"}, ["norm(none, 0.0)", "no scale", "norm(none)"]),
    ],
)
def test_a_group_count_that_does_not_divide_the_channels_is_refused(tiny, fields, words):
    with pytest.raises(ConfigError) as caught:
        architecture.build(tiny(**fields), 10)
    message = str(caught.value)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model.norm": "ghost(5)"}, ["config.model.norm: ghost(5)", "16 images", "ghost(4)"]),
        (
            {"model.norm": "ghost(16)", "accumulation": 2},
            ["ghost(16)", "micro-batch of 8 images", "config.accumulation", "ghost(8)"],
        ),
        (
            {"model.branch": "conv norm(ghost(12)) act conv norm"},
            ["config.model.branch: ghost(12)", "16 images", "ghost(8)"],
        ),
    ],
)
def test_a_ghost_batch_that_does_not_divide_the_micro_batch_is_refused(tiny_config, fields, words):
    with tiny_config.unlocked():
        tiny_config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError) as caught:
        configs.validate(tiny_config)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_configured_kind_that_no_norm_uses_is_not_checked(tiny):
    branch = "conv norm(batch) act conv"
    fields = {"branch": branch, "norm": "group(3)", "stem": "conv", "after": "act"}
    architecture.build(tiny(**fields), 10)
