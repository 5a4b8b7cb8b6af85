"""ResNeXt-29 on CIFAR-10 (Xie et al. 2017, arXiv 1611.05431, section 5.3).

    python main.py --config configs/cifar10_resnext.py
    python main.py --config configs/cifar10_resnext.py:cardinality=16

Arguments:
    cardinality  paths of a unit: 8 or 16
    width        channels of a path in the first stage

The recipe is the paper's: 300 epochs, rate 0.1 divided by 10 at 150 and 225, weight decay 5e-4.
Expected, from the paper (table 7, test error, mean of 10): 8x64d 3.65% with 34.4M parameters,
16x64d 3.58% with 68.1M.
"""

from ml_collections import ConfigDict

from configs import default
from resnet_jax.config import parse_arguments


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, cardinality=8, width=64)
    config = default.get_config()
    config.num_epochs = 300.0
    model = config.model
    model.depth = 29
    model.bottleneck = True
    model.groups = arguments["cardinality"]
    model.bottleneck_width = arguments["width"]
    model.stage_widths = (64, 128, 256)
    model.projection = "B"
    optimizer = config.optimizer
    optimizer.schedule = "step"
    optimizer.weight_decay = 5e-4
    optimizer.decayed = (".*",)
    return config
