"""Named residual designs: one row of strings each (`unit.py` says what they mean)."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Design:
    """How a residual unit and the layers around the units are built.

    Attributes:
        branch: tokens of the residual branch.
        after: tokens after the two paths have met.
        source: paper and section.
        stem, final: tokens before the first and after the last unit; `None`: derived from `branch`.
    """

    branch: str
    after: str
    source: str
    stem: str | None = None
    final: str | None = None


DESIGNS = {
    "original": Design(
        branch="conv norm act conv norm",
        after="act",
        source="He et al. 2015, arXiv 1512.03385, figure 2; He et al. 2016, arXiv 1603.05027, figure 4a",
    ),
    "full_preact": Design(
        branch="norm act conv norm act conv",
        after="",
        source="He et al. 2016, arXiv 1603.05027, figure 4e",
    ),
}
