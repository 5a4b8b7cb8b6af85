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


def rows(frozen=(), account=LOADED, *, towards_start=False):
    """The treatments, with the stem at a tenth of the rate; `frozen` are parts."""
    still = {part: _same(tree, part in frozen) for part, tree in PARAMS.items()}
    rates = {part: _same(tree, 0.1 if part == "stem" else 1.0) for part, tree in PARAMS.items()}
    return table.treatments(PARAMS, still, DECAYED, rates, account, towards_start=towards_start)


def _same(tree, value):
    return {k: _same(v, value) if isinstance(v, dict) else value for k, v in tree.items()}


@pytest.mark.parametrize("towards_start", [False, True])
def test_only_what_was_loaded_decays_towards_the_start(towards_start):
    found = {row.name: row.towards for row in rows(towards_start=towards_start)}
    assert found == {
        "head/bias": None,
        "head/kernel": "0",
        "stem/conv/kernel": "start" if towards_start else "0",
        "stem/norm/scale": None,
    }


def test_what_is_frozen_neither_decays_nor_has_a_rate():
    for row in rows(frozen=("stem",)):
        if row.name.startswith("stem"):
            assert (row.frozen, row.decayed, row.towards, row.rate) == (True, False, None, 0.0)
        else:
            assert (row.frozen, row.rate) == (False, 1.0)


def test_lines_group_what_is_treated_alike_and_the_sums_match():
    header, head, stem, total = table.lines(rows(towards_start=True))
    assert header.split() == [
        "part",
        "parameters",
        "origin",
        "trained",
        "decayed",
        "towards",
        "rate",
    ]
    assert head.split() == ["head", "50", "fresh", "yes", "40", "0", "x", "1"]
    assert stem.split() == ["stem", "112", "loaded", "yes", "108", "start", "x", "0.1"]
    assert total.split()[:3] == ["in", "all", "162"]


def test_the_line_on_a_source_names_what_is_fresh_and_what_was_dropped():
    line = table.account_line(LOADED, "runs/first")
    assert line == (
        "runs/first: 2 of 4 arrays loaded, 2 fresh (head), 1 of the source dropped (stage4/block1/conv1)"
    )


def test_of_many_dropped_modules_the_parts_are_named():
    many = tuple(f"params/stage{i}/block{j}/conv1/kernel" for i in (3, 4) for j in range(1, 5))
    line = table.account_line(Account((), (), many), "x")
    assert line == "x: 0 of 0 arrays loaded, 0 fresh, 8 of the source dropped (stage3, stage4)"
