"""Many comparisons in one table: which claims it may make, with one error for all of them together."""

import dataclasses

import numpy as np

from resnet_jax.ablation.power import EQUIVALENCE_SHARE


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values (1979, Scandinavian Journal of Statistics 6).

    Args:
        p: `[m]`, one a comparison; NaN (no test was possible) counts as 1.
    """
    p = np.nan_to_num(np.asarray(p, float), nan=1.0)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a table claims about one of its comparisons.

    Attributes:
        different: the means differ.
        equivalent: the means differ by less than the margin.
        level: at which the difference was tested.
        equivalence_level: at which the equivalence was.
    """

    different: bool
    equivalent: bool
    level: float
    equivalence_level: float


def decide(p: np.ndarray, p_equivalent: np.ndarray, level: float = 0.05) -> tuple[Decision, ...]:
    """Holm's steps over the comparisons, so that *any* false claim has at most probability `level`.

    A comparison makes at most one claim that can be false: its means are equal (then "different"
    is), or they differ by the margin or more (then "equivalent" is), never both. With m = 1 each
    claim thus has the whole level. With more, an equivalence is tested at share x level/m, and after
    r differences are found, t of them without equivalence, the next is tested at
    level x (1 - share x t/m) / (m - r): Holm's step less what those t may still claim falsely. For any
    set of true hypotheses the levels add up to at most `level` and they only grow on the way, so
    the whole is a sequentially rejective Bonferroni procedure, under any dependence (Goeman &
    Solari 2010, doi:10.1214/10-AOS829).

    Args:
        p: `[m]`, of `Contrast`; NaN makes no claim.
        p_equivalent: `[m]`, likewise.
        level: the probability of any false claim in the table.

    Returns:
        One decision a comparison, in the given order.
    """
    p = np.nan_to_num(np.asarray(p, float), nan=1.0)
    p_equivalent = np.nan_to_num(np.asarray(p_equivalent, float), nan=1.0)
    m = len(p)
    share = 1.0 if m == 1 else EQUIVALENCE_SHARE
    equivalence_level = share * level / max(m, 1)
    equivalent = p_equivalent <= equivalence_level
    different, levels = np.zeros(m, bool), np.zeros(m)
    for candidate in np.argsort(p, kind="stable"):
        still_open = np.sum(different & ~equivalent)
        step = level * (1 - share * still_open / m) / (m - np.sum(different))
        if p[candidate] > step:
            levels[~different] = step
            break
        different[candidate], levels[candidate] = True, step
    return tuple(
        Decision(bool(different[i]), bool(equivalent[i]), float(levels[i]), equivalence_level)
        for i in range(m)
    )
