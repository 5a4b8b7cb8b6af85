"""Full pre-activation residual networks on CIFAR-10 (He et al. 2016, arXiv 1603.05027).

    python main.py --config configs/cifar10_preact_resnet.py
    python main.py --config configs/cifar10_preact_resnet.py:depth=164,bottleneck=1

Arguments:
    depth       6n+2, or 9n+2 with bottleneck=1
    bottleneck  0 or 1; 1 also projects where the shape changes (option B)

Expected, from the paper (table 2, test error): depth 110 6.37%, 164 with bottleneck 5.46%.
"""

from ml_collections import ConfigDict

from configs import cifar10_resnet
from resnet_jax.config import parse_arguments


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, depth=110, bottleneck=False)
    config = cifar10_resnet.get_config(f"depth={arguments['depth']},recipe=paper")
    config.model.design = "full_preact"
    if arguments["bottleneck"]:
        config.model.bottleneck = True
        config.model.projection = "B"
    return config
