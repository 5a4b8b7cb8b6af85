"""The table of what a run does with each parameter, and the line on where they are from."""

import numpy as np
import pytest

from resnet_jax.finetune import table
from resnet_jax.finetune.load import Account

PARAMS = {
    "head": {"bias": np.zeros(10), "kernel": np.zeros((4, 10))},
    "stem": {"conv": {"kernel": np.zeros((3, 3, 3, 4))}, "norm": {"scale": np.zeros(4)}},
}
DECAYED = {
    "head": {"bias": False, "kernel": True},
    "stem": {"conv": {"kernel": True}, "norm": {"scale": False}},
}
LOADED = Account(
    loaded=("params/stem/conv/kernel", "params/stem/norm/scale"),
    fresh=("params/head/bias", "params/head/kernel"),
    dropped=("params/stage4/block1/conv1/kernel",),
)


def rows(frozen=(), account=LOADED, *, l2_sp=0.0, decay=0.5):
    """The treatments, with the stem at a tenth of the rate; `frozen` are parts."""
    still = {part: _same(tree, part in frozen) for part, tree in PARAMS.items()}
    rates = {part: _same(tree, 0.1 if part == "stem" else 1.0) for part, tree in PARAMS.items()}
    return table.treatments(PARAMS, still, DECAYED, rates, account, decay=decay, l2_sp=l2_sp)


def _same(tree, value):
    return {k: _same(v, value) if isinstance(v, dict) else value for k, v in tree.items()}


@pytest.mark.parametrize("l2_sp", [0.0, 0.1])
def test_only_what_was_loaded_decays_towards_the_start(l2_sp):
    found = {row.name: (row.decay, row.towards) for row in rows(l2_sp=l2_sp)}
    assert found == {
        "head/bias": (0.0, None),
        "head/kernel": (0.5, "0"),
        "stem/conv/kernel": (0.1, "start") if l2_sp else (0.5, "0"),
        "stem/norm/scale": (0.0, None),
    }


def test_without_a_coefficient_nothing_decays():
    assert all((row.decay, row.towards) == (0.0, None) for row in rows(decay=0.0))
    found = {row.name: row.towards for row in rows(decay=0.0, l2_sp=0.1)}
    assert found["head/kernel"] is None
    assert found["stem/conv/kernel"] == "start"


def test_what_is_frozen_neither_decays_nor_has_a_rate():
    for row in rows(frozen=("stem",)):
        if row.name.startswith("stem"):
            assert (row.frozen, row.decay, row.towards, row.rate) == (True, 0.0, None, 0.0)
        else:
            assert (row.frozen, row.rate) == (False, 1.0)


def test_lines_group_what_is_treated_alike_in_the_networks_order_and_the_sums_match():
    header, stem, head, total = table.lines(rows(l2_sp=0.1))
    assert header.split() == ["part", "parameters", "origin", "trained", "decayed", "by", "rate"]
    assert stem.split() == ["stem", "112", "loaded", "yes", "108", "0.1", "to", "start", "x", "0.1"]
    assert head.split() == ["head", "50", "fresh", "yes", "40", "0.5", "to", "0", "x", "1"]
    assert total.split()[:3] == ["in", "all", "162"]
    _, stem, *_ = table.lines(rows(frozen=("stem",)))
    assert stem.split() == ["stem", "112", "loaded", "frozen", "0", "-", "-"]


def test_columns_stay_in_line_under_a_long_name():
    params = {"head_hidden12": {"bias": np.zeros(3)}, "stem": {"bias": np.zeros(4)}}
    false = _same(params, False)
    found = table.treatments(params, false, false, _same(params, 1.0), None, decay=0.0, l2_sp=0.0)
    lines = table.lines(found)
    assert len({line.index(" fresh ") for line in lines[1:3]}) == 1
    assert [line.split()[0] for line in lines[1:3]] == ["stem", "head_hidden12"]


def test_what_is_new_and_frozen_is_named():
    assert table.new_and_frozen(rows(frozen=("stem",))) == []
    assert table.new_and_frozen(rows(frozen=("head", "stem"))) == ["head"]


def test_the_line_on_a_source_names_what_is_fresh_and_what_was_dropped():
    line = table.account_line(LOADED, "runs/first")
    assert line == (
        "runs/first: 2 of 4 arrays loaded, 2 fresh (head), 1 of the source dropped (stage4/block1/conv1)"
    )


def test_of_many_dropped_modules_the_parts_are_named():
    many = tuple(f"params/stage{i}/block{j}/conv1/kernel" for i in (3, 4) for j in range(1, 5))
    line = table.account_line(Account((), (), many), "x")
    assert line == "x: 0 of 0 arrays loaded, 0 fresh, 8 of the source dropped (stage3, stage4)"
