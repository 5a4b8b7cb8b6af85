import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from resnet_jax import rng, step
from resnet_jax.models import architecture, layers
from tests.models.reference import Reference, original_unit, preact_unit, randomised, relu


def flatten(tree: dict) -> dict:
    return {"/".join(p.key for p in path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def shapes(network, size: int = 8) -> dict:
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), image)


@functools.cache
def compiled(network, train: bool):
    apply = functools.partial(network.apply, train=train, mutable=["batch_stats"])
    return jax.jit(lambda variables, x, key: apply(variables, x, rngs={"dropout": key}))


def forward(network, variables: dict, images: np.ndarray, *, train: bool):
    """Logits, and the statistics after them; variables are arguments of the jitted function."""
    logits, updated = compiled(network, train)(variables, images, jax.random.key(0))
    return logits, updated.get("batch_stats", {})


# Parameter counts

HE_2015 = "He et al. 2015, arXiv 1512.03385, table 6"  # 0.27M 0.46M 0.66M 0.85M 1.7M 19.4M
HE_2016 = "He et al. 2016, arXiv 1603.05027, tables 2 and 4"  # 1.7M 10.2M
WIDE = "Zagoruyko & Komodakis 2016, arXiv 1605.07146, tables 4 and 5"  # 8.9M 11.0M 36.5M
RESNEXT = "Xie et al. 2017, arXiv 1611.05431, table 7"  # 34.4M 68.1M
FIXUP = "Zhang et al. 2019, arXiv 1901.09321, figure 1"

PREACT = {"design": "full_preact"}
PREACT_BOTTLENECK = {"design": "full_preact", "bottleneck": True, "projection": "B"}


def wide(depth: int, width: float) -> dict:
    return {"design": "full_preact", "projection": "B", "depth": depth, "width": width}


def resnext(groups: int) -> dict:
    return {
        "depth": 29,
        "bottleneck": True,
        "bottleneck_width": 64,
        "groups": groups,
        "stage_widths": (64, 128, 256),
        "projection": "B",
    }


# (fields, trainable parameters, running statistics, source). The papers print sizes in millions; the
# exact counts follow from their descriptions, and agree with each printed size.
COUNTS = [
    ({"depth": 20}, 269_722, 1_376, HE_2015),
    ({"depth": 32}, 464_154, 2_272, HE_2015),
    ({"depth": 44}, 658_586, 3_168, HE_2015),
    ({"depth": 56}, 853_018, 4_064, HE_2015),
    ({"depth": 110}, 1_727_962, 8_096, HE_2015),
    ({"depth": 1202}, 19_421_274, 89_632, HE_2015),
    # Option B adds 16*32 + 32*64 weights and two norms of 32 and 64 channels: 2,560 + 192.
    ({"depth": 20, "projection": "B"}, 272_474, 1_376 + 192, HE_2015),
    ({"depth": 32, "projection": "B"}, 466_906, 2_272 + 192, HE_2015),
    ({"depth": 44, "projection": "B"}, 661_338, 3_168 + 192, HE_2015),
    ({"depth": 56, "projection": "B"}, 855_770, 4_064 + 192, HE_2015),
    ({"depth": 110, "projection": "B"}, 1_730_714, 8_096 + 192, HE_2015),
    # A plain net and option A have no shortcut parameters.
    ({"depth": 20, "shortcut": "none"}, 269_722, 1_376, HE_2015),
    # The norm of the stem moves behind the last unit, from 16 channels to 64, and that of the last unit
    # of each other stage in front of the next; the projection loses its norm.
    ({"depth": 110, **PREACT}, 1_727_962, 8_096, HE_2016),
    ({"depth": 110, "projection": "B", **PREACT}, 1_730_522, 8_096, HE_2016),
    ({"depth": 164, **PREACT_BOTTLENECK}, 1_703_258, 24_224, HE_2016),
    ({"depth": 1001, **PREACT_BOTTLENECK}, 10_327_706, 149_216, HE_2016),
    ({"depth": 164, "bottleneck": True, "projection": "B"}, 1_704_154, 25_120, HE_2016),
    (wide(16, 4.0), 2_748_890, 3_616, WIDE),
    (wide(16, 8.0), 10_961_370, 7_200, WIDE),
    (wide(28, 10.0), 36_479_194, 17_952, WIDE),
    (wide(28, 2.0), 1_467_610, 3_616, WIDE),
    (wide(40, 1.0), 563_930, 2_720, WIDE),
    (wide(40, 2.0), 2_243_546, 5_408, WIDE),
    (wide(40, 4.0), 8_949_210, 10_784, WIDE),
    (resnext(8), 34_426_698, 57_472, RESNEXT),
    (resnext(16), 68_155_210, 100_480, RESNEXT),
    (
        {"depth": 110, "branch": "bias conv bias act bias conv gain bias", "after": "act"},
        1_720_138,
        0,
        FIXUP,
    ),
]


