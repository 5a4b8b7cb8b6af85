"""Every test runs on eight virtual CPU devices, without a network and without TensorFlow."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

# Many tests, and the programs they start, compile the same small networks: compile each once.
# The workers of one test run share the directory, and it goes when the run ends.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
_CACHE = Path(tempfile.gettempdir()) / f"resnet_jax-tests-{_RUN}"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
if "PYTEST_XDIST_WORKER" not in os.environ:
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import digits_quickstart
from resnet_jax.data.source import Examples
from resnet_jax.data.spec import Dataset

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture
def compile_in_haste() -> Callable[..., Callable]:
    """Compiles a function for arguments with little optimisation: for programs that run once or twice."""
    hasty = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return lambda function, *arguments: (
        jax.jit(function).lower(*arguments).compile(compiler_options=hasty)
    )


@pytest.fixture
def tiny_config() -> ConfigDict:
    """A valid config of a network and a run that take seconds: 8 steps on the embedded digits."""
    config = digits_quickstart.get_config()
    config.num_steps = 8
    config.batch_size = 16
    config.log_every = 3
    config.eval_batch_size = 120
    config.checkpoint.every = 100
    config.model.stage_widths = (4, 8, 8)
    return config


@pytest.fixture
def one_device() -> list[jax.Device]:
    """A mesh of one device."""
    return jax.devices()[:1]


@pytest.fixture
def tiny_dataset() -> Dataset:
    """A description of 8x8 colour images in four classes; it has no files."""
    return Dataset(
        name="tiny",
        image_shape=(8, 8, 3),
        classes=("a", "b", "c", "d"),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        splits={"train": 40, "test": 24},
    )


@pytest.fixture
def tiny_examples() -> Examples:
    """Forty images of `tiny_dataset`, random but always the same."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    return Examples(images, random.integers(0, 4, 40).astype(np.int32))
