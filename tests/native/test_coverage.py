"""How many convolutions the kernels compute is counted and said."""

import jax
import pytest

from resnet_jax import plan, step
from resnet_jax.native import build, coverage


@pytest.fixture(autouse=True)
def kernels():
    """Skips where the kernels cannot be built."""
    built = build.library()
    if isinstance(built, build.Unavailable):
        pytest.skip(built.reason)


def counted(config, devices=1):
    run = plan.make(config, jax.devices()[:devices])
    variables = jax.eval_shape(lambda: step.init_variables(run.recipe.model, 0, (8, 8, 1)))
    return coverage.served(run.recipe.model, variables, (16, 8, 8, 1)), coverage.note(run)


@pytest.mark.parametrize("devices", [1, 2])
def test_all_convolutions_of_whole_vectors_are_served(tiny_config, devices):
    tiny_config.model.stage_widths = (16, 16, 32)
    assert counted(tiny_config, devices) == ((7, 7), "")


def test_what_is_left_to_xla_is_counted_and_said(tiny_config):
    tiny_config.model.stage_widths = (2, 16, 32)
    tiny_config.model.projection = "B"
    # XLA has the stem, the first stage's two, and the two projections.
    assert counted(tiny_config)[0] == (4, 9)
    assert counted(tiny_config)[1].startswith(" for 4 of 9 convolutions; XLA's ")


def test_nothing_is_said_of_a_run_without_kernels(tiny_config):
    tiny_config.conv_backend = "xla"
    assert counted(tiny_config) == ((0, 7), "")
