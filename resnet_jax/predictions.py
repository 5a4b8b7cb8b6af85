"""What a trained network says of images: the probability of each class."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import atomic, step
from resnet_jax.data import pipeline
from resnet_jax.data.source import Examples
from resnet_jax.errors import NonFiniteError
from resnet_jax.rebuilt import Rebuilt
from resnet_jax.step import TrainState


def compute(network: Rebuilt, state: TrainState, examples: Examples) -> np.ndarray:
    """The probability of each class for each image; with views, the mean of theirs.

    Args:
        network: of a workdir.
        state: its weights.
        examples: images; their labels are not looked at.

    Returns:
        float32 [N, classes], in the order of the examples.

    Raises:
        NonFiniteError: one is not finite.
    """
    recipe, count = network.run.recipe, len(examples)
    size = recipe.batches.evaluation_size(network.batch_size, count)

    @jax.jit
    def one_batch(variables: dict, images: pipeline.DeviceExamples, start: jax.Array) -> jax.Array:
        logits, *_ = step.outputs(recipe.model, recipe.batches, size, variables, images, start)
        return jax.nn.softmax(logits)

    placed = pipeline.place(examples, recipe.batches.mesh)
    variables = state.evaluated()
    parts = [
        np.asarray(one_batch(variables, placed, jnp.int32(start)))
        for start in range(0, count, size)
    ]
    probabilities = np.concatenate(parts)[:count]
    if not np.isfinite(probabilities).all():
        raise NonFiniteError(
            f"the probabilities of {network.workdir} at step {int(state.step)} are not finite; "
            "the run has diverged, or another version of the code wrote the checkpoint"
        )
    return probabilities


def best(classes: tuple[str, ...], probabilities: np.ndarray, most: int) -> list[tuple[str, float]]:
    """The most probable classes of one image with their probabilities, at most so many.

    Args:
        classes: names.
        probabilities: float32 [classes].
        most: how many.
    """
    order = np.argsort(-probabilities, kind="stable")[:most]
    return [(classes[label], float(probabilities[label])) for label in order]


def percent(probability: float) -> str:
    """In percent; never 100, which is only as near as float32 has it: `>99.9%`."""
    if probability >= 0.9995:
        return ">99.9%"
    return "<0.1%" if 0 < probability < 0.0005 else f"{probability:.1%}"


def write_csv(
    path: Path,
    images: Sequence[str | int],
    classes: tuple[str, ...],
    probabilities: np.ndarray,
    labels: np.ndarray | None = None,
) -> None:
    """Writes a row an image: its name, its class if known, the most probable one, all probabilities.

    Args:
        path: of the file.
        images: names or numbers.
        classes: names.
        probabilities: float32 [N, classes].
        labels: int32 [N]; None where they are not known.

    Raises:
        WorkdirError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    known = [] if labels is None else ["label"]
    writer.writerow(["image", *known, "predicted", *classes])
    for number, (image, row) in enumerate(zip(images, probabilities, strict=True)):
        own = [] if labels is None else [classes[labels[number]]]
        writer.writerow([image, *own, classes[row.argmax()], *(f"{p:.6g}" for p in row)])
    atomic.write(path, text.getvalue(), "--csv")
