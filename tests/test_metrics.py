import json

import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.metrics import Metrics

LOGITS = jnp.asarray([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
LABELS = jnp.asarray([0, 0, 1])
LOSSES = jnp.asarray([0.5, 2.0, 4.0])


def test_means_are_over_examples():
    metrics = Metrics.of_batch(LOSSES, LOGITS, LABELS)
    assert metrics.means() == pytest.approx({"loss": 6.5 / 3, "accuracy": 1 / 3})
    assert metrics.examples() == 3


def test_a_prediction_of_a_mixture_counts_the_share_of_its_class():
    shares = jnp.asarray([[0.25, 0.75], [0.4, 0.6], [1.0, 0.0]])
    metrics = Metrics.of_batch(LOSSES, LOGITS, shares)
    assert metrics.means()["accuracy"] == pytest.approx((0.25 + 0.6 + 1.0) / 3)
    hard = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    plain = Metrics.of_batch(LOSSES, LOGITS, LABELS)
    assert Metrics.of_batch(LOSSES, LOGITS, hard).to_json() == plain.to_json()


def test_masked_rows_do_not_count():
    metrics = Metrics.of_batch(LOSSES, LOGITS, LABELS, jnp.asarray([True, True, False]))
    assert metrics.means() == {"loss": 1.25, "accuracy": 0.5}


def test_merging_batches_of_different_size_is_not_a_mean_of_means():
    first = Metrics.of_batch(LOSSES[:2], LOGITS[:2], LABELS[:2])
    second = Metrics.of_batch(LOSSES[2:], LOGITS[2:], LABELS[2:])
    whole = Metrics.of_batch(LOSSES, LOGITS, LABELS)
    assert first.merge(second).means() == pytest.approx(whole.means())


def test_an_accuracy_is_an_exact_quotient():
    count = 10_000
    labels = jnp.zeros(count, jnp.int32)
    logits = jnp.where(
        jnp.arange(count)[:, None] < 9173, jnp.asarray([1.0, 0]), jnp.asarray([0, 1.0])
    )
    assert Metrics.of_batch(jnp.zeros(count), logits, labels).means()["accuracy"] == 0.9173


def test_sums_survive_json_exactly():
    metrics = Metrics.of_batch(jnp.asarray([0.1, 1 / 3], jnp.float32), LOGITS[:2], LABELS[:2])
    restored = Metrics.from_json(json.loads(json.dumps(metrics.to_json())))
    for before, after in ((metrics.loss, restored.loss), (metrics.accuracy, restored.accuracy)):
        np.testing.assert_array_equal(before.total, after.total)
        assert before.total.dtype == after.total.dtype
        assert before.count.dtype == after.count.dtype
