import jax
import numpy as np
import pytest

from resnet_jax import evaluate, plan, step
from resnet_jax.data import pipeline


@pytest.fixture
def examples():
    """103 images, a number that no batch size here divides."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (103, 8, 8, 1), dtype=np.uint8)
    return pipeline.Examples(images, random.integers(0, 10, 103).astype(np.int32))


def measure(config, examples, devices, batch_size, *, fused=False):
    return correctness(config, examples, devices, batch_size, fused=fused)[0]


def correctness(config, examples, devices, batch_size, *, fused=False):
    """Metrics, and per example whether it is classified correctly."""
    made = plan.make(config, jax.devices()[:devices])
    batches = made.recipe.batches
    variables = step.init_state(made.recipe, 0, (8, 8, 1)).evaluated()
    function = evaluate.compile_correctness(made.recipe.model, batches, batch_size, fused=fused)
    return function(variables, pipeline.place(examples, batches.mesh))


@pytest.fixture
def right(tiny_config, examples):
    """Loss and whether it is correct of every example, by a plain NumPy loop over single logits."""
    made = plan.make(tiny_config, jax.devices()[:1])
    variables = step.init_variables(made.recipe.model, 0, (8, 8, 1))
    mean, std = (np.asarray(x, np.float32) for x in (made.dataset.mean, made.dataset.std))
    images = (examples.images / np.float32(255) - mean) / std
    logits = np.asarray(made.recipe.model.apply(variables, images, train=False), np.float64)
    losses, correct = [], []
    for row, label in zip(logits, examples.labels, strict=True):
        losses.append(np.log(np.exp(row).sum()) - row[label])
        correct.append(row.argmax() == label)
    return losses, correct


@pytest.fixture
def expected(right):
    """Mean loss and accuracy."""
    return np.mean(right[0]), np.mean(right[1])


@pytest.mark.parametrize(
    ("devices", "batch_size"), [(1, 1), (1, 10), (1, 103), (1, 1000), (2, 9), (8, 16), (8, 1000)]
)
def test_every_example_counts_once_for_any_batch_size_and_device_count(
    tiny_config, examples, expected, devices, batch_size
):
    metrics = measure(tiny_config, examples, devices, batch_size)
    assert metrics.examples() == 103
    assert metrics.means()["accuracy"] == expected[1]
    assert metrics.means()["loss"] == pytest.approx(expected[0], rel=1e-5)


def test_one_dispatch_counts_the_same(tiny_config, examples, expected):
    metrics = measure(tiny_config, examples, 1, 10, fused=True)
    assert metrics.examples() == 103
    assert metrics.means()["accuracy"] == expected[1]


def test_evaluation_changes_no_statistics_and_needs_no_key(tiny_config, examples):
    first = measure(tiny_config, examples, 1, 50).means()
    assert measure(tiny_config, examples, 1, 50).means() == first


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("devices", "batch_size"), [(1, 10), (1, 103), (8, 16), (8, 1000)])
def test_what_is_correct_is_in_the_order_of_the_examples_without_padding(
    tiny_config, examples, right, devices, batch_size, fused
):
    metrics, correct = correctness(tiny_config, examples, devices, batch_size, fused=fused)
    assert np.asarray(correct).tolist() == right[1]
    assert 0 < metrics.means()["accuracy"] < 1


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("devices", "batch_size"), [(1, 7), (1, 1000), (8, 64)])
def test_views_average_probabilities_and_count_every_example_once(
    tiny_config, examples, devices, batch_size, fused
):
    """Against a NumPy mean over views that are made one by one."""
    tiny_config.eval_augment = "flip crops(5, 1)"
    metrics, correct = correctness(tiny_config, examples, devices, batch_size, fused=fused)
    made = plan.make(tiny_config, jax.devices()[:1])
    variables = step.init_variables(made.recipe.model, 0, (8, 8, 1))
    mean, std = (np.asarray(x, np.float32) for x in (made.dataset.mean, made.dataset.std))
    images = (examples.images / np.float32(255) - mean) / std
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = np.zeros((103, 10))
    for top, left in ((1, 1), (0, 0), (0, 2), (2, 0), (2, 2)):
        view = padded[:, top : top + 8, left : left + 8]
        for each in (view, view[:, :, ::-1]):
            logits = np.asarray(made.recipe.model.apply(variables, each, train=False), np.float64)
            total += np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    mean_probabilities = total / 10
    losses = -np.log(mean_probabilities[np.arange(103), examples.labels])
    assert metrics.examples() == 103
    assert metrics.means()["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    expected = mean_probabilities.argmax(-1) == examples.labels
    assert np.asarray(correct).tolist() == expected.tolist()
