"""The contract of every row of `DESIGNS`: a new row is tested without a new test."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import optimizer, params, plan, step
from resnet_jax.data import pipeline
from resnet_jax.models import architecture
from resnet_jax.models.designs import DESIGNS
from resnet_jax.models.unit import Unit


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_names_a_paper_and_its_year(name):
    assert re.search(r"[A-Z]\w+ .*(19|20)\d\d", DESIGNS[name].source)


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_takes_a_finite_step_at_its_own_rates(
    tiny_config, tiny_dataset, tiny_examples, one_device, compile_in_haste, name
):
    """Of basic units, with option A; the optimizer is the one that a run would have."""
    tiny_config.model.update({"design": name, "stage_sizes": (1, 1), "stage_widths": (4, 8)})
    tiny_config.optimizer.warmup = 0.0
    made = plan.make(tiny_config, one_device, tiny_dataset)
    recipe = made.recipe
    state = step.init_state(recipe, 0, made.image_shape)
    examples = pipeline.place(tiny_examples, recipe.batches.mesh)
    compute = compile_in_haste(lambda s: step._gradients(recipe, s, examples), state)
    gradients, _, metrics = compute(state)
    assert np.isfinite(metrics.means()["loss"])
    # The head learns from the first step, so a signal passes through the whole network.
    assert (np.asarray(gradients["head"]["kernel"]) != 0).any()
    rates = optimizer.rate_factors(tiny_config)
    assert bool(rates) == bool(DESIGNS[name].learning_rates)
    schedule = optimizer.schedule(tiny_config.optimizer, made.steps)
    plain = optimizer.create(tiny_config.optimizer, schedule, state.params)
    expected, _ = plain.update(gradients, plain.init(state.params), state.params)
    expected = jax.tree.map(
        lambda u, factor: u * factor, expected, optimizer.factors(state.params, rates)
    )
    updates, _ = recipe.optimizer.update(gradients, state.opt_state, state.params)
    for path, leaf in jax.tree.leaves_with_path(updates):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_of_bottleneck_units_computes_logits_and_a_finite_gradient(
    tiny, images, compile_in_haste, name
):
    fields = {"bottleneck": True, "stage_sizes": (1, 1), "stage_widths": (4, 8)}
    model = tiny(design=name, projection="B", **fields)
    network = architecture.build(model, 10)
    variables = step.init_variables(network, 0, images.shape[1:])
    labels = jnp.arange(len(images))

    def loss(weights, batch_stats, images):
        logits, _ = network.apply(
            {"params": weights, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return step.cross_entropy(logits, labels).mean(), logits

    arguments = (variables["params"], variables["batch_stats"], images)
    gradients, logits = compile_in_haste(jax.grad(loss, has_aux=True), *arguments)(*arguments)
    assert logits.shape == (len(images), 10)
    assert np.isfinite(logits).all()
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    assert (np.asarray(gradients["head"]["kernel"]) != 0).any()


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_is_a_tree_of_the_same_parts(tiny, name):
    network = architecture.build(tiny(design=name), 10)
    shapes = jax.eval_shape(
        functools.partial(network.init, train=False), jax.random.key(0), jnp.zeros((1, 8, 8, 3))
    )
    parts = set(shapes["params"])
    assert {"stem", "stage1", "stage2", "stage3", "head"} <= parts <= parts | {"final"}
    assert all(set(shapes["params"][f"stage{n}"]) == {"block1"} for n in (1, 2, 3))


@pytest.mark.parametrize("name", DESIGNS)
def test_what_stands_in_front_of_the_first_conv_also_follows_the_last_unit(tiny, name):
    # A pre-activation net ends in a sum that nothing has normalised: forgetting this is the classic bug.
    final = [token.name for token in architecture.build(tiny(design=name), 10).final]
    kinds = [word.partition("(")[0] for word in DESIGNS[name].branch.split()]
    preactivation = kinds[: kinds.index("conv")]
    assert {"norm", "act"} & set(preactivation) <= set(final)


def test_the_table_has_the_designs_of_the_papers():
    # He et al. 2015 (arXiv 1512.03385, figure 2) and He et al. 2016 (arXiv 1603.05027, figure 4).
    rows = {name: (DESIGNS[name].branch, DESIGNS[name].after) for name in DESIGNS}
    assert rows["original"] == ("conv norm act conv norm", "act")
    assert rows["bn_after_add"] == ("conv norm act conv", "norm act")
    assert rows["relu_before_add"] == ("conv norm act conv norm act", "")
    assert rows["relu_only_preact"] == ("act conv norm act conv norm", "")
    assert rows["full_preact"] == ("norm act conv norm act conv", "")
    # The ResNet of the authors' code: the scalar is behind the branch's last activation, the sum is bare.
    assert rows["rezero"] == ("conv norm act conv norm act gain(0)", "")
    assert rows["fixup"] == ("bias conv bias act bias conv gain bias", "act")


def count(model) -> int:
    network = architecture.build(model, 10)
    return params.count(
        jax.eval_shape(lambda: step.init_variables(network, 0, (32, 32, 3)))["params"]
    )


# Of ResNet-110, option A, and of ResNet-164, bottleneck, option B. Those of He et al. agree with the
# sizes that the papers print (1.7M). The others are ResNet-110 without the scales and biases of its
# norms, with what a design has instead.
RESNET_110, CONVS_110 = 1_727_962, 1_727_962 - 8_096
BIASES_110 = 16 + 36 * (16 + 32 + 64)  # of the stem and of two convolutions a unit
COUNTS = {
    "original": (RESNET_110, 1_704_154),
    "bn_after_add": (RESNET_110, None),
    "relu_before_add": (RESNET_110, None),
    "relu_only_preact": (RESNET_110, None),
    "full_preact": (RESNET_110, 1_703_258),
    "fixup": (1_720_138, None),  # 5 scalars a unit, a bias each in stem and final
    "skipinit": (CONVS_110 + BIASES_110 + 54, None),
    "rezero": (RESNET_110 + 54, None),
    "nf": (CONVS_110 + 2 * BIASES_110, None),  # a bias and a gain per channel
    "depth_mup": (CONVS_110 + BIASES_110, None),
}


def test_every_design_has_its_count():
    assert COUNTS.keys() == DESIGNS.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_resnet_110_and_164(section, name):
    basic, bottleneck = COUNTS[name]
    assert count(section(design=name, depth=110)) == basic
    if bottleneck is not None:
        model = section(design=name, depth=164, bottleneck=True, projection="B")
        assert count(model) == bottleneck


@pytest.mark.parametrize(
    ("shortcut", "expected"),
    [
        # He et al. 2016, table 1. A gate is a 1x1 convolution a unit with bias: 272 parameters in the
        # first stage, 544 and 17 * 1,056 in the second, 2,112 and 17 * 4,160 in the third.
        ("scale(0.5, 0.5)", RESNET_110),
        ("exclusive_gate(-6)", 1_824_186),
        ("conv", 1_822_170),
    ],
)
def test_parameter_counts_of_resnet_110_with_each_shortcut(section, shortcut, expected):
    assert count(section(depth=110, shortcut=shortcut)) == expected


CONVS_20 = 16 + 6 * (16 + 32 + 64)
"""Output channels of ResNet-20's 3x3 convolutions, and so of its norms, of which there are 19."""


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({}, 0),
        ({"shortcut": "shortcut_gate"}, 3 * 272 + 544 + 2 * 1_056 + 2_112 + 2 * 4_160),
        ({"shortcut": "drop(0.5)"}, 0),
        # Option C: a 1x1 convolution and a norm's scale and bias in each of the 9 units.
        (
            {"shortcut": "conv(norm)", "projection": "B"},
            3 * 16 * 16 + 16 * 32 + 2 * 32 * 32 + 32 * 64 + 2 * 64 * 64 + 3 * 2 * (16 + 32 + 64),
        ),
        ({"combine": "learned"}, 9 * 2),
        ({"combine": "orthogonal"}, 0),
        ({"weight_standardization": "plain"}, 0),
        ({"weight_standardization": "scaled"}, CONVS_20),
        ({"branch": "conv norm act conv norm scale(1e-4)"}, 3 * (16 + 32 + 64)),
        ({"norm": "frn"}, CONVS_20),
        ({"norm": "dyt"}, 19),
        (
            {"branch": "conv norm act conv norm eca"},
            9 * 3,
        ),  # a kernel of 3 at 16, 32 and 64 channels
    ],
    ids=str,
)
def test_parameter_counts_of_resnet_20_with_other_parts(section, fields, more):
    assert count(section(depth=20, **fields)) == 269_722 + more


