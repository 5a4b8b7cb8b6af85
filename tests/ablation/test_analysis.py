import numpy as np
import pytest

from resnet_jax.ablation import statistics
from resnet_jax.ablation.analysis import analyse

CONTROLLED = {"old-20": None, "new-20": "old-20", "old-56": None, "new-56": "old-56", "alone": None}
RESULTS = {
    "old-20": [900, 902, 901, 899, 903],
    "new-20": [920, 921, 922, 919, 923],
    "old-56": [940, 941, 938, 942, 939],
    "new-56": [940, 942, 941, 937, 940],
    "alone": [950, 951, 952, 953, 954],
}


def compared(table, arm):
    return next(c for c in table.comparisons if c.arm == arm)


def test_every_arm_is_described_and_compared_with_its_own_control(write_sweep):
    table = analyse(write_sweep(CONTROLLED, RESULTS))
    assert table.warnings == ()
    assert [arm.name for arm in table.arms] == list(CONTROLLED)
    assert [arm.nesting for arm in table.arms] == [0, 1, 0, 1, 0]
    assert [(c.arm, c.control) for c in table.comparisons] == [
        ("new-20", "old-20"),
        ("new-56", "old-56"),
    ]
    arm = table.arms[0]
    assert (arm.summary.n, arm.summary.median) == (5, 0.901)
    assert arm.summary.mean == pytest.approx(0.901)
    assert arm.accuracies == (0.9, 0.902, 0.901, 0.899, 0.903)
    assert [c.verdict.kind for c in table.comparisons] == ["better", "underpowered"]


def test_a_comparison_holds_the_declared_test_and_what_stands_beside_it(write_sweep):
    table = analyse(write_sweep(CONTROLLED, RESULTS))
    new, old = (np.array(RESULTS[name]) / 1000 for name in ("new-56", "old-56"))
    expected = statistics.welch(new, old, 0.001)
    found = compared(table, "new-56")
    assert found.difference == pytest.approx(0.0)
    assert (found.low, found.high) == pytest.approx([float(e) for e in expected.interval(0.95)])
    assert found.p == pytest.approx(float(expected.p))
    assert found.p_holm == pytest.approx(found.p)  # the larger of two
    assert compared(table, "new-20").p_holm == pytest.approx(2 * compared(table, "new-20").p)
    assert found.superiority == statistics.superiority(new, old)
    assert found.correlation == pytest.approx(np.corrcoef(new, old)[0, 1])
    assert found.bca is None
    assert found.other_images[0] < 0 < found.other_images[1]


def test_pairs_are_made_only_where_the_sweep_declared_it(write_sweep):
    """The same differences in every pair beside a large common spread."""
    arms = {"old": None, "new": "old"}
    results = {"old": [800, 850, 900, 820, 870, 830], "new": [803, 854, 903, 823, 874, 833]}
    paired = analyse(write_sweep(arms, results, test="sign_flip")).comparisons[0]
    assert paired.p == 2 / 2**6
    assert paired.verdict.kind == "better"
    assert paired.correlation > 0.99


def test_unpaired_the_same_runs_show_nothing(write_sweep):
    arms = {"old": None, "new": "old"}
    results = {"old": [800, 850, 900, 820, 870, 830], "new": [803, 854, 903, 823, 874, 833]}
    assert analyse(write_sweep(arms, results)).comparisons[0].verdict.kind == "underpowered"


def test_pairs_need_both_runs(write_sweep):
    results = {"old": [900, None, 901, 903], "new": [904, 905, "failed", 906]}
    table = analyse(write_sweep({"old": None, "new": "old"}, results, test="sign_flip"))
    assert table.comparisons[0].n == 2
    assert table.comparisons[0].difference == pytest.approx(0.0035)
    assert [arm.summary.n for arm in table.arms] == [3, 3]


def test_unfinished_runs_are_counted_and_said_first(write_sweep):
    results = {"old": [900, 901, None, 902], "new": [910, "diverged", "failed", 911]}
    table = analyse(write_sweep({"old": None, "new": "old"}, results))
    old, new = table.arms
    assert (old.summary.n, old.diverged, old.failed, old.missing) == (3, 0, 0, 1)
    assert (new.summary.n, new.diverged, new.failed, new.missing) == (2, 1, 1, 0)
    assert table.warnings == (
        "incomplete, 1 missing and 1 failed of 8 runs",
        "1 of 8 runs diverged and are in no mean",
    )
    assert table.comparisons[0].verdict.kind == "withheld"


def test_a_comparison_that_cannot_be_made_still_counts_in_the_correction(write_sweep):
    arms = {"old": None, "new": "old", "broken": "old"}
    results = {"old": [900, 901, 902], "new": [904, 906, 905], "broken": ["diverged"] * 3}
    new, broken = analyse(write_sweep(arms, results)).comparisons
    assert new.p_holm == pytest.approx(2 * new.p)
    assert broken.verdict.text == "withheld: 3 of 3 runs of broken diverged"
    assert (broken.n, broken.difference, broken.p, broken.p_holm) == (0, None, None, None)
    assert broken.superiority is broken.correlation is broken.other_images is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"versions": {"jax": "0.10.1", "python": "3.11.9"}},
            "jax (0.10.2: 3 runs, 0.10.1: 1 runs)",
        ),
        ({"device": "TPU v4"}, "device"),
        ({"devices": 8}, "device"),
        ({"conv_backend": "xla"}, "conv_backend"),
        ({"data": {"name": "cifar10", "sha256": "cd" * 32}}, "data (cifar10 abababab"),
        ({"git": "d" * 40}, "commit"),
        ({"git": "c" * 40 + "-dirty"}, "cccccccccc-dirty"),
        ({"config_sha256": "another"}, "runs of new have 2 different configs"),
        ({"config_sha256": "config of old"}, "old and new have the same config"),
        ({"overrides": {"model.design": "x"}}, "other overrides than declared"),
    ],
)
def test_differing_runs_are_said_first(write_sweep, changed, words):
    results = {"old": [900, 901], "new": [902, 903]}
    sweep = write_sweep({"old": None, "new": "old"}, results, rows={("new", 1): changed})
    assert words in "; ".join(analyse(sweep).warnings)


def test_other_test_images_are_never_resampled_together(write_sweep):
    changed = {"test_examples": 500, "correct": None, "test_accuracy": 0.9}
    results = {"old": [900, 901], "new": [902, 903]}
    sweep = write_sweep({"old": None, "new": "old"}, results, rows={("new", 1): changed})
    table = analyse(sweep)
    assert "test images (1000: 3 runs, 500: 1 runs)" in table.warnings[0]
    assert table.comparisons[0].other_images is None
    assert table.disagreements == ()


def test_later_additions_are_said_first(write_sweep):
    sweep = write_sweep({"old": None}, {"old": [900, 901]}, added_seeds=[1])
    assert analyse(sweep).warnings == ("seeds added after results were seen: 1",)


def test_images_on_which_arms_disagree(write_sweep):
    """An arm classifies the first images of the set correctly, and as many as it can."""
    table = analyse(write_sweep({"old": None, "new": "old"}, {"old": [998] * 2, "new": [1000] * 2}))
    assert [d.image for d in table.disagreements] == [998, 999]
    assert table.disagreements[0].right == {"old": 0.0, "new": 1.0}


def test_tables_are_pure_functions_of_the_files(write_sweep):
    sweep = write_sweep(CONTROLLED, {arm: 3 * ends for arm, ends in RESULTS.items()})
    first = analyse(sweep)
    assert compared(first, "new-20").bca is not None
    assert first == analyse(sweep)
