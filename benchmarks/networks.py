"""The networks that are timed: fields of `config.model`, from which both sides are built."""

NETWORKS = {
    "resnet20": {"depth": 20},
    "resnet56": {"depth": 56},
    "resnet110": {"depth": 110},
    "preact110": {"depth": 110, "design": "full_preact"},
    "wrn16_4": {"depth": 16, "width": 4.0, "design": "full_preact", "projection": "B"},
    "resnet18": {"depth": 18, "stage_widths": (64, 128, 256, 512), "projection": "B"},
}

SIZES = {
    "resnet20": (3, 3, 3),
    "resnet56": (9, 9, 9),
    "resnet110": (18, 18, 18),
    "preact110": (18, 18, 18),
    "wrn16_4": (2, 2, 2),
    "resnet18": (2, 2, 2, 2),
}
"""Units a stage, for the peer, which would otherwise have to import JAX to derive them."""


def config_for(name: str, batch: int, backend: str) -> object:
    """Our config of a network: the recipe of `cifar10_resnet`."""
    from configs import cifar10_resnet

    config = cifar10_resnet.get_config()
    config.model.update(NETWORKS[name])
    config.batch_size = batch
    config.conv_backend = backend
    return config
