import pytest

from resnet_jax.errors import ConfigError
from resnet_jax.models import architecture
from resnet_jax.models.layers import ConvSpec

DESIGN_STRINGS = {
    # (branch, after), as in the papers that test_unit.py cites.
    "original": ("conv norm act conv norm", "act"),
    "bn_after_add": ("conv norm act conv", "norm act"),
    "relu_before_add": ("conv norm act conv norm act", ""),
    "relu_only_preact": ("act conv norm act conv norm", ""),
    "full_preact": ("norm act conv norm act conv", ""),
    "skipinit": ("act conv act conv gain(0)", ""),
    "fixup": ("bias conv bias act bias conv gain bias", "act"),
}


def text(parsed) -> str:
    """Tokens as a string, by name alone."""
    return " ".join(token.name for token in parsed)


def units(network):
    return [unit for stage in network.stages for unit in stage]


def error(model) -> str:
    with pytest.raises(ConfigError) as caught:
        architecture.build(model, 10)
    return str(caught.value)


# What a branch implies about the layers around the units


@pytest.mark.parametrize(
    ("design", "stem", "final", "projection_norm", "conv_bias"),
    [
        ("original", "conv norm act", "", True, False),
        ("bn_after_add", "conv norm act", "", True, False),
        ("relu_before_add", "conv norm act", "", True, False),
        ("relu_only_preact", "conv norm", "act", False, False),
        ("full_preact", "conv", "norm act", False, False),
        ("skipinit", "conv", "act", False, True),
        ("fixup", "conv bias act", "bias", False, False),
    ],
)
def test_stem_final_and_projection_follow_from_the_branch(
    tiny, design, stem, final, projection_norm, conv_bias
):
    branch, after = DESIGN_STRINGS[design]
    network = architecture.build(tiny(branch=branch, after=after), 10)
    assert text(network.stem) == stem
    assert text(network.final) == final
    assert all(unit.projection_norm == projection_norm for unit in units(network))
    # Convolutions have a bias only where neither a norm nor a scalar bias is in the unit.
    assert network.options.conv_bias == conv_bias


@pytest.mark.parametrize("design", ["original", "full_preact"])
def test_a_row_and_its_strings_typed_by_hand_are_the_same_network(tiny, design):
    branch, after = DESIGN_STRINGS[design]
    other = "full_preact" if design == "original" else "original"
    by_hand = architecture.build(tiny(design=other, branch=branch, after=after), 10)
    assert by_hand == architecture.build(tiny(design=design), 10)


@pytest.mark.parametrize(
    ("branch", "norm", "conv_bias"),
    [
        ("conv norm act conv norm", "batch", False),
        ("conv norm act conv norm", "none", True),
        ("conv norm(batch) act conv", "none", False),
        ("conv norm(none) act conv", "batch", True),
        ("conv act conv bias", "batch", False),
        ("conv act conv gain", "batch", True),
    ],
)
def test_convolutions_have_a_bias_where_a_unit_has_no_norm_in_effect_and_no_bias(
    tiny, branch, norm, conv_bias
):
    network = architecture.build(tiny(branch=branch, norm=norm), 10)
    assert network.options.conv_bias == conv_bias


@pytest.mark.parametrize("design", ["original", "full_preact"])
def test_an_empty_string_is_nothing_and_an_unset_field_is_the_designs_own(tiny, design):
    assert text(architecture.build(tiny(design=design, final=""), 10).final) == ""
    assert architecture.build(tiny(design=design, after=""), 10).stages[0][0].after == ()
    assert text(architecture.build(tiny(design=design, final="act"), 10).final) == "act"
    own = architecture.build(tiny(design=design), 10)
    assert text(own.final) == ("norm act" if design == "full_preact" else "")


def test_arguments_in_front_of_the_first_conv_are_kept_in_final(tiny):
    branch = "norm(none) act(silu) mul(1/sqrt(L)) conv norm act conv"
    network = architecture.build(tiny(branch=branch, after=""), 10)
    assert " ".join(map(str, network.final)) == "norm(none) act(silu) mul(1/sqrt(L))"


