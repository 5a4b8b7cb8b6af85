import numpy as np
import pytest

from resnet_jax.ablation import statistics
from resnet_jax.ablation.correction import Decision
from resnet_jax.ablation.verdict import Plan, Side, judge

RANDOM = np.random.default_rng(0)
NOISE = np.linspace(-0.002, 0.002, 8)


def verdict(
    difference, different=False, equivalent=False, diverged=(0, 0), noise=NOISE, m=1, **plan
):
    """Of arms of one spread, about 0.15 points."""
    arm, control = 0.9 + difference + noise, 0.9 + noise
    n = len(noise)
    decision = Decision(different, equivalent, 0.05 / m, 0.05 / m)
    values = {"test": "welch", "margin": 0.001, "smallest": 0.002, "level": 0.05} | plan
    return judge(
        statistics.welch(arm, control, values["margin"]),
        decision,
        Side("new", n, diverged[0], n + diverged[0]),
        Side("old", n, diverged[1], n + diverged[1]),
        Plan(**values, comparisons=m),
        float(np.std(noise, ddof=1)) if n > 1 else None,
    )


def test_a_claim_names_its_size_and_an_interval():
    better = verdict(0.0053, different=True)
    low, high = statistics.welch(0.0053 + NOISE, NOISE, 0.1).interval(0.95)
    assert better.kind == "better"
    assert better.text == f"better by 0.53 points ({100 * low:.2f} to {100 * high:.2f})"
    worse = verdict(-0.0053, different=True)
    assert worse.kind == "worse"
    assert worse.text == better.text.replace("better", "worse")


def test_the_interval_in_a_claim_is_at_the_level_of_its_test():
    text = verdict(0.0053, different=True, m=4).text
    low, high = statistics.welch(0.0053 + NOISE, NOISE, 0.1).interval(1 - 0.05 / 4)
    assert f"({100 * low:.2f} to {100 * high:.2f})" in text


def test_equivalence_names_the_margin():
    found = verdict(0.0, equivalent=True, margin=0.003)
    assert found.kind == "equivalent"
    assert found.text.startswith("equivalent: within 0.30 points (-0.")
    both = verdict(0.0004, different=True, equivalent=True, margin=0.003)
    assert both.kind == "equivalent"
    assert ", though higher by 0.04 points (" in both.text
    assert (
        verdict(-0.0004, different=True, equivalent=True, margin=0.003)
        .text.replace("lower", "higher")
        .endswith(both.text.rpartition("though")[2])
    )


def test_no_claim_says_how_many_seeds_it_needs_for_the_declared_difference():
    """At a spread of 0.15 points: 9 or 10 an arm for 0.2 points, whatever was observed."""
    needs = statistics.seeds_needed(float(np.std(NOISE, ddof=1)), 0.002)
    for observed in (0.0, 0.0004, -0.01):
        found = verdict(observed)
        assert (found.kind, found.needs) == ("underpowered", needs)
        assert found.text == f"underpowered: needs n = {needs} (has 8)"
    assert verdict(0.0, m=4).needs > needs


def test_with_enough_seeds_for_a_difference_equivalence_is_what_lacks_seeds():
    found = verdict(0.0, smallest=0.004)
    assert found.kind == "underpowered"
    assert found.text.endswith("to show equivalence (has 8)")
    assert found.needs == statistics.seeds_for_equivalence(float(np.std(NOISE, ddof=1)), 0.001)
    assert verdict(0.0, smallest=0.004, margin=0.004).kind == "undecided"


def test_one_run_has_no_spread_to_plan_with():
    found = verdict(0.01, noise=NOISE[:1])
    assert (found.kind, found.needs) == ("underpowered", 2)
    assert verdict(0.01, noise=NOISE[:1], test="sign_flip", m=3).needs == 7


def test_runs_without_any_spread_measure_no_error():
    assert verdict(0.01, noise=np.zeros(5)).kind == "undecided"


@pytest.mark.parametrize(
    ("difference", "diverged", "kind"),
    [
        (0.01, (1, 0), "withheld"),  # the arm's mean is flattered
        (-0.01, (1, 0), "worse"),  # and it is worse all the same
        (0.01, (0, 2), "better"),
        (-0.01, (0, 2), "withheld"),
        (0.01, (1, 2), "withheld"),
        (-0.01, (1, 2), "withheld"),
    ],
)
def test_divergence_withholds_what_it_would_help(difference, diverged, kind):
    found = verdict(difference, different=True, diverged=diverged)
    assert found.kind == kind
    for name, count in zip(("new", "old"), diverged, strict=True):
        assert (f"{count} of {8 + count} runs of {name} diverged" in found.text) == (count > 0)


@pytest.mark.parametrize("diverged", [(1, 0), (0, 1)])
def test_no_equivalence_beside_divergence(diverged):
    assert verdict(0.0, equivalent=True, diverged=diverged).kind == "withheld"
    assert verdict(0.0, diverged=diverged).kind == "underpowered"


def test_an_arm_of_which_every_run_diverged():
    nan = np.float64(np.nan)
    nothing = statistics.Contrast(nan, nan, nan, lambda level: (nan, nan))
    decision = Decision(False, False, 0.05, 0.05)
    plan = Plan("welch", 0.001, 0.002, 0.05, 1)
    found = judge(nothing, decision, Side("new", 0, 5, 5), Side("old", 5, 0, 5), plan, None)
    assert (found.kind, found.text) == ("withheld", "withheld: 5 of 5 runs of new diverged")
    found = judge(nothing, decision, Side("new", 0, 0, 5), Side("old", 5, 0, 5), plan, None)
    assert found.text == "withheld: no finished runs to compare"
