import dataclasses
import json

import pytest

from configs import digits_quickstart
from resnet_jax.ablation import design, directory
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.ablation.directory import Directory
from resnet_jax.errors import NonFiniteError, WorkdirError

ARMS = (Arm("a", {"model.depth": 8}), Arm("b", {"model.depth": 14}, control="a"))


@pytest.fixture
def sweep() -> Sweep:
    return Sweep("s", "Why?", digits_quickstart.get_config(), ARMS, (0, 1))


@pytest.fixture
def where(tmp_path) -> Directory:
    return Directory(tmp_path / "sweep")


def ended(where: Directory, arm: str, seed: int, code: int) -> None:
    where.write_row(directory.failed_row("no luck", code, arm, seed, {}))


def test_the_declaration_has_the_contracts_fields_and_is_that_of_the_file(sweep, where):
    assert where.declared() is None
    where.declare(sweep)
    stored = json.loads((where.path / "sweep.json").read_text())
    assert stored == where.declared()
    assert stored["format"] == 1
    assert stored["seeds"] == [0, 1]
    assert stored["arms"][1] == {
        "name": "b",
        "overrides": {"model.depth": 14},
        "control": "a",
    }
    assert stored["base"]["model.stage_widths"] == [16, 32, 64]
    words = {"name", "question", "test", "metric", "margin", "smallest", "level"}
    assert stored.keys() == words | {"format", "seeds", "arms", "base"}


def test_the_same_sweep_or_a_part_of_it_leaves_the_declaration_as_it_is(sweep, where):
    where.declare(sweep)
    before = (where.path / "sweep.json").read_bytes()
    assert where.declare(sweep) == []
    assert where.declare(design.with_seeds(sweep, 1)) == []
    assert where.declare(dataclasses.replace(sweep, arms=ARMS[:1])) == []
    assert (where.path / "sweep.json").read_bytes() == before


def test_what_is_added_after_runs_were_seen_is_marked(sweep, where):
    where.declare(sweep)
    ended(where, "a", 0, 5)
    more = dataclasses.replace(sweep, arms=(*ARMS, Arm("c", {}, control="a")), seeds=(0, 1, 2))
    assert "c, seed 2 added after" in where.declare(more)[0]
    stored = where.declared()
    assert [arm.get("added") for arm in stored["arms"]] == [None, None, True]
    assert (stored["seeds"], stored["added_seeds"]) == ([0, 1, 2], [2])
    assert where.declare(more) == []


def test_what_is_added_before_the_first_run_is_not_marked(sweep, where):
    where.declare(sweep)
    where.declare(design.with_seeds(sweep, 3))
    assert where.declared()["seeds"] == [0, 1, 2]
    assert "added_seeds" not in where.declared()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"question": "How?"}, "question: 'Why?' there, 'How?' now"),
        ({"test": "sign_flip"}, "test: 'welch' there"),
        ({"level": 0.1}, "level"),
        ({"arms": (ARMS[0], Arm("b", {"model.depth": 20}, control="a"))}, "arm b, model.depth: 14"),
        ({"arms": (ARMS[0], Arm("b", {"model.depth": 14}))}, "control of b: a there, None now"),
    ],
)
def test_another_sweep_is_refused_with_what_differs(sweep, where, changes, named):
    where.declare(sweep)
    with pytest.raises(WorkdirError) as caught:
        where.declare(dataclasses.replace(sweep, **changes))
    assert named in str(caught.value)


def test_the_machines_fields_may_change_and_the_recipes_may_not(sweep, where):
    where.declare(sweep)
    sha256 = directory.config_sha256(sweep.base)
    sweep.base.data.dir = "/elsewhere"
    sweep.base.checkpoint.every = 7
    sweep.base.seed = 5
    assert where.declare(sweep) == []
    assert directory.config_sha256(sweep.base) == sha256
    sweep.base.num_epochs = 21.0
    assert directory.config_sha256(sweep.base) != sha256
    with pytest.raises(WorkdirError, match=r"base, num_epochs: 20.0 there, 21.0 now"):
        where.declare(sweep)


def test_what_failed_is_left_to_do_and_what_diverged_is_not(sweep, where):
    ended(where, "a", 0, 5)
    ended(where, "a", 1, 3)
    where.row_path("b", 0).write_text("{")  # damaged
    left = [(arm.name, seed) for arm, seed in where.left(sweep.runs)]
    assert left == [("a", 1), ("b", 0), ("b", 1)]
    assert where.read_row("a", 0)["status"] == "diverged"
    assert where.read_row("a", 1)["status"] == "failed"


def test_the_row_of_a_failure_has_one_line_and_no_measurement():
    row = directory.failed_row(NonFiniteError("the loss is nan\ntry less"), 5, "a", 1, {"x": 2})
    assert row["error"] == "the loss is nan try less"
    assert row["x"] == 2
    assert not row.keys() & {"test_accuracy", "correct"}
    assert directory.failed_row(KeyError("k"), 1, "a", 1, {})["error"] == "KeyError('k')"


def test_a_damaged_declaration_is_an_error(sweep, where):
    where.declare(sweep)
    for text in ("{", "[]", '{"format": 2}'):
        (where.path / "sweep.json").write_text(text)
        with pytest.raises(WorkdirError, match=r"sweep\.json is damaged"):
            where.declare(sweep)


def test_a_run_is_held_by_one_at_a_time(where):
    with where.lock("a", 0) as first:
        assert first
        with where.lock("a", 0, patience=0) as second, where.lock("a", 1) as other:
            assert not second
            assert other
    with where.lock("a", 0) as again:
        assert again


def test_the_default_directory_follows_file_variant_and_settings():
    path = directory.default_path("configs/ablations/x.py", "cpu", ["model.depth=8,14"])
    assert str(path) == "runs/sweeps/x-cpu-model.depth=8,14"
    assert str(directory.default_path("x.py", None)) == "runs/sweeps/x"
