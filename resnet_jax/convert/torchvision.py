"""The networks of torchvision, and those of timm with the same names: ResNet, wide ResNet, ResNeXt."""

from resnet_jax.convert.layout import STEMS, Layout

LAYOUT = Layout(
    name="torchvision",
    stem_conv="conv1",
    stem_norm="bn1",
    conv="layer{stage}.{block}.conv{conv}",
    norm="layer{stage}.{block}.bn{conv}",
    projection_conv="layer{stage}.{block}.downsample.0",
    projection_norm="layer{stage}.{block}.downsample.1",
    head="fc",
    first=(1, 1),
    zero_padding=False,
    # Three stages behind a 3x3 convolution are a network for CIFAR with torchvision's names.
    stems={(7, None): STEMS["imagenet"], (3, 3): STEMS["cifar"]},
    size=224,
    source="github.com/pytorch/vision, torchvision/models/resnet.py",
)
