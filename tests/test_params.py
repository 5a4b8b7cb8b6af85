import jax
import jax.numpy as jnp
import pytest

from resnet_jax import params
from resnet_jax.errors import ConfigError

TREE = {
    "stem": {"conv": {"kernel": jnp.zeros((3, 3, 3, 4))}},
    "stage1": {"block1": {"norm1": {"scale": jnp.zeros(4), "bias": jnp.zeros(4)}}},
    "head": {"kernel": jnp.zeros((4, 2)), "bias": jnp.zeros(2)},
}


def test_names_are_paths():
    assert params.names(TREE) == [
        "head/bias",
        "head/kernel",
        "stage1/block1/norm1/bias",
        "stage1/block1/norm1/scale",
        "stem/conv/kernel",
    ]


def test_count_is_the_number_of_scalars():
    assert params.count(TREE) == 108 + 8 + 10


def test_a_pattern_matches_whole_names():
    matched = params.match(TREE, (".*/kernel",), "optimizer.decayed")
    names = params.names(TREE)
    chosen = [n for n, hit in zip(names, jax.tree.leaves(matched), strict=True) if hit]
    assert chosen == ["head/kernel", "stem/conv/kernel"]


def test_no_pattern_matches_nothing_and_one_for_all_everything():
    assert not any(jax.tree.leaves(params.match(TREE, (), "f")))
    assert all(jax.tree.leaves(params.match(TREE, (".*",), "f")))


def test_a_pattern_that_matches_nothing_is_an_error_that_names_neighbours():
    with pytest.raises(
        ConfigError, match=r"config\.optimizer\.decayed: 'kernel' matches no.*head/kernel"
    ):
        params.match(TREE, (".*", "kernel"), "optimizer.decayed")


def test_a_subtree_is_a_neighbour_too_where_it_may_be_named():
    with pytest.raises(ConfigError, match=r"'hed' matches no parameter; names are like head\b"):
        params.match_subtrees(TREE, ("hed",), "finetune.reinit")


def test_a_rows_own_pattern_says_how_to_do_without():
    with pytest.raises(ConfigError) as caught:
        params.match_of_row(TREE, "gain", "optimizer.rates of design 'fixup'")
    first, second = str(caught.value).splitlines()
    assert first.startswith("config.optimizer.rates of design 'fixup': 'gain' matches no parameter")
    assert second == "for none of the design's own write --config.optimizer.rates=()"
    with pytest.raises(ConfigError) as caught:
        params.match_of_row(TREE, "gain", "optimizer.rates")
    assert "\n" not in str(caught.value)


def test_a_broken_pattern_is_an_error():
    with pytest.raises(ConfigError, match="is no pattern"):
        params.match(TREE, ("(",), "optimizer.decayed")
