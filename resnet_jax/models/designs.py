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
        init: (pattern, rule) pairs of `initial_values.py`, on top of the layers' own initial values.
        learning_rates: (pattern, factor) pairs of `optimizer.rate_factors`.
        weight_standardization: of convolutions, one of `standardization.STANDARDIZATIONS`.
        scaled_activation: whether activations have unit variance for standard normal inputs.
        shared_preact: units whose shortcut starts behind the pre-activation, one of `SHARED_PREACTS`.
    """

    branch: str
    after: str
    source: str
    stem: str | None = None
    final: str | None = None
    init: tuple[tuple[str, str], ...] = ()
    learning_rates: tuple[tuple[str, float | str], ...] = ()
    weight_standardization: str = "none"
    scaled_activation: bool = False
    shared_preact: str = "paper"


SHARED_PREACTS = ("paper", "none", "all", "reshaping", "projected")
"""The first unit and those that change the shape; no unit; all; those that change the shape; of these, the
ones that do so by a convolution.

He et al. 2016, Appendix "Implementation Details", has the first unit, and the others where the shortcut is a
projection. That `paper` shares with the zero-padding of option A, too, is a choice of ours.
"""

DESIGNS = {
    "original": Design(
        branch="conv norm act conv norm",
        after="act",
        source="He et al. 2015, arXiv 1512.03385, figure 2; He et al. 2016, arXiv 1603.05027, figure 4a",
    ),
    "bn_after_add": Design(
        branch="conv norm act conv",
        after="norm act",
        source="He et al. 2016, arXiv 1603.05027, figure 4b",
    ),
    "relu_before_add": Design(
        branch="conv norm act conv norm act",
        after="",
        source="He et al. 2016, arXiv 1603.05027, figure 4c",
    ),
    "relu_only_preact": Design(
        branch="act conv norm act conv norm",
        after="",
        source="He et al. 2016, arXiv 1603.05027, figure 4d",
    ),
    "full_preact": Design(
        branch="norm act conv norm act conv",
        after="",
        source="He et al. 2016, arXiv 1603.05027, figure 4e",
    ),
    "fixup": Design(
        branch="bias conv bias act bias conv gain bias",
        after="act",
        source="Zhang et al. 2019, arXiv 1901.09321, section 3",
        init=(
            (r"stage\d+/block\d+/conv\d+/kernel", "mul(L**(-1/(2*m-2)))"),
            (r"stage\d+/block\d+/conv{m}/kernel", "fill(0)"),
            ("head/kernel", "fill(0)"),
        ),
        # The scalars, and not the head's bias.
        learning_rates=((r".*/(bias|gain)\d*/(bias|gain)", 0.1),),
        # In the authors' code a shortcut has the first bias where it changes the shape, and only there.
        shared_preact="reshaping",
    ),
    "skipinit": Design(
        branch="act conv act conv gain(0)",
        after="",
        source="De & Smith 2020, arXiv 2002.10444, section 3",
    ),
    # As in the authors' ResNet, which keeps its BatchNorm.
    "rezero": Design(
        branch="conv norm act conv norm act gain(0)",
        after="",
        source="Bachlechner et al. 2020, arXiv 2003.04887, section 3",
    ),
    "nf": Design(
        branch="mul(1/beta) act conv act conv mul(0.2)",
        after="",
        source="Brock et al. 2021, arXiv 2101.08692, section 4",
        weight_standardization="scaled",
        scaled_activation=True,
        # What a ReLU has passed has a mean; only a convolution brings that back to 0.
        shared_preact="projected",
    ),
    "depth_mup": Design(
        branch="act conv act conv mul(1/sqrt(L))",
        after="",
        source="Yang et al. 2023, arXiv 2310.02244, section 3",
        learning_rates=((r"stage\d+/block\d+/conv\d+/.*", "sqrt(L)**-adam"),),
    ),
}
