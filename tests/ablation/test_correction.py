import numpy as np
import pytest

from resnet_jax.ablation import correction


def decided(p, p_equivalent=None, level=0.05):
    p_equivalent = np.ones_like(p) if p_equivalent is None else p_equivalent
    return correction.decide(np.asarray(p), np.asarray(p_equivalent), level)


def test_holms_adjusted_p_values():
    """By hand: 0.01 x 4, 0.02 x 3, then max(0.06, 0.025 x 2), and 0.2 x 1."""
    p = [0.02, 0.2, 0.01, 0.025]
    assert correction.holm(np.array(p)) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    assert correction.holm(np.array([np.nan, 0.01])) == pytest.approx([1, 0.02])
    assert len(correction.holm(np.array([]))) == 0


def test_differences_are_found_step_by_step_as_in_holm():
    """0.04 alone would be found, and after two others at 0.05 less a share, but not before them."""
    assert [d.different for d in decided([0.001, 0.002, 0.04])] == [True] * 3
    assert [d.different for d in decided([0.001, 0.3, 0.04])] == [True, False, False]
    levels = [d.level for d in decided([0.001, 0.3, 0.04])]
    assert levels == pytest.approx([0.05 / 3, 0.05 * (1 - 0.1 / 3) / 2, 0.05 * (1 - 0.1 / 3) / 2])


def test_decisions_never_go_beyond_holm():
    random = np.random.default_rng(0)
    for _ in range(200):
        p = random.uniform(size=4) ** 3
        found = np.array([d.different for d in decided(p)])
        assert not (found & (correction.holm(p) > 0.05)).any()
        assert found[correction.holm(p) <= 0.045].all()


def test_one_comparison_has_the_whole_level_for_either_claim():
    assert decided([0.05])[0].different
    assert decided([0.9], [0.05])[0].equivalent
    assert not decided([0.9, 0.9], [0.0026, 0.5])[0].equivalent
    assert decided([0.9, 0.9], [0.0024, 0.5])[0].equivalent


def test_no_test_is_no_claim_but_counts():
    decisions = decided([np.nan, 0.03], [np.nan, 1.0])
    assert [d.different for d in decisions] == [False, False]
    assert not decisions[0].equivalent
    assert decided([]) == ()
