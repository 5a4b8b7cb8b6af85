"""Squeeze-and-excitation in pre-activation ResNets on CIFAR-10 (Hu et al. 2018, arXiv 1709.01507).

    python main.py --config configs/cifar10_se_resnet.py
    python main.py --config configs/cifar10_se_resnet.py:depth=164,bottleneck=1

Arguments:
    depth       6n+2, or 9n+2 with bottleneck=1
    bottleneck  0 or 1; 1 also projects where the shape changes (option B)
    reduction   channels of a unit over those between the two dense layers

The network and the recipe are those of configs/cifar10_preact_resnet.py; the gate stands at the end
of each branch. Expected, from the paper (section 5.1, test error): depth 110 5.21%, 164 with
bottleneck 4.39%.
"""

from ml_collections import ConfigDict

from configs import cifar10_preact_resnet
from resnet_jax.config import parse_arguments


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, depth=110, bottleneck=False, reduction=16)
    depth, bottleneck = arguments["depth"], int(arguments["bottleneck"])
    config = cifar10_preact_resnet.get_config(f"depth={depth},bottleneck={bottleneck}")
    config.model.branch = f"norm act conv norm act conv se({arguments['reduction']})"
    return config
