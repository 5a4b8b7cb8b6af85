import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from resnet_jax import checkpoint, plan, rng, sharding, step, steps
from resnet_jax.data import pipeline
from resnet_jax.metrics import Metrics


@pytest.fixture
def examples():
    """96 images of the digits' shape with random labels."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (96, 8, 8, 1), dtype=np.uint8)
    labels = random.integers(0, 10, 96).astype(np.int32)
    return pipeline.Examples(images, labels)


@pytest.fixture
def start(tiny_config, examples):
    """A function from changed fields to (recipe, initial state, placed examples)."""

    def make(devices=1, **changes):
        with tiny_config.unlocked():
            tiny_config.update_from_flattened_dict(changes)
        made = plan.make(tiny_config, jax.devices()[:devices])
        state = step.init_state(made.recipe, tiny_config.seed, made.dataset.image_shape)
        return made.recipe, state, pipeline.place(examples, made.recipe.batches.mesh)

    return make


def take(recipe, state, examples, count, *, fused=None):
    metrics = jax.device_put(Metrics.empty(), sharding.replicated(recipe.batches.mesh))
    return steps.compile(recipe, fused=fused)(state, metrics, examples, count)


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_one_step_of_a_tiny_network_is_pinned(start):
    """The loss of step 1 and of step 3, and a parameter's norm after it.

    A change here changes every result that users have: the initial values, the order of the images,
    their augmentation, the forward pass, the loss, the gradient, or the optimizer. If that is what you
    mean, say so in CHANGELOG.md and write the new numbers here; if you only moved code, it is a bug.
    The loss of step 1 is near ln(10) = 2.3026, since the head starts near 0.
    """
    recipe, state, examples = start()
    state, first = take(recipe, state, examples, 1)
    state, later = take(recipe, state, examples, 2)
    norm = float(jnp.linalg.norm(state.params["stage2"]["block1"]["conv1"]["kernel"]))
    measured = [first.means()["loss"], later.means()["loss"], norm]
    assert measured == pytest.approx([2.30831, 2.34455, 2.89488], rel=1e-4)


def test_the_step_is_pure_and_does_what_the_optimizer_says(start):
    recipe, state, examples = start()
    after, metrics = jax.jit(lambda s: step.train_step(recipe, s, examples))(state)
    again, _ = jax.jit(lambda s: step.train_step(recipe, s, examples))(state)
    assert checkpoint.sha256(after) == checkpoint.sha256(again)
    assert int(after.step) == 1
    assert metrics.examples() == recipe.batch_size
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    # The first update has a rate of 0 under a warm-up from 0: only the statistics move.
    assert not any(jax.tree.leaves(moved))
    assert checkpoint.sha256(state.batch_stats) != checkpoint.sha256(after.batch_stats)


def test_eight_devices_compute_what_one_does(start):
    results = {}
    for devices in (1, 8):
        recipe, state, examples = start(devices)
        state, metrics = take(recipe, state, examples, 3)
        results[devices] = state, metrics.means()
    # Sums in another order differ in the last bits; statistics per device would differ by 0.05.
    assert_close(results[1][0].params, results[8][0].params, atol=1e-5)
    assert_close(results[1][0].batch_stats, results[8][0].batch_stats, atol=1e-5)
    assert results[1][1] == pytest.approx(results[8][1], rel=1e-5)


def test_statistics_over_eight_devices_are_those_of_the_global_batch(start):
    """One device's share of the batch has other statistics: the test above is not vacuous."""
    recipe, state, examples = start()
    images, _ = recipe.batches.train(examples, state.seed, jnp.arange(16))
    _, whole = recipe.model.apply(
        {"params": state.params, "batch_stats": state.batch_stats},
        images,
        train=True,
        mutable=["batch_stats"],
    )
    _, part = recipe.model.apply(
        {"params": state.params, "batch_stats": state.batch_stats},
        images[:2],
        train=True,
        mutable=["batch_stats"],
    )
    differences = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), whole, part)
    assert max(jax.tree.leaves(differences)) > 1e-3


def test_eight_devices_split_the_batch_and_not_the_parameters(start):
    recipe, state, examples = start(8)
    one = jax.jit(lambda s, e: step.train_step(recipe, s, e))
    text = one.lower(state, examples).compile().as_text()
    # 16 images on 8 devices: activations of 2 images, never of 16; gradients are summed.
    assert "f32[2,8,8,4]" in text
    assert "f32[16,8,8,4]" not in text
    assert "all-reduce" in text


