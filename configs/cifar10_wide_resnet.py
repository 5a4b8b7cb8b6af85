"""Wide residual networks on CIFAR-10 (Zagoruyko & Komodakis 2016, arXiv 1605.07146).

    python main.py --config configs/cifar10_wide_resnet.py
    python main.py --config configs/cifar10_wide_resnet.py:depth=28,width=10

Arguments:
    depth  6n+4: 16, 28, 40, ...
    width  factor on 16, 32, 64 channels

Expected, from the paper (table 5, test error, median of 5): 40-4 4.53%, 16-8 4.27%, 28-10 4.00%.
"""

from ml_collections import ConfigDict

from configs import default
from resnet_jax.config import parse_arguments


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, depth=40, width=4.0)
    config = default.get_config()
    config.num_epochs = 200.0
    config.augment = "crop(4, reflect) flip"
    config.model.design = "full_preact"
    config.model.projection = "B"
    config.model.depth = arguments["depth"]
    config.model.width = arguments["width"]
    optimizer = config.optimizer
    optimizer.schedule = "step"
    optimizer.milestones = (0.3, 0.6, 0.8)
    optimizer.step_factor = 0.2
    optimizer.nesterov = True
    optimizer.weight_decay = 5e-4
    optimizer.decayed = (".*",)
    return config