def test_a_stem_that_is_given_holds_its_own_convolutions(tiny):
    network = architecture.build(tiny(stem="conv(5, 2, 12) act conv pool(2)"), 10)
    assert text(network.stem) == "conv act conv pool"
    assert network.stem_convs == (ConvSpec(12, 5, 2), ConvSpec(4, 3, 1))
    assert network.stem[-1].arguments == (2, 2)


@pytest.mark.parametrize(
    ("design", "between"), [("original", "norm act "), ("full_preact", ""), ("fixup", "bias act ")]
)
def test_the_imagenet_stem_is_a_7x7_convolution_and_a_pool(tiny, design, between):
    branch, after = DESIGN_STRINGS[design]
    network = architecture.build(tiny(branch=branch, after=after, stem="imagenet"), 10)
    assert text(network.stem) == f"conv {between}pool"
    assert network.stem_convs == (ConvSpec(4, 7, 2),)
    assert network.stem[-1].arguments == (3, 2)
    cifar = architecture.build(tiny(branch=branch, after=after, stem="cifar"), 10)
    assert cifar == architecture.build(tiny(branch=branch, after=after), 10)
    assert cifar.stem_convs == (ConvSpec(4, 3, 1),)


# Units: convolutions, strides, widths


@pytest.mark.parametrize(
    ("design", "branch"),
    [
        ("original", "conv norm act conv norm act conv norm"),
        ("bn_after_add", "conv norm act conv norm act conv"),
        ("relu_before_add", "conv norm act conv norm act conv norm act"),
        ("relu_only_preact", "act conv norm act conv norm act conv norm"),
        ("full_preact", "norm act conv norm act conv norm act conv"),
        ("skipinit", "act conv act conv act conv gain"),
        # Zhang et al. 2019, arXiv 1901.09321, figure 1 (right): a bias in front of every layer.
        ("fixup", "bias conv bias act bias conv bias act bias conv gain bias"),
    ],
)
def test_a_third_conv_repeats_what_stands_between_the_first_two(tiny, design, branch):
    given, after = DESIGN_STRINGS[design]
    network = architecture.build(tiny(branch=given, after=after, bottleneck=True, depth=11), 10)
    assert {text(unit.branch) for unit in units(network)} == {branch}
    assert {text(unit.after) for unit in units(network)} == {after}


def test_a_branch_with_as_many_convs_as_kernels_is_taken_as_it_is(tiny):
    branch = "conv act conv norm conv"
    for fields in ({"kernels": (3, 1, 5), "depth": 11}, {"bottleneck": True, "depth": 11}):
        network = architecture.build(tiny(branch=branch, **fields), 10)
        assert {text(unit.branch) for unit in units(network)} == {branch}
    single = architecture.build(tiny(branch="norm act conv", kernels=(3,), depth=5), 10)
    assert [unit.convs for unit in units(single)] == [
        (ConvSpec(4, 3),),
        (ConvSpec(8, 3, 2),),
        (ConvSpec(8, 3, 2),),
    ]


def test_kernels_name_the_sizes_and_repeat_the_branch(tiny):
    # Zagoruyko & Komodakis 2016, arXiv 1605.07146, section 2.1: B(3, 1, 3, 1).
    network = architecture.build(tiny(design="full_preact", kernels=(3, 1, 3, 1), depth=14), 10)
    (unit,) = network.stages[1]
    assert text(unit.branch) == " ".join(["norm act conv"] * 4)
    assert unit.convs == (ConvSpec(8, 3, 2), ConvSpec(8, 1), ConvSpec(8, 3), ConvSpec(8, 1))


