"""Early stopping: a run ends when validation has not improved for a while, with the best of its networks."""

import dataclasses

from ml_collections import ConfigDict

from resnet_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Patience:
    """When to stop. It has no state: what has been waited follows from the step of the best network.

    Attributes:
        evaluations: in a row without improvement that end the run; 0: none do.
        every: steps between evaluations.
    """

    evaluations: int
    every: int

    def is_over(self, done: int, best: int | None) -> bool:
        """Whether the run ends.

        Args:
            done: steps taken; it ends at an evaluation only.
            best: the step of the best evaluation so far, None before the first.
        """
        if not self.evaluations or best is None or done % self.every:
            return False
        return done // self.every - best // self.every >= self.evaluations


def check(config: ConfigDict) -> None:
    """Checks that there is something to stop by.

    Raises:
        ConfigError: no images are held out.
    """
    if config.early_stopping and not config.data.validation:
        raise ConfigError(
            f"config.early_stopping={config.early_stopping} needs validation images, and none are held "
            "out; add, say, --config.data.validation=5000"
        )
