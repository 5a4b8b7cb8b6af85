"""Residual nets without normalisation, against BatchNorm.

    python -m resnet_jax sweep configs/ablations/norm_free.py
    python -m resnet_jax sweep configs/ablations/norm_free.py:cpu

Fixup (Zhang et al. 2019, arXiv 1901.09321), SkipInit (De & Smith 2020, arXiv 2002.10444), ReZero
(Bachlechner et al. 2020, arXiv 2003.04887) without the norms of its authors' ResNet and with them,
normaliser-free nets (Brock et al. 2021, arXiv 2101.08692), branches over sqrt(L) (Yang et al. 2023, arXiv
2310.02244), and `unnormalised`: the original unit with its norms left out and nothing in their place.

`nf` projects with 1x1 convolutions, as its papers do, 2,752 parameters more than the control in all,
and clips adaptively. The share is 0.16: their 0.01 is for batches of 1024 to 4096 (arXiv 2102.06171, section
4.1), and smaller ones want less clipping; it is not tuned.

`:cpu` is small and says little: ResNet-14, 600 steps at a peak rate of 0.1, 2 seeds. Time on 2 cores:
about 27 minutes.

Expected at depth 110, from Zhang et al. (section 5): BatchNorm 6.61% and Fixup 7.24% test error; the
unnormalised net diverges or does not learn. Time: 64 runs of 164 epochs of ResNet-110; the command
prints its estimate.
"""

from configs.ablations import _recipes
from resnet_jax.ablation.design import Arm, Sweep, variant

KINDS = {
    "fixup": {"model.design": "fixup"},
    "skipinit": {"model.design": "skipinit"},
    "rezero": {"model.design": "rezero", "model.norm": "none"},
    "rezero_batch_norm": {"model.design": "rezero"},
    "nf": {"model.design": "nf", "model.projection": "B", "optimizer.adaptive_clip": 0.16},
    "depth_mup": {"model.design": "depth_mup"},
    "unnormalised": {"model.norm": "none"},
}
"""Name -> overrides."""


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    small = variant(argument, "cpu") == "cpu"
    base = _recipes.short(14, steps=600) if small else _recipes.paper(110)
    base.optimizer.learning_rate = 0.1
    return Sweep(
        name="norm_free",
        question="Is there a net without normalisation that is as accurate as one with BatchNorm?",
        base=base,
        arms=(
            Arm("batch_norm", {"model.design": "original"}),
            *(Arm(name, fields, control="batch_norm") for name, fields in KINDS.items()),
        ),
        seeds=tuple(range(2 if small else 8)),
    )