@pytest.mark.parametrize(
    ("fields", "strides"),
    [
        ({}, (2, 1)),
        ({"stride_on": "first"}, (2, 1)),
        ({"bottleneck": True, "depth": 11}, (1, 2, 1)),
        ({"bottleneck": True, "depth": 11, "stride_on": "first"}, (2, 1, 1)),
        ({"kernels": (1, 1), "depth": 8}, (2, 1)),
        ({"kernels": (1, 5), "depth": 8}, (1, 2)),
    ],
)
def test_the_first_unit_of_every_later_stage_has_stride_2(tiny, fields, strides):
    network = architecture.build(tiny(**fields), 10)
    assert [unit.stride for unit in units(network)] == [1, 2, 2]
    assert {conv.stride for conv in units(network)[0].convs} == {1}
    for unit in units(network)[1:]:
        assert tuple(conv.stride for conv in unit.convs) == strides


def test_a_bottleneck_is_four_times_as_wide_outside(section):
    network = architecture.build(section(bottleneck=True, depth=11, projection="B"), 10)
    widths = [tuple(conv.features for conv in unit.convs) for unit in units(network)]
    assert widths == [(16, 16, 64), (32, 32, 128), (64, 64, 256)]
    assert [unit.features for unit in units(network)] == [64, 128, 256]


def test_width_multiplies_every_stage_but_not_the_stem(section):
    network = architecture.build(section(depth=10, width=2.5), 10)
    assert network.stem_convs == (ConvSpec(16, 3),)
    assert [unit.features for unit in units(network)] == [40, 80, 160]


def test_groups_and_the_bottleneck_width_make_a_resnext(section):
    # Xie et al. 2017, arXiv 1611.05431, section 5.3: ResNeXt-29, 8x64d.
    model = section(
        depth=29,
        bottleneck=True,
        groups=8,
        bottleneck_width=64,
        stage_widths=(64, 128, 256),
        projection="B",
    )
    network = architecture.build(model, 10)
    assert [len(stage) for stage in network.stages] == [3, 3, 3]
    inner, outer = (512, 1024, 2048), (256, 512, 1024)
    for stage, narrow, wide in zip(network.stages, inner, outer, strict=True):
        assert [(conv.features, conv.groups) for conv in stage[1].convs] == [
            (narrow, 1),
            (narrow, 8),
            (wide, 1),
        ]


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        # He et al. 2016, Appendix "Implementation Details": the first unit, and where a shortcut projects.
        ("paper", [True, False, True, False, True, False]),
        ("none", [False] * 6),
        ("all", [True] * 6),
        ("reshaping", [False, False, True, False, True, False]),
        ("projected", [False] * 6),  # option A is no convolution
    ],
)
def test_which_units_share_their_preactivation(section, shared, expected):
    network = architecture.build(section(design="full_preact", depth=14, shared_preact=shared), 10)
    assert [unit.shared_preact for unit in units(network)] == expected


def test_projected_are_the_units_that_a_convolution_brings_to_another_shape(section):
    for fields in ({"projection": "B"}, {"shortcut": "conv"}):
        network = architecture.build(section(design="nf", depth=14, **fields), 10)
        found = [unit.shared_preact for unit in units(network)]
        assert found == [False, False, True, False, True, False]


def test_a_rows_other_columns_are_fields_too(tiny):
    options = architecture.build(tiny(design="nf"), 10).options
    assert (options.standardization, options.scaled_activation) == ("scaled", True)
    fields = {"weight_standardization": "none", "scaled_activation": False}
    options = architecture.build(tiny(design="nf", **fields), 10).options
    assert (options.standardization, options.scaled_activation) == ("none", False)
    options = architecture.build(tiny(weight_standardization="plain"), 10).options
    assert (options.standardization, options.scaled_activation) == ("plain", False)


def test_units_know_their_number_and_how_many_there_are(section):
    network = architecture.build(section(depth=14), 10)
    assert [(unit.index, unit.units) for unit in units(network)] == [(n, 6) for n in range(1, 7)]