@pytest.mark.parametrize(("fields", "parameters", "statistics", "source"), COUNTS)
def test_networks_for_cifar_have_exactly_the_published_parameters(
    section, fields, parameters, statistics, source
):
    assert count(architecture.build(section(**fields), 10)) == (parameters, statistics), source


@pytest.mark.parametrize(
    ("depth", "parameters", "statistics"),
    [
        # As published with the weights of torchvision and timm.
        (18, 11_689_512, 9_600),
        (34, 21_797_672, 17_024),
        (50, 25_557_032, 53_120),
        (101, 44_549_160, 105_344),
        (152, 60_192_808, 151_424),
    ],
)
def test_networks_for_imagenet_have_exactly_the_published_parameters(
    section, depth, parameters, statistics
):
    model = section(
        depth=depth,
        bottleneck=depth >= 50,
        stage_widths=(64, 128, 256, 512),
        stem="imagenet",
        projection="B",
    )
    assert count(architecture.build(model, 1000), 64) == (parameters, statistics)


def count(network, size: int = 32) -> tuple[int, int]:
    variables = shapes(network, size)
    return tuple(
        sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables.get(kind, {})))
        for kind in ("params", "batch_stats")
    )


# Names


def named(prefix: str, *leaves: str) -> set[str]:
    return {f"{prefix}/{leaf}" for leaf in leaves}


def test_parameters_of_the_original_network_have_their_documented_names(tiny):
    network = architecture.build(tiny(depth=14, projection="B"), 10)
    variables = shapes(network)
    expected = named("stem", "conv/kernel", "norm/scale", "norm/bias") | named(
        "head", "kernel", "bias"
    )
    for stage in (1, 2, 3):
        for block in (1, 2):
            for number in (1, 2):
                unit = f"stage{stage}/block{block}"
                expected |= named(unit, f"conv{number}/kernel")
                expected |= named(unit, f"norm{number}/scale", f"norm{number}/bias")
    for stage in (2, 3):
        unit = f"stage{stage}/block1/projection"
        expected |= named(unit, "conv/kernel", "norm/scale", "norm/bias")
    assert set(flatten(variables["params"])) == expected
    norms = {name.removesuffix("/scale") for name in expected if name.endswith("/scale")}
    statistics = {name for norm in norms for name in named(norm, "mean", "var")}
    assert set(flatten(variables["batch_stats"])) == statistics


def test_parameters_of_the_preactivation_network_have_their_documented_names(tiny):
    network = architecture.build(tiny(design="full_preact", projection="B"), 10)
    expected = named("stem", "conv/kernel") | named("final", "norm/scale", "norm/bias")
    expected |= named("head", "kernel", "bias")
    for stage in (1, 2, 3):
        for number in (1, 2):
            unit = f"stage{stage}/block1"
            expected |= named(unit, f"conv{number}/kernel")
            expected |= named(unit, f"norm{number}/scale", f"norm{number}/bias")
    expected |= named("stage2/block1", "projection/conv/kernel")
    expected |= named("stage3/block1", "projection/conv/kernel")
    assert set(flatten(shapes(network)["params"])) == expected


