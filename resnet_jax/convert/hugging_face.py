"""The networks of transformers: `ResNetForImageClassification`."""

from resnet_jax.convert.layout import STEMS, Layout

LAYOUT = Layout(
    name="hugging_face",
    stem_conv="resnet.embedder.embedder.convolution",
    stem_norm="resnet.embedder.embedder.normalization",
    conv="resnet.encoder.stages.{stage}.layers.{block}.layer.{conv}.convolution",
    norm="resnet.encoder.stages.{stage}.layers.{block}.layer.{conv}.normalization",
    projection_conv="resnet.encoder.stages.{stage}.layers.{block}.shortcut.convolution",
    projection_norm="resnet.encoder.stages.{stage}.layers.{block}.shortcut.normalization",
    head="classifier.1",
    first=(0, 0),
    zero_padding=False,
    stems={(7, None): STEMS["imagenet"]},
    size=224,
    source="github.com/huggingface/transformers, models/resnet/modeling_resnet.py",
)
