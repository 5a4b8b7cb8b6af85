"""ResNet-110 with stochastic depth on CIFAR-10 (Huang et al. 2016, arXiv 1603.09382).

    python main.py --config configs/cifar10_stochastic_depth.py
    python main.py --config configs/cifar10_stochastic_depth.py:depth=56,drop=0.3

Arguments:
    depth  6n+2
    drop   probability that an image skips the last unit; it falls linearly to 0 in front of the first

The network of He et al. 2015 with option A, and the paper's recipe: 500 epochs, rate 0.1 divided by 10
at 250 and 375, here behind a short warm start. The paper draws once a batch, here each image draws.
Expected, from the paper (table 1, test error): 5.23%, against 6.41% without.
"""

from ml_collections import ConfigDict

from configs import cifar10_resnet
from resnet_jax.config import parse_arguments


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, depth=110, drop=0.5)
    config = cifar10_resnet.get_config(f"depth={arguments['depth']},recipe=paper")
    config.num_epochs = 500.0
    config.model.drop_path = arguments["drop"]
    return config
