import csv

import jax
import numpy as np
import pytest

from configs import digits_quickstart
from resnet_jax import predictions, rebuilt, train
from resnet_jax.errors import NonFiniteError, WorkdirError


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """That of a short run."""
    config = digits_quickstart.get_config()
    config.num_steps, config.batch_size = 2, 16
    config.model.stage_widths = (4, 8, 8)
    workdir = tmp_path_factory.mktemp("runs") / "run"
    train.train_and_evaluate(config, workdir, jax.devices()[:1])
    return rebuilt.rebuild(workdir)


def test_probabilities_are_those_of_the_network_whatever_the_batches(network):
    state, examples = network.state(), network.examples("test")
    found = predictions.compute(network, state, examples)
    recipe = network.run.recipe
    images = recipe.batches.normalise(examples.images)
    model = jax.jit(recipe.model.apply, static_argnames="train")
    expected = jax.nn.softmax(model(state.evaluated(), images, train=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    others = rebuilt.rebuild(network.workdir, batch_size=77)
    np.testing.assert_allclose(predictions.compute(others, state, examples), expected, atol=1e-5)


def test_views_are_averaged(network):
    state, examples = network.state(), network.examples("test")
    mirrored = type(examples)(examples.images[:, :, ::-1], examples.labels)
    each = [predictions.compute(network, state, e) for e in (examples, mirrored)]
    flip = rebuilt.rebuild(network.workdir, eval_augment="flip")
    found = predictions.compute(flip, state, examples)
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-5)


def test_what_is_not_finite_is_an_error(network):
    state = network.state()
    state = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
    with pytest.raises(NonFiniteError, match="at step 2 are not finite"):
        predictions.compute(network, state, network.examples("test"))


def test_the_best_classes_come_in_order():
    row = np.array([0.2, 0.5, 0.3], np.float32)
    found = predictions.best(("a", "b", "c"), row, 2)
    assert found == [("b", 0.5), ("c", pytest.approx(0.3))]
    assert len(predictions.best(("a", "b", "c"), row, 9)) == 3


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        *((1.0, ">99.9%"), (0.9999, ">99.9%"), (0.9994, "99.9%"), (0.5, "50.0%")),
        *((0.0006, "0.1%"), (0.0004, "<0.1%"), (0.0, "0.0%")),
    ],
)
def test_nearly_certain_is_not_certain(probability, text):
    assert predictions.percent(probability) == text


def test_a_name_with_a_comma_survives_the_table(tmp_path):
    path = tmp_path / "new" / "x.csv"
    row = np.array([[0.25, 0.75]], np.float32)
    predictions.write_csv(path, ["a, b.png"], ("cat", "dog"), row)
    expected = {"image": "a, b.png", "predicted": "dog", "cat": "0.25", "dog": "0.75"}
    assert list(csv.DictReader(path.open())) == [expected]
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkdirError, match="another --csv"):
        predictions.write_csv(tmp_path / "file" / "x.csv", ["a"], ("cat", "dog"), row)
