"""Residual design on scikit-learn's digits: a sweep of seconds a run, to try the tools out.

    python -m resnet_jax sweep configs/ablations/digits.py
    python -m resnet_jax sweep configs/ablations/digits.py:tiny

`:tiny` is for tests: 8 steps of a narrow network, two arms, two seeds.

Expected: no arm differs from its control by more than chance. Time: about 5 minutes on 2 cores.
"""

from configs import digits_quickstart
from resnet_jax.ablation.design import Arm, Sweep, variant


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    argument = variant(argument, "tiny")
    base = digits_quickstart.get_config()
    arms = (
        Arm("original", {"model.design": "original"}),
        Arm("full_preact", {"model.design": "full_preact"}, control="original"),
        Arm("plain", {"model.shortcut": "none"}, control="original"),
    )
    if argument == "tiny":
        base.num_steps = 8
        base.batch_size = 16
        base.log_every = 3
        base.eval_batch_size = 120
        base.checkpoint.every = 2
        base.model.stage_widths = (4, 8, 8)
        arms = arms[:2]
    return Sweep(
        name="digits",
        question="Does it matter on 8x8 digits where norm and activation stand, or the shortcut?",
        base=base,
        arms=arms,
        seeds=(0, 1) if argument == "tiny" else tuple(range(8)),
    )
