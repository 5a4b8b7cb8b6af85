"""What the answers to single test images add: how far a claim reaches, and where arms disagree."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 2_000
_CHUNK = 250


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A test image and how often each arm got it right.

    Attributes:
        image: index in the data set's own order.
        right: fraction of the arm's runs that classify it correctly, by arm.
    """

    image: int
    right: Mapping[str, float]


def intervals(
    correct: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]],
    seeds: Mapping[str, Sequence[int]],
    paired: bool,
    level: float = 0.05,
) -> list[tuple[float, float]]:
    """Intervals of differences of means over new seeds *and* new test images.

    The other intervals of the table are about these test images: another 10,000 would give other
    means. Here seeds and images are both drawn with replacement, the same images for all arms, and
    the interval is that of the percentiles. Its variance is, if anything, too large (Owen 2007, The
    pigeonhole bootstrap, doi:10.1214/07-AOAS122).

    Args:
        correct: bool `[n, N]` by arm: runs, test images.
        pairs: (arm, control), each with runs.
        seeds: of the runs of an arm, in their order.
        paired: whether seeds are drawn in pairs; the runs without a partner are left out.
        level: 1 minus the confidence.

    Returns:
        The two ends of each pair's interval.
    """
    random = np.random.default_rng(0)
    means = _resample_images(correct, random)
    drawn = {arm: random.integers(0, len(c), (RESAMPLES, len(c))) for arm, c in correct.items()}
    ends = []
    for arm, control in pairs:
        if paired:
            common = [seed for seed in seeds[arm] if seed in seeds[control]]
            chosen = random.integers(0, len(common), (RESAMPLES, len(common)))
            a, b = (means[x][:, [list(seeds[x]).index(s) for s in common]] for x in (arm, control))
            differences = np.take_along_axis(a - b, chosen, 1).mean(1)
        else:
            a, b = (np.take_along_axis(means[x], drawn[x], 1).mean(1) for x in (arm, control))
            differences = a - b
        low, high = np.quantile(differences, [level / 2, 1 - level / 2])
        ends.append((float(low), float(high)))
    return ends


def _resample_images(
    correct: Mapping[str, np.ndarray], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """`[RESAMPLES, n]` by arm: the accuracy of every run on each draw of test images."""
    images = next(iter(correct.values())).shape[1]
    as_numbers = {arm: c.T.astype(np.float32) for arm, c in correct.items()}
    chunks: dict[str, list[np.ndarray]] = {arm: [] for arm in correct}
    for _ in range(RESAMPLES // _CHUNK):  # in pieces: all draws at once would take 80 MB
        draws = random.integers(0, images, (_CHUNK, images))
        counts = np.stack([np.bincount(draw, minlength=images) for draw in draws])
        # Whole numbers below 2^24, which float32 adds without rounding: the same bits whatever the order
        # in which a machine, with so many cores, adds them.
        whole = counts.astype(np.float32)
        for arm, numbers in as_numbers.items():
            chunks[arm].append((whole @ numbers).astype(np.float64) / images)
    return {arm: np.concatenate(parts) for arm, parts in chunks.items()}


def disagreements(correct: Mapping[str, np.ndarray], most: int = 10) -> tuple[Disagreement, ...]:
    """The test images whose chance of being right differs most between the arms.

    Ordered by the range over the arms of the fraction of runs that are right, then by its variance,
    then by index. Images on which all arms agree are left out.

    Args:
        correct: bool `[n, N]` by arm: runs, test images.
        most: how many to return at most.
    """
    right = np.stack([c.mean(0) for c in correct.values()])  # [arms, N]
    width = np.ptp(right, axis=0)
    order = np.lexsort((np.arange(right.shape[1]), -right.var(0), -width))[:most]
    return tuple(
        Disagreement(int(image), dict(zip(correct, map(float, right[:, image]), strict=True)))
        for image in order
        if width[image] > 0
    )
