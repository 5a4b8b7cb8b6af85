"""Which convolutions a run uses: XLA's, or the native kernels where they serve."""

import dataclasses

from ml_collections import ConfigDict

from resnet_jax import platform
from resnet_jax.native import build


@dataclasses.dataclass(frozen=True)
class Backend:
    """The choice, and why.

    Attributes:
        lanes: float32 numbers in the kernels' vectors; None where XLA alone is used.
        reason: why the kernels are not used, where one might expect them; else "".
    """

    lanes: int | None
    reason: str = ""

    @property
    def name(self) -> str:
        return "xla" if self.lanes is None else "native"

    def __str__(self) -> str:
        if self.lanes is not None:
            return f"native ({self.lanes} lanes)"
        return f"xla ({self.reason})" if self.reason else "xla"


def tune(config: ConfigDict) -> tuple[str, ...]:
    """Sets the flags of XLA that suit the choice; call it before the first use of a device.

    Returns:
        what was set, in a few words each.
    """
    return platform.set_xla_flag() if choose(config).lanes is None else ()


def choose(config: ConfigDict) -> Backend:
    """Chooses by `config.conv_backend`; builds the kernels if they are to be used for the first time.

    It does not start JAX's own backend, so that XLA's flags can still follow the choice. Whatever
    stands in the way of the kernels is a reason to use XLA, never an error.

    Args:
        config: validated.
    """
    if config.conv_backend == "xla":
        return Backend(None)
    if platform.guess_backend() != "cpu":
        return Backend(None, "native kernels are for CPUs" * (config.conv_backend == "native"))
    if config.precision != "float32":
        return Backend(None, f"native kernels are float32, not {config.precision}")
    built = build.library()
    if isinstance(built, build.Unavailable):
        return Backend(None, built.reason)
    return Backend(built.lanes)
