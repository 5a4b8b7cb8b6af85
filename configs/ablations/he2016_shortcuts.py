"""What the shortcut carries: table 1 of He et al. 2016 (arXiv 1603.05027).

    python -m resnet_jax sweep configs/ablations/he2016_shortcuts.py
    python -m resnet_jax sweep configs/ablations/he2016_shortcuts.py:cpu

`:cpu` is small and says little: ResNet-8, 700 steps, 2 seeds. Time on 2 cores: about 25 minutes.

Expected, from the paper (ResNet-110, test error, median of 5): identity 6.61%, scaled by 0.5 alone
fails, both paths by 0.5 12.35%, exclusive gate with bias -6 8.70%, -7 9.81%, above -6 fails,
shortcut-only gate with bias 0 12.86%, -6 6.91%, 1x1 convolution 12.22%, dropout and none fail (above 20%).
Time: 88 runs of 164 epochs of ResNet-110; the command prints its estimate.
"""

from configs.ablations import _recipes
from resnet_jax.ablation.design import Arm, Sweep, variant

SHORTCUTS = {
    "none": {"model.shortcut": "none"},
    "scale_0.5": {"model.shortcut": "scale(0.5)"},
    "scale_0.5_both": {"model.combine": "add(0.5, 0.5)"},
    "exclusive_gate_-5": {"model.shortcut": "exclusive_gate(-5)"},
    "exclusive_gate_-6": {"model.shortcut": "exclusive_gate(-6)"},
    "exclusive_gate_-7": {"model.shortcut": "exclusive_gate(-7)"},
    "shortcut_gate_0": {"model.shortcut": "shortcut_gate(0)"},
    "shortcut_gate_-6": {"model.shortcut": "shortcut_gate(-6)"},
    "conv": {"model.shortcut": "conv"},
    "drop_0.5": {"model.shortcut": "drop(0.5)"},
}


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    small = variant(argument, "cpu") == "cpu"
    changed = tuple(Arm(name, fields, control="identity") for name, fields in SHORTCUTS.items())
    return Sweep(
        name="he2016_shortcuts",
        question="Does anything on the shortcut serve as well as nothing on it?",
        base=_recipes.short(8, steps=700) if small else _recipes.paper(110),
        arms=(Arm("identity", {"model.shortcut": "identity"}), *changed),
        seeds=tuple(range(2 if small else 8)),
    )
