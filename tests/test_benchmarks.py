"""The benchmarks time the networks that they name."""

import jax
import pytest

from benchmarks import tables, workloads
from benchmarks.augment import STRINGS
from benchmarks.networks import NETWORKS, SIZES, config_for
from benchmarks.workloads import Workload
from resnet_jax import plan
from resnet_jax.data import augment
from resnet_jax.models.architecture import stage_sizes


@pytest.mark.parametrize("name", NETWORKS)
def test_a_timed_network_is_valid_and_has_the_units_that_its_peer_gets(name):
    config = config_for(name, batch=16, backend="xla")
    assert stage_sizes(config.model) == SIZES[name]
    assert plan.make(config, jax.devices()[:1]).parameters > 100_000


def test_the_peer_is_the_same_network():
    """By the number of parameters, which the benchmark also checks; needs PyTorch."""
    pytest.importorskip("torch")
    from benchmarks import torch_resnet

    for name in NETWORKS:
        _, count = torch_resnet.make(NETWORKS[name], SIZES[name], 2, 1, train=True)
        ours = plan.make(config_for(name, batch=16, backend="xla"), jax.devices()[:1])
        assert count == ours.parameters


def test_a_measured_row_replaces_the_one_of_its_name():
    text = "before\n<!-- speed -->\n<!-- /speed -->\nafter\n"
    first = [{"what": "a", "ratio": "1.00"}, {"what": "b", "ratio": "2.00"}]
    text = tables.merge(text, "speed", first)
    assert tables.parse(text) == first
    text = tables.merge(text, "speed", [{"what": "b", "ratio": "3.00"}])
    assert tables.parse(text) == [first[0], {"what": "b", "ratio": "3.00"}]
    assert text.startswith("before\n<!-- speed -->\n| what | ratio |\n")
    assert text.endswith("<!-- /speed -->\nafter\n")


def test_a_table_without_its_place_is_an_error():
    with pytest.raises(ValueError, match="no section <!-- speed -->"):
        tables.merge("text", "speed", [{"what": "a"}])


@pytest.mark.parametrize("constant", [False, True])
def test_our_side_takes_steps(constant, monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", {"stage_sizes": (1,), "stage_widths": (4,)})
    step, count = workloads.ours(Workload("tiny", batch=8, backend="xla", constant=constant))
    step()
    assert count == 4 * 27 + 8 + 2 * (4 * 4 * 9 + 8) + 50


def test_every_token_of_augment_is_timed():
    names = {token.name for text in STRINGS for token in augment.parse(text, (32, 32, 3))}
    assert names == set(augment.VOCABULARY)
