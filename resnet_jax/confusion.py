"""Which classes a network takes for which: the confusion matrix and what follows from it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts of images.

    Attributes:
        classes: the names of rows and columns.
        counts: int64 [classes, classes]: of the images of a class (row), how many the network takes
            for which (column).
    """

    classes: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> "Confusion":
        """Counts labels against predictions, both integers [N]."""
        from sklearn import metrics  # takes a second to import

        return cls(
            classes,
            metrics.confusion_matrix(labels, predicted, labels=np.arange(len(classes))),
        )

    @property
    def examples(self) -> int:
        return int(self.counts.sum())

    @property
    def right(self) -> int:
        return int(np.trace(self.counts))

    @property
    def images(self) -> np.ndarray:
        """Images of each class, int64 [classes]."""
        return self.counts.sum(1)

    @property
    def recall(self) -> np.ndarray:
        """Of the images of a class, the share that is recognised; nan without images."""
        return _ratio(np.diag(self.counts), self.images)

    @property
    def precision(self) -> np.ndarray:
        """Of the images taken for a class, the share that is of it; nan where none is."""
        return _ratio(np.diag(self.counts), self.counts.sum(0))

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of both: nan where there is nothing of the class and nothing is taken for it."""
        return _ratio(2 * np.diag(self.counts), self.images + self.counts.sum(0))

    def taken_for(self, label: int, most: int) -> list[tuple[int, int]]:
        """The classes that images of `label` are most often taken for, with counts; at most so many."""
        wrong = self.counts[label].copy()
        wrong[label] = 0
        order = np.argsort(-wrong, kind="stable")[:most]
        return [(int(other), int(wrong[other])) for other in order if wrong[other]]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