# Depths


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({"depth": 20}, (3, 3, 3)),  # 6n + 2
        ({"depth": 110}, (18, 18, 18)),
        ({"depth": 28}, (4, 4, 4)),  # 6n + 4: wide networks
        ({"depth": 16}, (2, 2, 2)),
        ({"depth": 164, "bottleneck": True}, (18, 18, 18)),  # 9n + 2
        ({"depth": 29, "bottleneck": True}, (3, 3, 3)),
        ({"depth": 14, "kernels": (3, 1, 3, 1)}, (1, 1, 1)),  # 12n + 2
        ({"depth": 20, "stage_sizes": (1, 2, 3)}, (1, 2, 3)),
        ({"depth": 1, "stage_sizes": (5, 1), "stage_widths": (4, 8)}, (5, 1)),
        ({"depth": 18, "stage_widths": (4, 8, 8, 8)}, (2, 2, 2, 2)),
        ({"depth": 101, "stage_widths": (4, 8, 8, 8), "bottleneck": True}, (3, 4, 23, 3)),
    ],
)
def test_units_per_stage_follow_from_the_depth_unless_given(section, fields, sizes):
    model = section(**fields)
    assert architecture.stage_sizes(model) == sizes
    network = architecture.build(model, 10)
    assert tuple(len(stage) for stage in network.stages) == sizes


