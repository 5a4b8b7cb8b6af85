"""Width against depth at equal parameters, around the wide networks of Zagoruyko & Komodakis 2016.

    python -m resnet_jax sweep configs/ablations/width_depth.py
    python -m resnet_jax sweep configs/ablations/width_depth.py:cpu

Nets within 1% of the parameters of WRN-40-4; their stages have whole numbers of channels:

    depth        16      22        28      40      52      64
    width      7.25    5.75    4.9375       4  3.4375  3.0625
    millions  9.005   8.871     8.906   8.949   8.902   8.886

`:cpu` is small and says little: depths 10, 16 and 28 within 1.6% of the 175,066 parameters of WRN-16-1
(172,410 and 176,089), 700 steps, 2 seeds. Time on 2 cores: about 15 minutes.

Expected, from the paper (arXiv 1605.07146, table 5, test error): WRN-40-4 4.53%; the wider and larger
WRN-16-8 4.27%, so that width is at least as good as depth. Time: 48 runs of 200 epochs; the command
prints its estimate.
"""

from configs import cifar10_wide_resnet
from configs.ablations import _recipes
from resnet_jax.ablation.design import Arm, Sweep, variant

WIDTHS = {40: 4.0, 16: 7.25, 22: 5.75, 28: 4.9375, 52: 3.4375, 64: 3.0625}
"""Depth -> factor on 16, 32, 64 channels; the first is what the others are compared with."""

SMALL_WIDTHS = {16: 1.0, 10: 1.5, 28: 0.6875}


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    small = variant(argument, "cpu") == "cpu"
    widths = SMALL_WIDTHS if small else WIDTHS
    base = _recipes.short(20, steps=700) if small else cifar10_wide_resnet.get_config()
    base.model.design = "full_preact"
    base.model.projection = "B"
    first = next(iter(widths))
    arms = tuple(
        Arm(
            f"wrn_{depth}",
            {"model.depth": depth, "model.width": width},
            control=None if depth == first else f"wrn_{first}",
        )
        for depth, width in widths.items()
    )
    return Sweep(
        name="width_depth",
        question="At equal parameters, is a deeper or a wider net more accurate?",
        base=base,
        arms=arms,
        seeds=tuple(range(2 if small else 8)),
    )
