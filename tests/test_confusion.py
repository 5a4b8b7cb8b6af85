import numpy as np
import pytest

from resnet_jax import confusion_table
from resnet_jax.confusion import Confusion

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 1, 2, 1, 1, 0, 1, 1, 1])


@pytest.fixture
def confusion():
    """A fourth class has no images, and nothing is taken for it."""
    return Confusion.of(LABELS, PREDICTED, ("cat", "dog", "frog", "ship"))


def test_rows_are_classes_and_columns_what_they_are_taken_for(confusion):
    expected = [[2, 1, 1, 0], [1, 2, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(confusion.counts, expected)
    assert (confusion.examples, confusion.right) == (10, 4)
    np.testing.assert_array_equal(confusion.images, [4, 3, 3, 0])


def test_recall_precision_and_f1_are_those_of_scikit_learn(confusion):
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        LABELS, PREDICTED, labels=range(3), zero_division=np.nan
    )
    np.testing.assert_allclose(confusion.recall[:3], recall)
    np.testing.assert_allclose(confusion.precision[:3], precision)
    np.testing.assert_allclose(confusion.f1[:3], f1)


def test_what_there_is_nothing_of_is_no_number(confusion):
    for shares in (confusion.recall, confusion.precision, confusion.f1):
        assert np.isnan(shares).tolist() == [False, False, False, True]


def test_what_a_class_is_taken_for_is_listed_by_count_without_itself(confusion):
    assert confusion.taken_for(0, most=3) == [(1, 1), (2, 1)]
    assert confusion.taken_for(0, most=1) == [(1, 1)]
    assert confusion.taken_for(2, most=3) == [(1, 3)]
    assert confusion.taken_for(3, most=3) == []


def test_a_line_of_the_table_has_the_numbers_of_a_class(confusion):
    title, *lines = confusion_table.lines(confusion)
    assert " ".join(title.split()) == "class images recall precision F1 most often taken for"
    assert [line.split() for line in lines] == [
        ["cat", "4", "50.0%", "66.7%", "0.571", "dog:", "1,", "frog:", "1"],
        ["dog", "3", "66.7%", "33.3%", "0.444", "cat:", "1"],
        ["frog", "3", "0.0%", "0.0%", "0.000", "dog:", "3"],
    ]
    assert {line.index("%") for line in lines} == {lines[0].index("%")}


def test_what_nothing_is_taken_for_has_no_precision():
    lines = confusion_table.lines(Confusion.of(np.array([0, 1]), np.array([0, 0]), ("cat", "dog")))
    assert lines[2].split() == ["dog", "1", "0.0%", "-", "0.000", "cat:", "1"]


def test_of_many_classes_those_that_are_recognised_least_are_shown():
    labels = np.repeat(np.arange(50), 2)
    predicted = labels.copy()
    predicted[2 * 17] = 0  # one of its two images
    predicted[2 * 40 : 2 * 40 + 2] = 1
    names = tuple(f"class{number}" for number in range(50))
    lines = confusion_table.lines(Confusion.of(labels, predicted, names))
    assert len(lines) == confusion_table.MOST_LINES + 2
    assert [line.split()[0] for line in lines[1:4]] == ["class40", "class17", "class0"]
    assert "30 classes of 50" in lines[-1]
