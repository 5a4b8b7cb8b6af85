"""The residual network of He et al. 2015 (arXiv 1512.03385) on CIFAR-10: option A, depth 20.

    python main.py --config configs/cifar10_resnet.py
    python main.py --config configs/cifar10_resnet.py:depth=56
    python main.py --config configs/cifar10_resnet.py:depth=110,recipe=paper

Arguments:
    depth   6n+2: 20, 32, 44, 56, 110, ...
    recipe  cosine: peak 0.1, cosine decay after a short warm-up
            paper: 0.1, divided by 10 at 1/2 and 3/4 of the run; at depth 110 and above 0.01 for the
            first 400 of 64,000 steps; weight decay on every parameter (section 4.2)

Expected, from the paper (table 6, test error): depth 20 8.75%, 32 7.51%, 44 7.17%, 56 6.97%,
110 6.61 +- 0.16%. Independent reproductions of depth 20 lie between 7.9% and 8.8%.
"""

from ml_collections import ConfigDict

from configs import default
from resnet_jax.config import parse_arguments
from resnet_jax.errors import ConfigError


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, depth=20, recipe="cosine")
    config = default.get_config()
    config.model.depth = arguments["depth"]
    optimizer = config.optimizer
    match arguments["recipe"]:
        case "cosine":
            optimizer.warmup = 0.01
        case "paper":
            optimizer.schedule = "step"
            optimizer.decayed = (".*",)
            if arguments["depth"] >= 110:
                optimizer.warmup = 400 / 64_000
                optimizer.warmup_shape = "constant"
                optimizer.warmup_factor = 0.1
        case other:
            raise ConfigError(f"config argument recipe={other!r}: expected cosine or paper")
    return config
