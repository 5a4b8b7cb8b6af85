"""Base configs that several sweeps share."""

from ml_collections import ConfigDict

from configs import cifar10_resnet, cifar10_resnet_5_epochs

WARM_START = {
    "optimizer.warmup": 400 / 64_000,
    "optimizer.warmup_shape": "constant",
    "optimizer.warmup_factor": 0.1,
}
"""Overrides for depth 110 and above (He et al. 2015, section 4.2)."""


def paper(depth: int) -> ConfigDict:
    """The recipe of He et al. 2015 and 2016: 164 epochs, 0.1 divided by 10 at 1/2 and 3/4."""
    return cifar10_resnet.get_config(f"depth={depth},recipe=paper")


def short(depth: int, *, epochs: float | None = None, steps: int | None = None) -> ConfigDict:
    """The recipe of `configs/cifar10_resnet_5_epochs.py` over fewer epochs, for a CPU.

    Its schedule is made of fractions of the run, so that it is scaled with it.
    """
    config = cifar10_resnet_5_epochs.get_config()
    config.model.depth = depth
    config.num_steps = steps
    if epochs is not None:
        config.num_epochs = epochs
    return config
