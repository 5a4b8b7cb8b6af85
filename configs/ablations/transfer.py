"""What pre-training is worth: Tiny ImageNet to CIFAR-10 with 1%, 10% and all of its labels.

    python -m resnet_jax sweep configs/ablations/transfer.py
    python -m resnet_jax sweep configs/ablations/transfer.py:cpu
    python -m resnet_jax sweep configs/ablations/transfer.py:tiny

A ResNet-20 is trained on the 60,000 images of Tiny ImageNet at 32x32 pixels (200 classes; docs/transfer.md
says where they are from), once, in 5 epochs. From its weights, for each share of the labels:

    scratch  initial values, everything trained: the control
    probe    everything frozen but a new last layer, on features that are computed once: of each image
             and of its mirror image, so that it sees no other crops
    frozen   stem and the first two stages frozen
    tuned    everything trained

Steps for 1%, 10% and 100% of the labels: 390 (100 epochs), 781 (20) and 1953 (5). From scratch the recipe
is that of configs/cifar10_resnet_5_epochs.py; the probe has a quarter of its rate, the other two a tenth:
chosen beforehand, not tuned. The test images decide nothing. 3 seeds: of the new layer, the order, the
augmentation; not of the pre-trained network, which is one and the same, and not of the chosen images.

`:cpu` is a ResNet-8 with 2 seeds, shorter throughout. `:tiny` is for tests: digits to digits, 8 steps.

Expected: the fewer the labels, the more the weights are worth; a probe costs least and stays behind with
all labels (as in Kornblith et al. 2019, arXiv 1805.08974, for networks of ImageNet). Measured: tuned, with
1%, 10% and all labels, 59.23%, 74.42%, 82.70%; from scratch 39.98%, 71.34%, 84.33% (docs/transfer.md). Time:
1 1/4 hours on 2 cores with --jobs 2, 15 minutes for `:cpu`; the command prints its estimate, and goes on
after any stop.
"""

from ml_collections import ConfigDict

from configs.ablations import _recipes, digits
from resnet_jax.ablation import before
from resnet_jax.ablation.design import Arm, Sweep, variant

STEPS = {0.01: 390, 0.1: 781, 1.0: 1953}
"""Share of the labels -> steps."""

SMALL_STEPS = {0.01: 195, 0.1: 390, 1.0: 781}

NEW_HEAD = {"finetune.reinit": ("head",), "finetune.init_from": before.reference("pretrained")}

KINDS = {
    "scratch": {},
    "probe": NEW_HEAD
    | {"finetune.freeze": ("all_but_head",), "optimizer.learning_rate": 0.1}
    | {"finetune.cache_features": True, "augment": "flip"},
    "frozen": NEW_HEAD | {"finetune.freeze": ("stages_until=2",), "optimizer.learning_rate": 0.04},
    "tuned": NEW_HEAD | {"optimizer.learning_rate": 0.04},
}
"""Name -> overrides; the first is what the others are compared with."""


def get_sweep(argument: str | None = None) -> Sweep:
    """See the module's docstring for the variants."""
    argument = variant(argument, "cpu", "tiny")
    small = argument is not None
    if argument == "tiny":
        base, steps = digits.get_sweep("tiny").base, {1.0: 8}
        source = digits.get_sweep("tiny").base
    else:
        depth = 8 if small else 20
        base, steps = _recipes.short(depth), SMALL_STEPS if small else STEPS
        source = _recipes.short(depth, epochs=2.0 if small else 5.0)
        source.data.name = "tiny_imagenet32"
    arms = tuple(arm for share, count in steps.items() for arm in _arms(share, count))
    return Sweep(
        name="transfer",
        question="Does a sweep of fine-tuning run (8 steps on digits)?"
        if argument == "tiny"
        else "What are weights from Tiny ImageNet worth for CIFAR-10, and what do they cost to use?",
        base=base,
        arms=arms[:2] if argument == "tiny" else arms,
        seeds=(0, 1) if small else (0, 1, 2),
        smallest=1.0,
        margin=0.5,
        before=_before(source),
    )


def _before(source: ConfigDict) -> Sweep:
    return Sweep(
        name="pretraining",
        question="Which weights do the arms start from?",
        base=source,
        arms=(Arm("pretrained", {}),),
        seeds=(0,),
    )


def _arms(share: float, steps: int) -> list[Arm]:
    """The kinds with that share of the labels, called `probe_10` where it is 10%."""
    common = {"num_steps": steps}
    if share < 1:
        common["data.fraction"] = share
    names = {kind: f"{kind}_{100 * share:.0f}" for kind in KINDS}
    control = next(iter(names))
    return [
        Arm(names[kind], common | fields, control=None if kind == control else names[control])
        for kind, fields in KINDS.items()
    ]
