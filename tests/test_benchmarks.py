"""The benchmarks time the networks that they name."""

import jax
import pytest

from benchmarks.networks import NETWORKS, SIZES, config_for
from resnet_jax import plan
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
