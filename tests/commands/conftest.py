"""A finished run for the commands that look at one."""

from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from configs import digits_quickstart
from resnet_jax import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """Its workdir; on one device, of a batch that eight devices do not divide. Not to be written to."""
    config = digits_quickstart.get_config()
    config.num_steps = 6
    config.batch_size = 15
    config.eval_batch_size = 100
    config.ema_decay = 0.5
    config.data.validation = 37
    config.eval_every = 4
    config.checkpoint.every = 3
    config.model.stage_widths = (4, 8, 8)
    workdir = tmp_path_factory.mktemp("runs") / "run"
    train.train_and_evaluate(config, workdir, jax.devices()[:1])
    return workdir


@pytest.fixture
def contents() -> Callable[[Path], dict[Path, bytes]]:
    """The files below a directory."""
    return lambda folder: {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
