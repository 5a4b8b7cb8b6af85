"""The procedure of the table, validated by simulation: its false claims and its power.

Every tolerance is three standard deviations of a binomial count; the seeds are fixed.
"""

import math

import numpy as np
import pytest

from resnet_jax.ablation import correction, power, statistics
from resnet_jax.ablation.analysis import tabulate
from resnet_jax.ablation.rows import Declaration, DeclaredArm, Row

TABLES = 4_000
SPREAD = 0.2  # points; so are all differences here


def limit(rate: float, tables: int = TABLES) -> float:
    """What a count of that rate stays below, but for one in a thousand."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / tables)


def claims(
    differences,
    n: int,
    test: str,
    margin: float = 0.1,
    correlation: float = 0.0,
    control_spread=1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Claims of better, worse and equivalent, bool `[TABLES, m]`, with one control for all arms."""
    random = np.random.default_rng(len(differences) * n)
    m = len(differences)
    seed_effect = math.sqrt(correlation) * random.normal(size=(TABLES, 1, n))
    noise = seed_effect + math.sqrt(1 - correlation) * random.normal(size=(TABLES, m + 1, n))
    control = SPREAD * control_spread * noise[:, :1]
    arms = SPREAD * noise[:, 1:] + np.array(differences)[:, None]
    contrast = getattr(statistics, test)(arms, np.broadcast_to(control, arms.shape), margin)
    decisions = [
        correction.decide(p, q) for p, q in zip(contrast.p, contrast.p_equivalent, strict=True)
    ]
    different = np.array([[d.different for d in table] for table in decisions])
    equivalent = np.array([[d.equivalent for d in table] for table in decisions])
    higher = contrast.difference > 0
    return different & higher, different & ~higher, equivalent


@pytest.mark.parametrize("test", ["welch", "sign_flip"])
@pytest.mark.parametrize(("m", "n"), [(1, 7), (4, 9)])
def test_at_no_difference_at_most_5_percent_of_tables_claim_one(test, m, n):
    better, worse, _ = claims([0.0] * m, n, test, correlation=0.5 if test == "sign_flip" else 0)
    false = (better | worse).any(1).mean()
    assert false <= limit(0.05)
    assert false > 0.01  # and the procedure is not merely silent


def test_without_correction_the_same_tables_would_claim_too_much():
    """What the simulation must be able to see."""
    random = np.random.default_rng(0)
    arms, control = random.normal(size=(TABLES, 4, 9)), random.normal(size=(TABLES, 1, 9))
    p = statistics.welch(arms, np.broadcast_to(control, arms.shape), 0.1).p
    assert (p <= 0.05).any(1).mean() > limit(0.05)


def test_whole_tables_claim_a_difference_falsely_in_at_most_5_percent(monkeypatch):
    """From rows to verdicts, with three arms and two controls of which one has a lost run."""
    monkeypatch.setattr(power, "seeds_needed", lambda *_: 99)  # slow, and beside the point here
    controls = {"a": None, "a1": "a", "a2": "a", "b": None, "b1": "b"}
    arms = tuple(DeclaredArm(name, {}, control) for name, control in controls.items())
    declared = Declaration("s", "q?", "welch", 0.1, 0.2, 0.05, tuple(range(5)), arms)
    random = np.random.default_rng(1)
    tables, wrong, counted = 300, 0, 0
    for _ in range(tables):
        rows = [
            Row(arm, seed, "done", float(accuracy), None, {}, None, None)
            for arm in controls
            for seed, accuracy in enumerate(random.normal(0.92, SPREAD / 100, 5))
            if (arm, seed) != ("b", 0)
        ]
        kinds = [c.verdict.kind for c in tabulate(declared, rows).comparisons]
        counted += len(kinds)
        wrong += "better" in kinds or "worse" in kinds
    assert counted == 3 * tables
    assert 0.01 < wrong / tables <= limit(0.05, tables)


def test_unequal_spreads_do_not_raise_the_false_claims():
    better, worse, _ = claims([0.0] * 3, 6, "welch", control_spread=4.0)
    assert (better | worse).any(1).mean() <= limit(0.05)


@pytest.mark.parametrize(
    ("differences", "n", "margin"),
    [
        ([0.3], 40, 0.3),  # equivalence just false
        ([0.3, 0.3, 0.3, 0.3], 40, 0.3),
        ([0.3, 0.0], 60, 0.3),  # one claim of each kind that can be false
        ([0.3, -0.3, 0.3, 0.0], 60, 0.3),
        ([0.05, 0.3, 0.0], 200, 0.3),  # truly different and truly equivalent
        ([3.0, 3.0, 3.0, 0.0], 20, 0.3),  # Holm's last step
    ],
)
def test_all_kinds_of_claims_together_are_false_in_at_most_5_percent(differences, n, margin):
    """Also where those of one arm are rightly decided and pass their level on to the next."""
    truth = np.array(differences)
    better, worse, equivalent = claims(differences, n, "welch", margin)
    false = (better & (truth <= 0)) | (worse & (truth >= 0)) | (equivalent & (abs(truth) >= margin))
    assert false.any(1).mean() <= limit(0.05)
    assert (better | worse | equivalent).any()


@pytest.mark.parametrize(("m", "n"), [(1, 17), (4, 24)])
def test_the_power_is_what_the_formula_says(m, n):
    """0.2 points at a spread of 0.2: one arm truly differs, the others do not."""
    better, worse, _ = claims([0.2] + [0.0] * (m - 1), n, "welch")
    expected = power.power(n, SPREAD, 0.2, m)
    assert 0.8 <= expected < 0.81
    found = better[:, 0].mean()
    tolerance = limit(expected) - expected
    # Holm's later steps add a little where another arm is found by chance: at most 5% of tables.
    assert expected - tolerance <= found <= expected + tolerance + 0.01
    assert worse[:, 0].sum() == 0


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("correlation", [0.75, 0.875])
def test_the_power_of_pairs_is_what_the_formula_says_approximately(m, correlation):
    """Correlated seeds: the spread of the differences is what counts."""
    spread = SPREAD * math.sqrt(2 * (1 - correlation))
    n = power.seeds_needed(spread, 0.2, m, "sign_flip")
    better, _, _ = claims([0.2] + [0.0] * (m - 1), n, "sign_flip", correlation=correlation)
    assert n < 17
    expected = power.power(n, spread, 0.2, m, "sign_flip")
    assert better[:, 0].mean() == pytest.approx(expected, abs=0.05 + limit(0.8) - 0.8)


@pytest.mark.parametrize("m", [1, 3])
def test_equal_means_are_shown_equivalent_as_often_as_the_formula_says(m):
    n = power.seeds_for_equivalence(SPREAD, 0.15, m)
    _, _, equivalent = claims([0.0] * m, n, "welch", margin=0.15)
    expected = power.equivalence_power(n, SPREAD, 0.15, m)
    assert 0.8 <= expected < 0.82
    assert equivalent[:, 0].mean() == pytest.approx(expected, abs=limit(0.8) - 0.8)


def test_intervals_cover():
    random = np.random.default_rng(3)
    arm, control = random.normal(0.3, 1, (TABLES, 6)), random.normal(0, 2, (TABLES, 6))
    for test, least in ((statistics.welch, 0.95), (statistics.sign_flip, 0.95)):
        low, high = test(arm, control, 0.1).interval(0.95)
        missed = ((low > 0.3) | (high < 0.3)).mean()
        assert 0.01 < missed <= limit(1 - least)
