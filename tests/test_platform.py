import logging
import os
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


@pytest.mark.parametrize("name", ["TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"])
def test_what_the_user_has_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "0")
    platform.prepare()
    assert os.environ[name] == "0"


def test_nothing_else_in_the_environment_is_touched(monkeypatch):
    monkeypatch.setattr(
        os, "environ", dict(os.environ) | {"XLA_FLAGS": "--x", "JAX_PLATFORMS": "cpu"}
    )
    before = dict(os.environ)
    platform.prepare()
    changed = {name for name in os.environ if os.environ[name] != before.get(name)}
    assert changed <= {"TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"}


def test_it_runs_before_jax_is_imported():
    script = (
        "import sys; from resnet_jax import platform; platform.prepare(); "
        "sys.exit('jax' in sys.modules)"
    )
    root = Path(platform.__file__).parents[1]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=60)
