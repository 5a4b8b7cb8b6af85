"""Units that are computed again in the backward pass give the same results and need less memory."""

import jax
import numpy as np
import pytest

from resnet_jax import plan, step
from resnet_jax.data import pipeline


@pytest.fixture
def compiled_gradients(tiny_config):
    """A function from devices to the gradients' program and its arguments, for images [32, 8, 8, 1]."""

    def compiled(remat, devices=1):
        tiny_config.model.remat = remat
        made = plan.make(tiny_config, jax.devices()[:devices])
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
        labels = random.integers(0, 10, 32).astype(np.int32)
        examples = pipeline.place(pipeline.Examples(images, labels), made.recipe.batches.mesh)
        state = step.init_state(made.recipe, 0, (8, 8, 1))
        program = jax.jit(lambda s, e: step._gradients(made.recipe, s, e))
        return program.lower(state, examples).compile(), (state, examples)

    return compiled


ORIGINAL = ("conv norm act conv norm", "act")
DROPOUT = ("norm act conv drop(0.5) norm act conv", "")


@pytest.mark.parametrize(
    ("design", "backend", "devices"),
    [(ORIGINAL, "xla", 1), (ORIGINAL, "auto", 2), (DROPOUT, "auto", 1)],
)
def test_results_are_those_of_kept_units(compiled_gradients, tiny_config, design, backend, devices):
    tiny_config.conv_backend = backend
    tiny_config.model.stage_widths = (16, 16, 16)
    tiny_config.model.branch, tiny_config.model.after = design
    results = []
    for remat in (False, True):
        program, arguments = compiled_gradients(remat, devices)
        gradients, batch_stats, metrics = program(*arguments)
        results.append((gradients, batch_stats, metrics.means()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), *results)


@pytest.mark.parametrize("backend", ["xla", "auto"])
def test_it_needs_less_memory(compiled_gradients, tiny_config, backend):
    """By what the compiled program asks for: XLA:CPU would merge the second forward pass with the first."""
    tiny_config.conv_backend = backend
    tiny_config.batch_size = 32
    tiny_config.model.stage_widths = (16, 16, 16)
    tiny_config.model.depth = 26
    kept, again = (
        compiled_gradients(remat)[0].memory_analysis().temp_size_in_bytes for remat in (False, True)
    )
    assert again < 0.8 * kept
