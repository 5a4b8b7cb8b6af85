import numpy as np
import pytest

from resnet_jax import mistakes
from resnet_jax.errors import ConfigError
from resnet_jax.mistakes import Mistake

PROBABILITIES = np.array(
    [[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7], [0.6, 0.1, 0.3]],
    np.float32,
)
LABELS = np.array([0, 0, 0, 1, 2])


def test_mistakes_come_with_the_surest_first():
    found = mistakes.find(PROBABILITIES, LABELS)
    assert [each.image for each in found] == [2, 3, 4, 1]
    assert found[1] == Mistake(3, 1, 2, pytest.approx(0.7), pytest.approx(0.3))


@pytest.mark.parametrize(
    ("label", "predicted", "images"),
    [(0, None, [2, 1]), (None, 1, [2, 1]), (2, 0, [4]), (2, 1, []), (0, 0, [])],
)
def test_those_of_a_class_and_those_taken_for_one(label, predicted, images):
    found = mistakes.find(PROBABILITIES, LABELS, label, predicted)
    assert [each.image for each in found] == images


def test_a_class_is_found_by_its_name():
    assert mistakes.label_of(("cat", "dog"), "dog", "--of") == 1
    assert mistakes.label_of(("cat", "dog"), None, "--of") is None


@pytest.mark.parametrize(
    ("name", "words"), [("cta", "did you mean cat?"), ("xyz", "the classes are cat, dog$")]
)
def test_an_unknown_class_is_an_error_with_what_there_is(name, words):
    with pytest.raises(ConfigError, match=words):
        mistakes.label_of(("cat", "dog"), name, "--of")


def test_of_many_classes_some_are_named():
    classes = tuple(f"class {number}" for number in range(12))
    with pytest.raises(ConfigError, match=r"class 9, \.\.\.$"):
        mistakes.label_of(classes, "xyz", "--as")
