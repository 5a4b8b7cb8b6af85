"""Weights are put into a network, and every array is accounted for."""

import jax
import numpy as np
import pytest

from resnet_jax import params, plan, step
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import load
from resnet_jax.models import architecture


@pytest.fixture
def variables(tiny_config):
    """A function from classes, seed and model fields to a small network's variables."""

    def make(classes=10, seed=0, **fields):
        tiny_config.model.update(fields)
        model = architecture.build(tiny_config.model, classes)
        made = step.init_variables(model, seed, (8, 8, 1))
        return jax.tree.map(lambda x: np.asarray(x) + seed, made)

    return make


def named(variables):
    return dict(zip(params.names(variables), jax.tree.leaves(variables), strict=True))


def test_all_arrays_are_taken(variables):
    initial, source = variables(seed=0), variables(seed=1)
    merged, account = load.combine(initial, source)
    jax.tree.map(np.testing.assert_array_equal, merged, source)
    assert set(account.loaded) == set(named(initial))
    assert (account.fresh, account.dropped) == ((), ())


def test_a_new_head_stays_as_initialised(variables):
    initial, source = variables(classes=4), variables(classes=10, seed=1)
    merged, account = load.combine(initial, source, reinit=("head",))
    jax.tree.map(np.testing.assert_array_equal, merged["params"]["head"], initial["params"]["head"])
    np.testing.assert_array_equal(
        merged["params"]["stem"]["conv"]["kernel"], source["params"]["stem"]["conv"]["kernel"]
    )
    assert account.fresh == account.dropped == ("params/head/bias", "params/head/kernel")
    assert len(account.loaded) + len(account.fresh) == len(named(initial))
    assert len(account.loaded) + len(account.dropped) == len(named(source))


def test_statistics_go_with_the_parameters_of_their_norm(variables):
    initial, source = variables(), variables(seed=1)
    merged, account = load.combine(initial, source, reinit=("stem",))
    assert "batch_stats/stem/norm/mean" in account.fresh
    np.testing.assert_array_equal(merged["batch_stats"]["stem"]["norm"]["mean"], 0.0)


def test_another_number_of_classes_says_what_to_type(variables):
    initial, source = variables(classes=4), variables(classes=10, seed=1)
    with pytest.raises(ConfigError, match=r"for 10 classes, this one has 4.*\n?.*reinit"):
        load.combine(initial, source)


def test_missing_and_unwanted_arrays_are_listed_with_their_shapes(variables):
    small, large = variables(stage_sizes=(1, 1, 1)), variables(stage_sizes=(1, 1, 2), seed=1)
    for ours, theirs, words in (
        (large, small, "missing there"),
        (small, large, "not in this network"),
    ):
        listed = rf"in 10 arrays: (\S*stage3/block2/\S+ \(.*?\): {words};? ){{3}}and 7 more\n"
        with pytest.raises(ConfigError, match=listed) as caught:
            load.combine(ours, theirs)
        assert len(str(caught.value).splitlines()) == 2
    merged, account = load.combine(small, large, drop=("stage3/block2",))
    assert set(named(merged)) == set(named(small))
    assert all("stage3/block2" in name for name in account.dropped)
    merged, account = load.combine(large, small, reinit=("stage3/block2",))
    assert all("stage3/block2" in name for name in account.fresh)


def test_what_the_network_has_too_is_not_dropped(variables):
    with pytest.raises(ConfigError, match=r"drop leaves out params/head/bias, .* write .*reinit"):
        load.combine(variables(), variables(seed=1), drop=("head",))
    account = load.combine(variables(), variables(seed=1), drop=("head",), reinit=("head",))[1]
    assert account.dropped == ("params/head/bias", "params/head/kernel")


def test_another_hidden_layer_wants_a_new_head(variables):
    initial, source = variables(head="dense(4) act"), variables(seed=1, head="dense(5) act")
    for reinit in ((), ("head_hidden1",)):
        with pytest.raises(ConfigError, match=r"hidden layers.*\n?.*reinit='\(\"head\.\*\""):
            load.combine(initial, source, reinit=reinit)


def test_parameters_are_listed_before_statistics_and_the_source_is_named(variables):
    small, large = variables(stage_sizes=(1, 1, 1)), variables(stage_sizes=(1, 1, 2), seed=1)
    with pytest.raises(ConfigError, match=r"weights of a file do not fit .*: params/stage3/block2"):
        load.combine(large, small, of="a file")


def test_another_shape_is_an_error(variables):
    narrow, wide = variables(), variables(width=2.0, seed=1)
    with pytest.raises(ConfigError, match=r"do not fit.*\(.*\) there, \(.*\) here") as caught:
        load.combine(narrow, wide)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("field", ["reinit", "drop"])
def test_a_pattern_that_matches_nothing_is_an_error(variables, field):
    with pytest.raises(ConfigError, match=rf"finetune.{field}: 'heads' matches no parameter"):
        load.combine(variables(), variables(seed=1), **{field: ("heads",)})


def test_a_pattern_that_matches_nothing_is_refused_without_weights_too(tiny_config, one_device):
    tiny_config.finetune.reinit = ("heads",)
    with pytest.raises(ConfigError, match=r"finetune\.reinit: 'heads' matches no parameter"):
        plan.make(tiny_config, one_device)
