import logging
import subprocess
import sys
from pathlib import Path

import pytest
from absl import logging as absl_logging

from resnet_jax import platform


@pytest.fixture(autouse=True)
def levels():
    """Puts the log levels back, which `prepare` sets for the whole process."""
    jax_logger = logging.getLogger("jax._src.xla_bridge")
    before = jax_logger.level, absl_logging.get_verbosity()
    yield
    jax_logger.setLevel(before[0])
    absl_logging.set_verbosity(before[1])


def test_what_the_user_has_set_stays():
    mine = {
        "TF_CPP_MIN_LOG_LEVEL": "0",
        "GRPC_VERBOSITY": "INFO",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": "/mine",
        "MALLOC_ARENA_MAX": "4",
        "XLA_FLAGS": "--xla_mine=1",
    }
    environ = dict(mine)
    platform.prepare(environ)
    assert environ.pop("XLA_FLAGS").startswith("--xla_mine=1")
    assert environ.items() >= {k: v for k, v in mine.items() if k != "XLA_FLAGS"}.items()


def test_on_an_accelerator_libraries_are_quietened_and_nothing_else_is_set():
    environ = {"JAX_PLATFORMS": "tpu,cpu"}
    assert platform.prepare(environ) == ()
    assert set(environ) == {"JAX_PLATFORMS", "TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"}


def test_it_runs_before_jax_is_imported():
    script = (
        "import sys; from resnet_jax import platform; platform.prepare({}); "
        "sys.exit('jax' in sys.modules)"
    )
    root = Path(platform.__file__).parents[1]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=60)
