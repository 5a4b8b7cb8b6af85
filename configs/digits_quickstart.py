"""A small ResNet on scikit-learn's digits (8x8 pixels, embedded): the whole tool in a minute.

python main.py --config configs/digits_quickstart.py        (or: make quickstart)
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """ResNet-8 on 8x8 images; shifts instead of flips, since a mirrored digit is none."""
    config = default.get_config()
    config.data.name = "digits"
    config.num_epochs = 20.0
    config.batch_size = 64
    config.augment = "crop(1)"
    config.log_every = 50
    config.model.depth = 8
    config.optimizer.warmup = 0.1
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4
    return config
