"""Where the two paths of a residual unit meet, and may be looked at."""

import jax
from flax import linen as nn

from resnet_jax.errors import ConfigError

COLLECTION = "intermediates"
"""Flax's collection for what is looked at; unless it is mutable, nothing is kept or computed."""

FEATURES = "features"
"""The name, in that collection, of what a network has behind global pooling: float32 [B, F]."""


class Meeting(nn.Module):
    """Gives shortcut and branch back as they are; records them for `probes.py`."""

    @nn.compact
    def __call__(self, shortcut: jax.Array, branch: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Takes and returns two arrays [B, H, W, C].

        Raises:
            ConfigError: they differ in shape; a sum would stretch the smaller one without a word.
        """
        if shortcut.shape != branch.shape:
            raise ConfigError(
                f"the branch ends in the shape {list(branch.shape)}, the shortcut in "
                f"{list(shortcut.shape)}; a token in the branch may not change the shape at its end"
            )
        self.sow(COLLECTION, "shortcut", shortcut)
        self.sow(COLLECTION, "branch", branch)
        return shortcut, branch
