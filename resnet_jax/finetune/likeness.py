"""Whether weights are for the network that takes them: what shapes of arrays do not tell."""

from ml_collections import ConfigDict

from resnet_jax.errors import ConfigError
from resnet_jax.finetune.source import Source
from resnet_jax.models import architecture
from resnet_jax.models.bare import bare

COMPUTED = (
    ("design", "branch", "after", "stem", "final", "unit", "head")
    + ("weight_standardization", "scaled_activation", "stride_on")
    + ("shortcut", "projection", "downsampling", "combine", "shared_preact", "norm", "activation")
)
"""Fields of `config.model` that change what a network computes from the same arrays."""


def notes(
    source: Source, model: ConfigDict, image_shape: tuple[int, int, int], *, new_head: bool = False
) -> list[str]:
    """What differs, in words; a user may want it so.

    Args:
        source: of the weights.
        model: the section of the config of the network that takes them.
        image_shape: (height, width, channels) that it sees.
        new_head: whether its head is its own, so that another one there is no difference.
    """
    found = []
    if source.size not in (None, image_shape[:2]):
        there, here = ("x".join(map(str, size)) for size in (source.size, image_shape[:2]))
        found.append(
            f"the weights saw images of {there} pixels, this run has {here}; "
            f"write --config.data.resize={source.size[0]} for theirs"
        )
    if source.model is not None and not _same(source.model, model, new_head=new_head):
        fields = [
            f"model.{name}={source.model.get(name)!r} there, {model.get(name)!r} here"
            for name in COMPUTED
            if source.model.get(name) != model.get(name) and not (new_head and name == "head")
        ]
        if fields:
            found.append(f"the weights are of another network: {'; '.join(fields)}")
    return found


def _same(theirs: ConfigDict, ours: ConfigDict, *, new_head: bool) -> bool:
    """Whether two networks compute the same in evaluation, as far as that is known."""
    # To build a network imports its plugins: a stranger's are not.
    if (tuple(theirs.plugins), theirs.unit) != (tuple(ours.plugins), ours.unit):
        return False
    try:
        networks = [bare(architecture.build(model, num_classes=10)) for model in (theirs, ours)]
    except ConfigError:  # of a version that knew other words
        return False
    if new_head:
        networks = [network.clone(head=()) for network in networks]
    return networks[0] == networks[1]
