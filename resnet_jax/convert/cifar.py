"""The networks for CIFAR-10 in PyTorch: a 3x3 stem, three stages or four, option A or B."""

from resnet_jax.convert.layout import STEMS, Layout

LAYOUT = Layout(
    name="cifar",
    stem_conv="conv1",
    stem_norm="bn1",
    conv="layer{stage}.{block}.conv{conv}",
    norm="layer{stage}.{block}.bn{conv}",
    projection_conv="layer{stage}.{block}.shortcut.0",
    projection_norm="layer{stage}.{block}.shortcut.1",
    head="linear",
    first=(1, 1),
    zero_padding=True,
    stems={(3, None): STEMS["cifar"]},
    size=32,
    source="github.com/akamaster/pytorch_resnet_cifar10, github.com/kuangliu/pytorch-cifar",
)
