"""Where norm and activation stand: table 2 of He et al. 2016 (arXiv 1603.05027).

    python -m resnet_jax sweep configs/ablations/he2016_placements.py
    python -m resnet_jax sweep configs/ablations/he2016_placements.py:164
    python -m resnet_jax sweep configs/ablations/he2016_placements.py:docs
    python -m resnet_jax sweep configs/ablations/he2016_placements.py:cpu

`:164` is the paper's second column, with bottlenecks. `:docs` is ResNet-14 for 3 epochs, 8 seeds, about
2 hours on 2 cores. `:cpu` is small and says little: ResNet-14, 700 steps, 2 seeds, about 20 minutes.

Expected, from the paper (test error, ResNet-110 / 164): original 6.61% / 5.93%, norm after addition
8.17% / 6.50%, ReLU before addition 7.84% / 6.14%, ReLU-only pre-activation 6.71% / 5.91%, full
pre-activation 6.37% / 5.46%. Time: 40 runs of 164 epochs; the command prints its estimate.
"""

from configs.ablations import _recipes
from resnet_jax.ablation.design import Arm, Sweep, variant

PLACEMENTS = ("bn_after_add", "relu_before_add", "relu_only_preact", "full_preact")


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    match variant(argument, "164", "docs", "cpu"):
        case "164":
            base = _recipes.paper(164)
            base.model.bottleneck = True
            base.model.projection = "B"
        case "docs":
            base = _recipes.short(14, epochs=3.0)
        case "cpu":
            base = _recipes.short(14, steps=700)
        case _:
            base = _recipes.paper(110)
    return Sweep(
        name="he2016_placements",
        question="Which place of norm and activation gives the highest accuracy?",
        base=base,
        arms=(
            Arm("original", {"model.design": "original"}),
            *(Arm(name, {"model.design": name}, control="original") for name in PLACEMENTS),
        ),
        seeds=tuple(range(2 if argument == "cpu" else 8)),
    )
