"""The textbook transfer: a frozen ResNet-50 trained on ImageNet, a new head with a hidden layer, CIFAR-10.

    python -m resnet_jax convert resnet50.pth --to runs/resnet50
    python main.py --config configs/cifar10_resnet50_transfer.py --config.finetune.init_from=runs/resnet50
    python main.py --config configs/cifar10_resnet50_transfer.py:size=224,hidden=512,drop=0.5

Arguments:
    size    pixels, to which the images of 32x32 are enlarged on the device; ImageNet's networks saw 224
    hidden  units of the hidden layer
    drop    rate of dropout behind it

The weights are yours to get (docs/convert.md says what is read): those of torchvision's ResNet-50 and of
timm's networks with the same layers fit. Without `finetune.init_from` the body keeps its random
initial values; that runs, is good for a smoke test alone, and says so.

Expected: not measured here, since no weights come with this repository. Time: the forward pass of
ResNet-50 at 160 pixels has 2.1 billion multiplications an image, so that this wants an accelerator.
"""

from ml_collections import ConfigDict

from configs import default
from resnet_jax.config import parse_arguments


def get_config(argument: str | None = None) -> ConfigDict:
    """See the module's docstring for the arguments."""
    arguments = parse_arguments(argument, size=160, hidden=256, drop=0.2)
    config = default.get_config()
    config.num_epochs = 10.0
    config.eval_batch_size = 125
    config.checkpoint.every = 1000
    config.data.resize = arguments["size"]
    model = config.model
    model.depth = 50
    model.bottleneck = True
    model.stage_widths = (64, 128, 256, 512)
    model.stem = "imagenet"
    model.projection = "B"
    model.head = f"dense({arguments['hidden']}) act drop({arguments['drop']})"
    config.finetune.freeze = ("all_but_head",)
    config.finetune.reinit = ("head.*",)
    optimizer = config.optimizer
    optimizer.name = "adamw"
    optimizer.learning_rate = 1e-3
    optimizer.warmup = 0.05
    return config
