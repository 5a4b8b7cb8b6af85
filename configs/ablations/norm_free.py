"""Residual nets without normalisation, against BatchNorm.

    python -m resnet_jax sweep configs/ablations/norm_free.py
    python -m resnet_jax sweep configs/ablations/norm_free.py:cpu

Fixup (Zhang et al. 2019, arXiv 1901.09321), SkipInit (De & Smith 2020, arXiv 2002.10444), ReZero
(Bachlechner et al. 2020, arXiv 2003.04887), normaliser-free nets (Brock et al. 2021, arXiv 2101.08692),
and `unnormalised`: the original unit with its norms left out and nothing in their place.

`:cpu` is small and says little: ResNet-14, 700 steps at a peak rate of 0.1, 2 seeds. Time on 2 cores:
about 25 minutes.

Expected at depth 110, from Zhang et al. (section 5): BatchNorm 6.61% and Fixup 7.24% test error; the
unnormalised net diverges or does not learn. Time: 48 runs of 164 epochs of ResNet-110; the command
prints its estimate.
"""

from configs.ablations import _recipes
from resnet_jax.ablation.design import Arm, Sweep, variant

DESIGNS = ("fixup", "skipinit", "rezero", "nf")


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    small = variant(argument, "cpu") == "cpu"
    base = _recipes.short(14, steps=700) if small else _recipes.paper(110)
    base.optimizer.learning_rate = 0.1
    return Sweep(
        name="norm_free",
        question="Is there a net without normalisation that is as accurate as one with BatchNorm?",
        base=base,
        arms=(
            Arm("batch_norm", {"model.design": "original"}),
            *(Arm(name, {"model.design": name}, control="batch_norm") for name in DESIGNS),
            Arm("unnormalised", {"model.norm": "none"}, control="batch_norm"),
        ),
        seeds=tuple(range(2 if small else 8)),
    )
