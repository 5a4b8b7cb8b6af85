"""Depth with and without shortcuts: the degradation of He et al. 2015 (arXiv 1512.03385), section 4.2.

    python -m resnet_jax sweep configs/ablations/depth_shortcut.py
    python -m resnet_jax sweep configs/ablations/depth_shortcut.py:docs
    python -m resnet_jax sweep configs/ablations/depth_shortcut.py:cpu

Each plain net is compared with the residual net of its own depth. `:docs` has depths 8, 14 and 20 for 3
epochs, 8 seeds, about 2 hours and a quarter on 2 cores. `:cpu` is small and says little: the same
depths, 700 steps, 2 seeds, about 25 minutes.

Expected, from the paper (figure 6 and table 6, test error): residual nets gain with depth, 8.75% at 20
to 6.61% at 110; plain nets lose, and at depth 110 stay above 60%. Time: 80 runs of 164 epochs; the
command prints its estimate.
"""

from configs.ablations import _recipes
from resnet_jax.ablation.design import Arm, Sweep, variant


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    match variant(argument, "docs", "cpu"):
        case "docs":
            base, depths = _recipes.short(20, epochs=3.0), (8, 14, 20)
        case "cpu":
            base, depths = _recipes.short(20, steps=700), (8, 14, 20)
        case _:
            base, depths = _recipes.paper(20), (20, 32, 44, 56, 110)
    arms = []
    for depth in depths:
        fields = {"model.depth": depth} | (_recipes.WARM_START if depth >= 110 else {})
        residual, plain = f"resnet_{depth}", f"plain_{depth}"
        arms.append(Arm(residual, fields | {"model.shortcut": "identity"}))
        arms.append(Arm(plain, fields | {"model.shortcut": "none"}, control=residual))
    return Sweep(
        name="depth_shortcut",
        question="What does the shortcut give, and does it give more in deeper nets?",
        base=base,
        arms=tuple(arms),
        seeds=tuple(range(2 if argument == "cpu" else 8)),
    )
