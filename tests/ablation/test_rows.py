import json

import numpy as np
import pytest

from resnet_jax.ablation import rows
from resnet_jax.errors import WorkdirError

ARMS = {"a": None, "b": "a"}
RESULTS = {"a": [900, 910], "b": [920, "diverged"]}


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refusal(sweep) -> str:
    with pytest.raises(WorkdirError) as caught:
        rows.read_rows(sweep, rows.read_declaration(sweep))
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_a_sweep_is_read_as_it_was_written(write_sweep):
    sweep = write_sweep(ARMS, RESULTS)
    declared = rows.read_declaration(sweep)
    assert [(arm.name, arm.control) for arm in declared.arms] == [("a", None), ("b", "a")]
    assert (declared.test, declared.margin, declared.smallest) == ("welch", 0.1, 0.2)
    assert (declared.seeds, declared.added_seeds) == ((0, 1), ())
    found = rows.read_rows(sweep, declared)
    assert [(r.arm, r.seed, r.accuracy) for r in found] == [
        ("a", 0, 0.9),
        ("a", 1, 0.91),
        ("b", 0, 0.92),
        ("b", 1, None),
    ]
    assert found[3].status == "diverged"
    assert found[3].correct is None
    np.testing.assert_array_equal(found[0].correct, np.arange(1000) < 900)


def test_additions_are_known(write_sweep):
    sweep = write_sweep(ARMS, RESULTS, added_seeds=[1])
    arms = json.loads((sweep / "sweep.json").read_text())["arms"]
    arms[1]["added"] = True
    change(sweep / "sweep.json", arms=arms)
    declared = rows.read_declaration(sweep)
    assert declared.added_seeds == (1,)
    assert [arm.added for arm in declared.arms] == [False, True]


def test_no_sweep_and_no_rows_say_what_to_do(write_sweep, tmp_path):
    with pytest.raises(WorkdirError, match=r"no sweep\.json"):
        rows.read_declaration(tmp_path / "nothing")
    assert "no rows yet" in refusal(write_sweep(ARMS, {"a": [None]}))


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
@pytest.mark.parametrize("name", ["sweep.json", "rows/a-s0.json"])
def test_damaged_json_names_the_file(write_sweep, name, text):
    sweep = write_sweep(ARMS, RESULTS)
    (sweep / name).write_text(text)
    message = refusal(sweep)
    assert str(sweep / name) in message
    assert "damaged" in message


@pytest.mark.parametrize("name", ["sweep.json", "rows/a-s0.json"])
def test_another_format_is_refused(write_sweep, name):
    sweep = write_sweep(ARMS, RESULTS)
    change(sweep / name, format=2)
    assert "format 2, this version of resnet_jax reads 1" in refusal(sweep)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"test": "best"}, "welch or sign_flip"),
        ({"metric": "best_accuracy"}, "expected test_accuracy"),
        ({"seeds": []}, "seed"),
        ({"seeds": [1, 1]}, "twice"),
        ({"arms": []}, "arm"),
        ({"arms": [{"name": "a"}]}, "overrides"),
        ({"arms": [{"name": "a", "overrides": {}, "control": "c"}]}, "'c' is no arm"),
        ({"arms": [{"name": "a", "overrides": {}, "control": "a"}]}, "its own control"),
        ({"margin": 0}, "margin"),
        ({"level": "high"}, "high"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(write_sweep, fields, word):
    sweep = write_sweep(ARMS, RESULTS)
    change(sweep / "sweep.json", **fields)
    assert word in refusal(sweep)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"status": "fine"}, "done, diverged, failed"),
        ({"test_accuracy": None}, "damaged"),
        ({"test_accuracy": 90.0}, "between 0 and 1"),
        ({"test_accuracy": float("nan")}, "between 0 and 1"),
        ({"test_accuracy": 0.95}, "'correct' says 0.9"),
        ({"correct": "AAAA"}, "24 bits for 1000 examples"),
        ({"correct": "!"}, "no base64"),
        ({"seed": 7}, "not declared"),
        ({"arm": "c"}, "not declared"),
        ({"seed": 1}, "same arm and seed"),
    ],
)
def test_a_wrong_row_says_what_is_wrong(write_sweep, fields, word):
    sweep = write_sweep(ARMS, RESULTS)
    change(sweep / "rows/a-s0.json", **fields)
    message = refusal(sweep)
    assert word in message
    assert "a-s0.json" in message


def test_a_row_without_single_answers_is_still_a_row(write_sweep):
    sweep = write_sweep(ARMS, RESULTS, rows={("a", 0): {"correct": None}})
    found = rows.read_rows(sweep, rows.read_declaration(sweep))
    assert found[0].accuracy == 0.9
    assert found[0].correct is None
