"""Wide residual networks on CIFAR-10 (Zagoruyko & Komodakis 2016, arXiv 1605.07146).

    python main.py --config configs/cifar10_wide_resnet.py
    python main.py --config configs/cifar10_wide_resnet.py:depth=28,width=10
    python main.py --config configs/cifar10_wide_resnet.py:depth=28,width=10,dropout=0.3

Arguments:
    depth    6n+4: 16, 28, 40, ...
    width    factor on 16, 32, 64 channels
    dropout  rate behind the second activation of each unit (section 2.4: between the convolutions
             and after the ReLU); 0 for none

Expected, from the paper (test error, median of 5): 40-4 4.53%, 16-8 4.27%, 28-10 4.00% (table 5),
28-10 with dropout 0.3 3.89% (table 6).
"""

from ml_collections import ConfigDict

from configs import default
from resnet_jax.config import parse_arguments


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, depth=40, width=4.0, dropout=0.0)
    config = default.get_config()
    config.num_epochs = 200.0
    config.augment = "crop(4, reflect) flip"
    config.model.design = "full_preact"
    if arguments["dropout"]:
        config.model.branch = f"norm act conv norm act drop({arguments['dropout']}) conv"
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
