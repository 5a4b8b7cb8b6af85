"""A confusion matrix as lines of text: what is recognised of each class, and what it is taken for."""

import math

import numpy as np

from resnet_jax.confusion import Confusion
from resnet_jax.data.listing import shown

MOST_LINES = 30
"""Of more classes, as many are shown: those that are recognised least."""

_TAKEN_FOR = 3


def lines(confusion: Confusion) -> list[str]:
    """A line a class: images, recall, precision, F1, and the classes it is most often taken for.

    Classes without images, which a run on two data sets has, are left out.
    """
    present = np.flatnonzero(confusion.images)
    listed = present
    if len(present) > MOST_LINES:
        listed = present[np.argsort(confusion.recall[present], kind="stable")][:MOST_LINES]
    width = max(5, *(len(shown(confusion.classes[label])) for label in listed))
    found = [f"{'class':<{width}}  images  recall  precision     F1  most often taken for"]
    for label in listed:
        others = ", ".join(
            f"{shown(confusion.classes[other])}: {count:,}"
            for other, count in confusion.taken_for(label, _TAKEN_FOR)
        )
        f1 = confusion.f1[label]
        found.append(
            f"{shown(confusion.classes[label]):<{width}}  {confusion.images[label]:>6,}"
            f"  {_percent(confusion.recall[label]):>6}  {_percent(confusion.precision[label]):>9}"
            f"  {f1:>5.3f}  {others}".rstrip()
        )
    if len(listed) < len(present):
        found.append(
            f"... the {len(listed)} classes of {len(present)} that are recognised least; --json has all"
        )
    return found


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"
