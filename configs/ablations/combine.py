"""How shortcut and branch meet: fixed and learned weights, a difference, the orthogonal update.

    python -m resnet_jax sweep configs/ablations/combine.py
    python -m resnet_jax sweep configs/ablations/combine.py:cpu

`subtract` should equal `add`: the branch can learn the sign. It shows how much a table's noise is. The
orthogonal update keeps of the branch what is orthogonal to the shortcut, at each position or over the
whole image (Oh et al. 2025, arXiv 2505.11881).

`:cpu` is small and says little: ResNet-14, 700 steps, 2 seeds. Time on 2 cores: about 25 minutes.

Expected at depth 110, full pre-activation: `add` 6.37% test error (He et al. 2016, table 2); no published
numbers for the others at this size. Time: 48 runs of 164 epochs; the command prints its estimate.
"""

from configs.ablations import _recipes
from resnet_jax.ablation.design import Arm, Sweep, variant

COMBINES = {
    "add_half": "add(1, 0.5)",
    "learned": "learned(1, 1)",
    "subtract": "subtract",
    "orthogonal_position": "orthogonal(position)",
    "orthogonal_tensor": "orthogonal(tensor)",
}


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    small = variant(argument, "cpu") == "cpu"
    base = _recipes.short(14, steps=700) if small else _recipes.paper(110)
    base.model.design = "full_preact"
    others = tuple(Arm(n, {"model.combine": c}, control="add") for n, c in COMBINES.items())
    return Sweep(
        name="combine",
        question="Is there a better way for shortcut and branch to meet than their sum?",
        base=base,
        arms=(Arm("add", {"model.combine": "add"}), *others),
        seeds=tuple(range(2 if small else 8)),
    )