def test_all_seeds_share_one_program(start):
    recipe, state, examples = start()
    one = jax.jit(lambda s: step.train_step(recipe, s, examples))
    one(state)
    one(state.replace(seed=jax.device_put(jnp.uint32(123), state.seed.sharding)))
    assert one._cache_size() == 1


def test_another_seed_sees_other_images(start):
    recipe, state, examples = start()
    one = jax.jit(lambda s: step.train_step(recipe, s, examples))
    losses = {one(state.replace(seed=jnp.uint32(seed)))[1].means()["loss"] for seed in range(3)}
    assert len(losses) == 3


def test_many_steps_in_one_dispatch_are_the_same_steps(start):
    recipe, state, examples = start()
    copy = jax.tree.map(jnp.array, state)
    looped, metrics = take(recipe, state, examples, 4, fused=False)
    fused, fused_metrics = take(recipe, copy, examples, 4, fused=True)
    assert int(fused.step) == 4
    assert_close(looped.params, fused.params, atol=1e-5)
    assert metrics.means() == pytest.approx(fused_metrics.means(), rel=1e-5)


def test_accumulation_equals_the_large_batch_without_batch_statistics(start):
    """The gradient is linear in the images, so micro-batches change rounding only."""
    # Without norms the default rate would diverge, and rounding would grow with it.
    changes = {"model.norm": "none", "optimizer.learning_rate": 0.01}
    recipe, state, examples = start(**changes)
    large, metrics = take(recipe, jax.tree.map(jnp.array, state), examples, 3)
    for parts in (2, 4):
        split = dataclasses.replace(recipe, accumulation=parts)
        small, small_metrics = take(split, jax.tree.map(jnp.array, state), examples, 3)
        assert_close(large.params, small.params, atol=1e-6)
        assert metrics.means() == pytest.approx(small_metrics.means(), rel=1e-5)


def test_accumulation_normalises_each_micro_batch_by_its_own_statistics(start):
    """The documented difference: BatchNorm sees micro-batches, one after the other."""
    recipe, state, examples = start()
    large, _ = take(recipe, jax.tree.map(jnp.array, state), examples, 1)
    split = dataclasses.replace(recipe, accumulation=2)
    small, _ = take(split, jax.tree.map(jnp.array, state), examples, 1)
    stem = large.batch_stats["stem"]["norm"]["mean"], small.batch_stats["stem"]["norm"]["mean"]
    images, _ = recipe.batches.train(examples, state.seed, jnp.arange(16))
    kernel = state.params["stem"]["conv"]["kernel"]
    convolved = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    means = [convolved[rows].mean((0, 1, 2)) for rows in (slice(16), slice(8), slice(8, 16))]
    np.testing.assert_allclose(stem[0], 0.1 * means[0], atol=1e-5)
    np.testing.assert_allclose(stem[1], 0.9 * 0.1 * means[1] + 0.1 * means[2], atol=1e-5)


def test_accumulation_draws_dropout_per_micro_batch(start):
    branch = "conv norm act drop(0.5) conv norm"
    recipe, state, examples = start(**{"model.branch": branch, "accumulation": 2})
    _, metrics = take(recipe, state, examples, 1)
    assert np.isfinite(metrics.means()["loss"])


def test_the_average_follows_parameters_and_statistics(start):
    recipe, state, examples = start(ema_decay=0.15)
    before = {"params": state.params, "batch_stats": state.batch_stats}
    assert_close(state.ema, before)
    expected = jax.tree.map(np.asarray, before)
    one = jax.jit(lambda s: step.train_step(recipe, s, examples))
    # (1 + step) / (10 + step) is 0.1, 0.18 and 0.25 at first, so that the limit acts from the second.
    for decay in (0.1, 0.15, 0.15):
        state, _ = one(state)
        now = {"params": state.params, "batch_stats": state.batch_stats}
        expected = jax.tree.map(
            lambda e, n, d=decay: d * e + (1 - d) * np.asarray(n), expected, now
        )
    assert_close(state.ema, expected, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, state.evaluated(), state.ema)


def test_without_averaging_the_last_parameters_are_evaluated(start):
    _, state, _ = start()
    assert state.ema == {}
    assert state.evaluated() == {"params": state.params, "batch_stats": state.batch_stats}


