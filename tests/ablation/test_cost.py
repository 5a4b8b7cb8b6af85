"""What runs cost: measured, read from rows, shown."""

import csv

import jax
import pytest

from resnet_jax import params, plan
from resnet_jax.ablation import cost, cost_picture, estimate, render, rows
from resnet_jax.ablation.analysis import analyse
from resnet_jax.data import spec
from resnet_jax.errors import ConfigError, WorkdirError

ARMS = {"scratch": None, "probe": "scratch", "old": None}
RESULTS = {"scratch": [900, 902], "probe": [880, 881], "old": [870, 871]}


@pytest.fixture
def measured(tiny_config):
    def measure(**fields):
        tiny_config.update_from_flattened_dict(fields)
        return cost.measure(tiny_config, spec.get("digits"))

    return measure


def test_a_step_is_about_three_forward_passes_and_momentum_a_copy_of_the_parameters(
    tiny_config, measured
):
    found = measured()
    network = estimate.network(tiny_config)
    forward = 2 * network.multiplications * tiny_config.batch_size
    assert (
        2.5 * forward < found["step_flops"] < 6 * forward
    )  # norms and updates weigh in so small a net
    parameters = sum(leaf.size for leaf in jax.tree.leaves(network.parameters))
    assert 4 * parameters <= found["optimizer_bytes"] <= 4 * parameters + 64


def test_a_network_without_a_stem_has_the_channels_of_its_data_set(tiny_config):
    # The digits have one channel, for which a norm in three groups has no use.
    tiny_config.update_from_flattened_dict(
        {"model.stem": "", "model.projection": "B", "model.branch": "norm(group(3)) act conv conv"}
    )
    with pytest.raises(ConfigError, match="1 channels"):
        estimate.network(tiny_config)


def test_an_estimate_knows_the_classes_of_mixed_data(tiny_config, one_device):
    tiny_config.data.name, tiny_config.data.mix = "digits", "digits"
    found = estimate.network(tiny_config).parameters
    assert params.count(found) == plan.make(tiny_config, one_device).parameters


def test_what_is_frozen_costs_no_memory_and_no_backward_pass(measured):
    whole = measured()
    probe = measured(**{"finetune.freeze": ("all_but_head",)})
    assert probe["optimizer_bytes"] < 0.2 * whole["optimizer_bytes"]
    assert probe["step_flops"] < 0.6 * whole["step_flops"]


def test_cached_features_cost_a_forward_pass_of_each_image_once(tiny_config, measured):
    probe = {"finetune.freeze": ("all_but_head",), "augment": "flip"}
    slow, fast = measured(**probe), measured(**probe | {"finetune.cache_features": True})
    forward = 2 * estimate.network(tiny_config).multiplications
    images = 2 * spec.get("digits").splits["train"]  # each and its mirror image
    assert fast["step_flops"] < 0.1 * slow["step_flops"]
    # XLA counts no product with the zeros of a border, which are many in so small an image.
    assert 0.7 * forward * images < fast["once_flops"] < 2 * forward * images
    assert slow["once_flops"] == 0
    assert fast["optimizer_bytes"] == slow["optimizer_bytes"]


def test_phases_differ_so_that_no_step_costs_what_another_does(measured):
    found = measured(**{"finetune.phases": (("head", ()), ("all", ()))})
    assert found == {"optimizer_bytes": None, "step_flops": None}


def test_the_convolutions_that_compute_make_no_difference(measured):
    assert measured(conv_backend="auto") == measured(conv_backend="xla")


@pytest.fixture
def sweep(write_sweep):
    """Two arms whose rows say what they cost, and one of an older version."""
    extra = {"step": 100, "step_flops": 2e9, "optimizer_bytes": 1_100_000, "seconds": 60.0}
    less = {"step": 100, "step_flops": 5e8, "optimizer_bytes": 2600, "seconds": 20.0}
    changed = {("scratch", seed): extra for seed in (0, 1)}
    changed |= {("probe", seed): less | {"seconds": 20.0 + 10 * seed} for seed in (0, 1)}
    return write_sweep(ARMS, RESULTS, rows=changed)


def test_an_arm_costs_the_mean_of_its_runs(sweep):
    by_name = {arm.name: arm.cost for arm in analyse(sweep).arms}
    assert by_name["scratch"] == rows.Cost(60.0, 1_100_000, 2e11)
    assert by_name["probe"] == rows.Cost(25.0, 2600, 5e10)
    assert by_name["old"] is None


def test_a_table_has_accuracy_and_cost_side_by_side(sweep):
    table = analyse(sweep)
    text = render.markdown(table)
    _, _, below = text.partition("What the arms cost:")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in below.splitlines()]
    shown = {line[0]: line[1:] for line in lines if line}
    assert shown["scratch"] == ["90.10%", "0.14", "60", "1.1 MB", "0.2", "-"]
    assert shown["- probe"] == ["88.05%", "0.07", "25", "2.6 kB", "0.05", "x 0.25"]
    assert "old" not in shown
    assert "TFLOP" in render.latex(table)
    records = list(csv.DictReader(render.comma_separated(table).splitlines()))
    by_name = {record["arm"]: record for record in records if record.get("arm") in ARMS}
    assert float(by_name["probe"]["flops"]) == 5e10
    assert by_name["old"]["flops"] == ""


def test_rows_without_costs_make_a_table_as_before(write_sweep):
    table = analyse(write_sweep(ARMS, RESULTS))
    assert "cost" not in render.markdown(table).lower()
    assert "flops" not in render.comma_separated(table)


def test_a_cost_that_is_no_number_is_damage(write_sweep):
    wrong = {"step": 100, "step_flops": float("inf"), "optimizer_bytes": 1, "seconds": 1.0}
    sweep = write_sweep(ARMS, RESULTS, rows={("probe", 0): wrong})
    with pytest.raises(WorkdirError, match=r"flops inf.*\n?"):
        analyse(sweep)


def test_the_picture_has_a_point_for_every_arm_with_a_cost(sweep, tmp_path):
    axes = cost_picture._figure(analyse(sweep)).axes[0]
    assert {text.get_text() for text in axes.texts} == {"scratch", "probe"}
    points = sorted(tuple(container.lines[0].get_xydata()[0]) for container in axes.containers)
    assert points == [pytest.approx((0.05, 88.05)), pytest.approx((0.2, 90.1))]
    with pytest.raises(WorkdirError, match="choose another --to"):
        cost_picture.draw(analyse(sweep), tmp_path / "no" / "cost.png")