@pytest.mark.parametrize("name", ["fixup", "skipinit", "rezero"])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_branches_start_at_zero_so_that_a_fresh_unit_is_the_identity(tiny, name, bottleneck):
    # The papers' point: up to `after`, a ReLU that the second of two units cannot feel.
    model = tiny(design=name, stage_sizes=(3,), stage_widths=(4,), bottleneck=bottleneck)
    network = architecture.build(model, 10)
    tree = step.init_variables(network, 0, (8, 8, 3))
    unit = network.stages[0][1]
    x = np.random.default_rng(0).normal(size=(2, 8, 8, unit.features)).astype(np.float32)
    variables = {kind: tree[kind]["stage1"]["block2"] for kind in tree if "stage1" in tree[kind]}
    y = Unit(unit, network.options).apply(variables, x, train=False)
    np.testing.assert_array_equal(y, np.maximum(x, 0) if unit.after else x)


def test_a_fresh_fixup_network_knows_nothing(tiny, images):
    # Zhang et al. 2019, section 3: the head starts at 0, so every class has the same logit.
    network = architecture.build(tiny(design="fixup"), 10)
    variables = step.init_variables(network, 0, images.shape[1:])
    assert (np.asarray(network.apply(variables, images, train=False)) == 0).all()


@pytest.mark.parametrize("projection", ["A", "B"])
def test_the_first_bias_of_fixup_is_on_the_shortcut_where_it_changes_the_shape(tiny, projection):
    # The authors' code: x + bias1a is what is projected, and x itself what is kept.
    network = architecture.build(tiny(design="fixup", projection=projection), 10)
    shared = [unit.shared_preact for stage in network.stages for unit in stage]
    assert shared == [False, True, True]


@pytest.mark.parametrize("bottleneck", [False, True])
def test_fixup_scales_the_other_convolutions_by_the_depth(section, bottleneck):
    fields = {"stage_sizes": (16,), "stage_widths": (32,), "bottleneck": bottleneck}
    kernels = [
        step.init_variables(architecture.build(section(design="fixup", **fields, **init), 10), 0, (8, 8, 3))
        ["params"]["stage1"]["block3"]["conv1"]["kernel"]
        for init in ({}, {"init": ()})
    ]  # fmt: skip
    factor = 16 ** (-1 / 4 if bottleneck else -1 / 2)
    np.testing.assert_allclose(kernels[0], factor * kernels[1], rtol=1e-6)