# Precision


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("design", "projection"), [("original", "A"), ("full_preact", "B")])
def test_logits_parameters_and_statistics_are_float32_in_every_precision(
    tiny, images, design, projection, train
):
    outputs = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        network = architecture.build(tiny(design=design, projection=projection), 10, dtype)
        variables = randomised(shapes(network))
        logits, statistics = forward(network, variables, images, train=train)
        assert logits.shape == (4, 10)
        kinds = {leaf.dtype for leaf in jax.tree.leaves((shapes(network), statistics, logits))}
        assert kinds == {jnp.dtype("float32")}
        outputs[dtype] = np.asarray(logits)
    exact, rough = outputs.values()
    # bfloat16 keeps 8 bits: it is really used, and its errors do not grow out of proportion.
    assert 1e-4 < np.abs(exact - rough).max() / np.abs(exact).max() < 0.1


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        ({}, jnp.float32),
        ({"design": "full_preact", "projection": "B"}, jnp.float32),
        # Flax's own BatchNorm mixes float32 statistics with bfloat16 inputs, so it is left out here.
        ({"branch": "act conv se(2) mul(1/L) drop(0.1) act(gelu) conv scale gain bias",
          "after": "", "projection": "B"}, jnp.bfloat16),
    ],
)  # fmt: skip
def test_no_dtype_is_promoted_without_being_asked(tiny, images, fields, dtype):
    network = architecture.build(tiny(**fields), 10, dtype)
    variables = shapes(network)
    labels = jnp.arange(4, dtype=jnp.int32)
    with jax.numpy_dtype_promotion("strict"):
        for train in (True, False):
            compiled(network, train).trace(variables, images, jax.random.key(0))
        losses = step.cross_entropy(jnp.zeros((4, 10)), labels, smoothing=0.1)
    assert losses.dtype == jnp.float32


# Initialisation


def test_a_fresh_resnet_20_knows_nothing(section):
    network = architecture.build(section(depth=20), 10)
    variables = step.init_variables(network, 0, (32, 32, 3))
    images = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype(np.float32)
    logits, _ = forward(network, variables, images, train=True)
    loss = step.cross_entropy(logits, jnp.arange(16) % 10).mean()
    assert abs(loss - math.log(10)) < 0.05


def test_fresh_parameters_are_what_the_papers_say(section):
    network = architecture.build(section(depth=8, projection="B"), 10)
    variables = step.init_variables(network, 0, (8, 8, 3))
    for name, leaf in flatten(variables["params"]).items():
        values = np.asarray(leaf, np.float64)
        if name.endswith("kernel"):
            fan_out = values.shape[-1] * math.prod(values.shape[:-2])
            deviation = 0.01 if name == "head/kernel" else math.sqrt(2 / fan_out)
            # Five standard errors of a deviation estimated from this many values.
            assert abs(values.std() / deviation - 1) < 5 / math.sqrt(2 * values.size), name
        else:
            np.testing.assert_array_equal(values, float(name.endswith("scale")), err_msg=name)
    for name, leaf in flatten(variables["batch_stats"]).items():
        np.testing.assert_array_equal(leaf, float(name.endswith("var")), err_msg=name)


def test_a_seed_gives_one_set_of_values_and_layers_of_one_shape_differ(tiny):
    network = architecture.build(tiny(depth=14), 10)
    first, again, other = (
        flatten(step.init_variables(network, seed, (8, 8, 3))["params"]) for seed in (0, 0, 1)
    )
    kernels = [name for name in first if name.endswith("kernel")]
    for name, leaf in first.items():
        np.testing.assert_array_equal(leaf, again[name], err_msg=name)
    for name in kernels:
        assert (first[name] != other[name]).all()
    by_shape = {}
    for name in kernels:
        by_shape.setdefault(first[name].shape, []).append(np.asarray(first[name]))
    assert max(map(len, by_shape.values())) > 3
    for same in by_shape.values():
        assert all((a != b).any() for i, a in enumerate(same) for b in same[:i])


@pytest.mark.parametrize("fields", [{}, {"design": "full_preact", "projection": "B"}])
def test_fresh_values_are_bitwise_those_of_a_jitted_init(tiny, images, fields):
    network = architecture.build(tiny(**fields), 10)
    init = jax.jit(functools.partial(network.init, train=False))
    expected = init(rng.key(3, rng.Stream.INIT), images[:1])
    jax.tree.map(
        np.testing.assert_array_equal,
        step.init_variables(network, 3, images.shape[1:]),
        dict(expected),
    )


