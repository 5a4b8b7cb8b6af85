"""The images that a network takes for another class, the surest first."""

import dataclasses
import difflib

import numpy as np

from resnet_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image that is taken for another class.

    Attributes:
        image: its number in the split, from 0.
        label: its class.
        predicted: the class it is taken for.
        probability: of that, 0..1.
        own: probability of its own class.
    """

    image: int
    label: int
    predicted: int
    probability: float
    own: float


def find(
    probabilities: np.ndarray,
    labels: np.ndarray,
    label: int | None = None,
    predicted: int | None = None,
) -> list[Mistake]:
    """The images whose most probable class is not theirs, the surest first.

    Args:
        probabilities: float32 [N, classes].
        labels: int32 [N].
        label: only images of this class; None: of all.
        predicted: only images that are taken for this class; None: for any.
    """
    guesses = probabilities.argmax(1)
    chosen = guesses != labels
    if label is not None:
        chosen &= labels == label
    if predicted is not None:
        chosen &= guesses == predicted
    images = np.flatnonzero(chosen)
    order = images[np.argsort(-probabilities[images, guesses[images]], kind="stable")]
    return [
        Mistake(
            int(image),
            int(labels[image]),
            int(guesses[image]),
            float(probabilities[image, guesses[image]]),
            float(probabilities[image, labels[image]]),
        )
        for image in order
    ]


def label_of(classes: tuple[str, ...], name: str | None, flag: str) -> int | None:
    """The label of a class that a flag names; None for None.

    Raises:
        ConfigError: there is no such class.
    """
    if name is None:
        return None
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=1)
        some = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        hint = f"did you mean {near[0]}?" if near else f"the classes are {some}"
        raise ConfigError(f"{flag} {name}: no such class; {hint}")
    return classes.index(name)