# Errors: the field, and what to type


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"branch": "conv nrom act conv"}, ["config.model.branch", "'nrom'", "'norm'", "drop(rate)"]),
        ({"branch": "conv pool conv"}, ["config.model.branch", "'pool' is no token"]),
        ({"branch": ""}, ["config.model.branch=''", "no 'conv'", "write"]),
        ({"branch": "norm act"}, ["config.model.branch='norm act'", "no 'conv'"]),
        (
            {"branch": "conv act conv act conv"},
            ["config.model.branch has 3 'conv'", "(3, 3)", "write 2 'conv'", "config.model.kernels"],
        ),
        (
            {"branch": "conv", "bottleneck": True, "depth": 11},
            ["config.model.branch has 1 'conv'", "(1, 3, 1)", "write 2 or 3 'conv'"],
        ),
        (
            {"kernels": (3,), "depth": 5},
            ["config.model.branch has 2 'conv'", "write 1 'conv'", "name 2 sizes"],
        ),
        ({"after": "act("}, ["config.model.after", "')'"]),
        ({"after": "conv act"}, ["config.model.after", "may not hold 'conv'", "config.model.branch"]),
        ({"final": "conv"}, ["config.model.final", "may not hold 'conv'", "config.model.branch"]),
        ({"final": "nrom"}, ["config.model.final", "'nrom'", "'norm'"]),
        ({"stem": "imagnet"}, ["config.model.stem", "'imagnet'", "conv(kernel, stride, features)"]),
        ({"stem": "conv(0)"}, ["config.model.stem", "kernel='0'", "at least 1"]),
        ({"depth": 21}, ["config.model.depth=21", "6n+2 (such as 20)", "6n+4 (such as 22)"]),
        ({"depth": 1}, ["config.model.depth=1", "6n+2 (such as 8)", "6n+4 (such as 10)"]),
        ({"depth": 2}, ["config.model.depth=2", "(such as 8)"]),
        (
            {"depth": 21, "bottleneck": True},
            ["config.model.depth=21", "bottleneck", "9n+2 (such as 20)", "9n+4 (such as 22)"],
        ),
        (
            {"depth": 20, "stage_widths": (4, 4, 8, 8)},
            ["config.model.depth=20", "18 with bottleneck=False", "50 with bottleneck=True"],
        ),
        (
            {"depth": 50, "stage_widths": (4, 4, 8, 8)},
            ["config.model.depth=50", "bottleneck=False", "config.model.stage_sizes"],
        ),
        (
            {"stage_sizes": (2, 2)},
            ["config.model.stage_sizes=(2, 2)", "config.model.stage_widths=(4, 8, 8)", "equal"],
        ),
        ({"groups": 3}, ["config.model.groups=3", "stage 1", "divisor"]),
        ({"width": 0.05}, ["config.model.width=0.05", "stage 1", "without channels"]),
        (
            {"stage_widths": (8, 4, 4)},
            ["config.model.projection='A'", "8 channels to 4", "config.model.projection='B'"],
        ),
        ({"branch": "conv mul(1/(L-3)) conv"}, ["config.model.branch", "mul(1/(L-3))", "L=3"]),
        ({"branch": "conv mul(1/(l-2)) conv"}, ["config.model.branch", "mul(1/(l-2))", "l=2"]),
        ({"after": "mul(sqrt(2-l))"}, ["config.model.after", "mul(sqrt(2-l))", "l=3"]),
        ({"stem": "conv mul(1/l)"}, ["config.model.stem", "mul(1/l)", "l=0"]),
        ({"final": "mul(1/(L-l))"}, ["config.model.final", "mul(1/(L-l))", "l=3"]),
        ({"branch": "conv mul(n) conv"}, ["config.model.branch", "factor='n'", "L, l, beta"]),
        ({"shortcut": ""}, ["config.model.shortcut=''", "exactly one", "exclusive_gate(bias)"]),
        ({"shortcut": "identity none"}, ["config.model.shortcut='identity none'", "exactly one"]),
        ({"shortcut": "idntity"}, ["config.model.shortcut", "'idntity'", "'identity'", "drop(rate)"]),
        ({"shortcut": "scale"}, ["config.model.shortcut", "'scale' needs shortcut"]),
        ({"shortcut": "shortcut_gate(x)"}, ["config.model.shortcut", "bias='x'", "in [-1000, 1000)"]),
        ({"shortcut": "drop(1)"}, ["config.model.shortcut", "rate='1'", "in [0, 1)"]),
        ({"shortcut": "conv(batch)"}, ["config.model.shortcut", "norm='batch'", "none, norm"]),
        ({"shortcut": "scale(1/(l-2))"}, ["config.model.shortcut", "scale(1/(l-2)", "l=2"]),
        ({"combine": "sum"}, ["config.model.combine", "'sum'", "orthogonal(over, epsilon)"]),
        ({"combine": "add(1, 1/(L-3))"}, ["config.model.combine", "add(1, 1/(L-3))", "L=3"]),
        ({"combine": "orthogonal(image)"}, ["config.model.combine", "position, tensor"]),
        ({"combine": "learned(inf)"}, ["config.model.combine", "shortcut='inf'", "finite"]),
        (
            {"shortcut": "none", "combine": "subtract"},
            ["config.model.combine='subtract'", "config.model.shortcut='none'", "'add'"],
        ),
        ({"init": ((".*", "zeros"),)}, ["config.model.init", "'zeros'", "fill(value)"]),
        (
            {"design": "fixup", "branch": "bias conv", "kernels": (3,), "depth": 5},
            ["config.model.init of design 'fixup'", "m=1"],
        ),
    ],
)  # fmt: skip
def test_what_describes_no_network_is_refused_by_field_with_what_to_type(tiny, fields, words):
    message = error(tiny(**fields))
    assert [word for word in words if word not in message] == []
    assert message.count("\n") == 0


def test_option_a_may_shrink_where_no_shortcut_does(tiny):
    architecture.build(tiny(stage_widths=(8, 4, 4), shortcut="none"), 10)
    architecture.build(tiny(stage_widths=(8, 4, 4), projection="B"), 10)
    architecture.build(tiny(stage_widths=(8, 4, 4), shortcut="conv"), 10)


def test_a_factor_has_to_have_a_value_only_where_it_stands(tiny):
    network = architecture.build(tiny(branch="conv mul(1/(L-1)) conv", after="mul(1/l)"), 10)
    assert [unit.index for unit in units(network)] == [1, 2, 3]