def test_initialising_computes_no_forward_pass(tiny, images, monkeypatch):
    # Fresh values and the forward pass in one program are the constants that XLA:CPU miscomputes.
    class Computed(Exception):
        pass

    def fail(x):
        raise Computed

    def activation(x):
        # Unlike a pure callback, this one is kept where nothing uses its result.
        return io_callback(fail, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    monkeypatch.setitem(layers.ACTIVATIONS, "identity", activation)
    network = architecture.build(tiny(activation="identity"), 10)
    variables = step.init_variables(network, 0, images.shape[1:])
    with pytest.raises(Exception, match="Computed"):  # the control: computing this network fails
        jax.block_until_ready(network.apply(variables, images, train=False))


# Numbers


def expected_logits(net: Reference, images: np.ndarray, design: str) -> np.ndarray:
    """A network of one unit a stage; options A (original) and B (pre-activation)."""
    x = net.conv("stem/conv", images.astype(np.float64))
    if design == "original":
        x = relu(net.norm("stem/norm", x))
    for stage, strides in enumerate(((1, 1), (2, 1), (2, 1)), 1):
        at = f"stage{stage}/block1"
        if design == "original":
            x = original_unit(net, at, x, "A", strides)
        else:
            x = preact_unit(net, at, x, "B", strides, shared=True)
    if design == "full_preact":
        x = relu(net.norm("final/norm", x))
    return net.head(x)


@pytest.mark.parametrize(("design", "projection"), [("original", "A"), ("full_preact", "B")])
@pytest.mark.parametrize("train", [True, False])
def test_a_whole_network_equals_numpy(tiny, images, design, projection, train):
    network = architecture.build(tiny(design=design, projection=projection), 10)
    variables = randomised(shapes(network))
    logits, statistics = forward(network, variables, images, train=train)
    net = Reference(variables, train=train)
    np.testing.assert_allclose(logits, expected_logits(net, images, design), rtol=1e-4, atol=1e-4)
    for name, leaf in flatten(statistics).items():
        np.testing.assert_allclose(leaf, net.stats[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_constant_head_gives_the_right_logits(section, value):
    # With the head a constant of the program, XLA:CPU of jaxlib 0.10.2 returns 1e10 here: a spatial
    # mean of [128, 8, 8, 64] meets a constant matrix. As an argument it has to be right.
    model = section(design="full_preact", stage_widths=(64,), stage_sizes=(1,))
    network = architecture.build(model, 10)
    variables = randomised(shapes(network))
    variables["params"]["head"]["kernel"] = np.full((64, 10), value, np.float32)
    images = np.random.default_rng(0).normal(size=(128, 8, 8, 3)).astype(np.float32)
    for train in (True, False):
        logits, _ = forward(network, variables, images, train=train)
        net = Reference(variables, train=train)
        x = net.conv("stem/conv", images.astype(np.float64))
        x = preact_unit(net, "stage1/block1", x, "A", (1, 1), shared=True)
        expected = net.head(relu(net.norm("final/norm", x)))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_mul_behind_the_last_unit_knows_the_number_of_units(tiny, images):
    network = architecture.build(tiny(depth=14), 10)
    variables = randomised(shapes(network))
    variables["params"]["head"]["bias"][...] = 0
    plain, _ = forward(network, variables, images, train=False)
    for text, factor in (("mul(1/L)", 1 / 6), ("mul(l)", 6)):
        scaled = architecture.build(tiny(depth=14, final=text), 10)
        logits, _ = forward(scaled, variables, images, train=False)
        np.testing.assert_allclose(logits, factor * plain, rtol=1e-4, atol=1e-4)


def test_images_of_one_batch_do_not_mix_in_inference(tiny, images):
    network = architecture.build(tiny(), 10)
    variables = randomised(shapes(network))
    together, _ = forward(network, variables, images, train=False)
    alone, _ = forward(network, variables, images[1:2], train=False)
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stem", ["imagenet", "conv(3, 2, 6) pool(2, 2)", "conv act conv(5)"])
def test_other_stems_compute_what_their_tokens_say(tiny, images, stem):
    network = architecture.build(tiny(stem=stem, projection="B"), 10)
    variables = randomised(shapes(network))
    logits, _ = forward(network, variables, images, train=False)
    assert logits.shape == (4, 10)
    assert np.isfinite(logits).all()
    kernels = {n: x.shape for n, x in flatten(variables["params"]["stem"]).items() if x.ndim == 4}
    assert (
        kernels
        == {
            "imagenet": {"conv/kernel": (7, 7, 3, 4)},
            "conv(3, 2, 6) pool(2, 2)": {"conv/kernel": (3, 3, 3, 6)},
            "conv act conv(5)": {"conv1/kernel": (3, 3, 3, 4), "conv2/kernel": (5, 5, 4, 4)},
        }[stem]
    )
