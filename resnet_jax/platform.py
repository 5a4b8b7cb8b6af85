"""What has to be set in the process before JAX is imported."""

import logging
import os


def prepare() -> None:
    """Quietens the libraries' start-up messages; what the user has set in the environment stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
