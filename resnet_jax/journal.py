"""The rows of a run: checked, written into its files, and shown beside its progress."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resnet_jax import console, writer
from resnet_jax.errors import NonFiniteError
from resnet_jax.metrics import Metrics
from resnet_jax.plan import Plan
from resnet_jax.step import TrainState


class Journal:
    """Keeps the rows of one process's share of a run.

    Args:
        run: what is trained.
        workdir: of the run.
        done: steps done when this process begins.
        images: training images, of which an epoch consists.
        saved: step of the newest checkpoint, None if there is none.

    Attributes:
        progress: on the console.
        saved: as above, kept up to date by whoever saves.
    """

    def __init__(self, run: Plan, workdir: Path, done: int, images: int, saved: int | None):
        self._plan = run
        self._workdir = workdir
        self._images = images
        self.saved = saved
        self._writers = writer.create(workdir, done, tensorboard=run.config.tensorboard)
        self.progress = console.Progress(run.steps, done, run.config.batch_size)

    def row(self, at: int, split: str, metrics: Metrics) -> dict[str, Any]:
        """A row of metrics; its learning rate is that of the update that led to step `at`.

        Raises:
            NonFiniteError: the loss is not finite.
            WorkdirError: the disk is full or gone.
        """
        means = metrics.means()
        row = {
            "step": at,
            "epoch": at * self._plan.config.batch_size / self._images,
            "split": split,
            "loss": means["loss"],
            "accuracy": means["accuracy"],
            "learning_rate": float(self._plan.learning_rates[at - 1]),
            "images_per_second": self.progress.images_per_second() if split == "train" else None,
        }
        if not math.isfinite(row["loss"]):
            raise self._not_finite(f"the {split} loss is {row['loss']} at step {at}")
        for each in self._writers:
            each.write(row)
        self.progress.row(row)
        return row

    def check_finite(self, state: TrainState) -> None:
        """Checks every number of a state.

        Raises:
            NonFiniteError: one is not finite.
        """
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state)):
            raise self._not_finite(f"the state is not finite at step {state.step}")

    def _not_finite(self, what: str) -> NonFiniteError:
        saved = "nothing was saved" if self.saved is None else f"step {self.saved} is saved"
        return NonFiniteError(
            f"{what}; {saved} in {self._workdir}\n"
            f"try a lower config.optimizer.learning_rate (now "
            f"{self._plan.config.optimizer.learning_rate:g}), a longer config.optimizer.warmup or "
            "config.optimizer.clip_norm, in another --workdir"
        )

    def close(self) -> None:
        """Closes the files."""
        self.progress.close()
        for each in self._writers:
            each.close()