def test_bfloat16_keeps_parameters_statistics_and_loss_in_float32(start):
    recipe, state, examples = start(precision="bfloat16")
    state, metrics = take(recipe, state, examples, 2)
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype for x in floats} == {jnp.dtype("float32")}
    assert metrics.loss.total.dtype == jnp.float32
    jaxpr = str(jax.make_jaxpr(lambda s: step.train_step(recipe, s, examples))(state))
    assert "bf16" in jaxpr


def test_bfloat16_is_close_to_float32(start):
    losses = []
    for precision in ("float32", "bfloat16"):
        recipe, state, examples = start(precision=precision)
        _, metrics = take(recipe, state, examples, 2)
        losses.append(metrics.means()["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_cross_entropy_against_numpy():
    logits = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)
    labels = np.array([1, 0])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    plain = -log_p[[0, 1], labels]
    np.testing.assert_allclose(step.cross_entropy(logits, labels), plain, rtol=1e-6)
    smoothed = 0.9 * plain - 0.1 * log_p.mean(-1)
    np.testing.assert_allclose(step.cross_entropy(logits, labels, 0.1), smoothed, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_a_mixture_is_the_mixture_of_cross_entropies(smoothing):
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    first, second = np.array([0, 1, 2, 3, 0]), np.array([1, 1, 0, 2, 3])
    shares = np.array([0.1, 0.5, 0.9, 0.3, 1.0], np.float32)
    each = [step.cross_entropy(logits, labels, smoothing) for labels in (first, second)]
    targets = shares[:, None] * np.eye(4)[first] + (1 - shares[:, None]) * np.eye(4)[second]
    found = step.cross_entropy(logits, jnp.asarray(targets, jnp.float32), smoothing)
    np.testing.assert_allclose(found, shares * each[0] + (1 - shares) * each[1], rtol=1e-5)


def test_a_step_on_mixtures_is_the_same_on_one_and_on_eight_devices(start):
    """The loss starts at ln(10), whatever the targets; accuracy counts shares."""
    losses = []
    for devices in (1, 8):
        recipe, state, examples = start(
            devices, augment="crop(1) mixup(0.2) cutmix(1) erase", label_smoothing=0.1
        )
        _, metrics = take(recipe, state, examples, 2)
        losses.append(metrics.means())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0]["loss"] == pytest.approx(np.log(10), rel=0.05)
    assert 0 <= losses[0]["accuracy"] <= 1


def test_smoothing_reaches_the_training_loss(start):
    losses = []
    for smoothing in (0.0, 0.3):
        recipe, state, examples = start(label_smoothing=smoothing)
        losses.append(take(recipe, state, examples, 4)[1].means()["loss"])
    assert losses[0] != losses[1]


def test_initial_values_depend_on_the_seed_alone(start):
    recipe, state, _ = start()
    again = step.init_state(recipe, 0, (8, 8, 1))
    other = step.init_state(recipe, 1, (8, 8, 1))
    assert checkpoint.sha256(state) == checkpoint.sha256(again)
    assert checkpoint.sha256(state.params) != checkpoint.sha256(other.params)


def test_no_key_and_no_data_position_is_stored(start):
    """Everything random is folded from seed and step, so the state holds neither keys nor iterators."""
    _, state, _ = start()
    assert {field.name for field in dataclasses.fields(state)} == {
        "step",
        "seed",
        "params",
        "batch_stats",
        "opt_state",
        "ema",
    }
    assert state.step.shape == state.seed.shape == ()
    assert not any(jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(state))


def test_dropout_differs_from_step_to_step():
    keys = {
        tuple(jax.random.key_data(jax.random.fold_in(rng.key(0, rng.Stream.LAYERS), k)).tolist())
        for k in range(10)
    }
    assert len(keys) == 10


def test_gradients_of_the_step_are_those_of_the_mean_loss(start):
    """By finite differences along a random direction, in float32."""
    recipe, state, examples = start()
    images, labels = recipe.batches.train(examples, state.seed, jnp.arange(16))

    @jax.jit
    def loss(params):
        logits, _ = recipe.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return step.cross_entropy(logits, labels).mean()

    gradients, _, _ = jax.jit(lambda s: step._gradients(recipe, s, examples))(state)
    norm = optax.tree.norm(gradients)
    moved = [
        jax.tree.map(lambda p, g, h=h: p + h * g / norm, state.params, gradients)
        for h in (1e-2, -1e-2)
    ]
    slope = float(loss(moved[0]) - loss(moved[1])) / 2e-2
    assert slope == pytest.approx(float(norm), rel=0.02)
