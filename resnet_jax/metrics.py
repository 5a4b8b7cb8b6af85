"""What is counted over examples: mean loss and accuracy, exact for any batching."""

import clu.metrics
import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Metrics(clu.metrics.Collection):
    """Sums over examples; `merge` adds two, `means` divides."""

    loss: clu.metrics.Average.from_output("loss")
    accuracy: clu.metrics.Average.from_output("correct")

    @classmethod
    def of_batch(
        cls, losses: jax.Array, logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None
    ) -> "Metrics":
        """Counts a batch.

        Args:
            losses: float32 [B].
            logits: float32 [B, classes].
            labels: int32 [B]; or the share of each class, float32 [B, classes], of which a prediction
                then counts the share of its class, as in Zhang et al. 2018 (arXiv 1710.09412).
            mask: bool [B]; false rows do not count.
        """
        predicted = jnp.argmax(logits, axis=-1)
        if labels.ndim == 2:
            correct = jnp.take_along_axis(labels, predicted[:, None], axis=1)[:, 0]
        else:
            correct = (predicted == labels).astype(jnp.float32)
        return cls.single_from_model_output(loss=losses, correct=correct, mask=mask)

    def examples(self) -> int:
        """How many examples were counted; waits for the device."""
        return int(self.loss.count)

    def means(self) -> dict[str, float]:
        """Mean `loss` and `accuracy` (0..1) over the examples; waits for the device."""
        sums = self.to_json()
        return {name: total / count for name, (total, count) in sums.items()}

    def to_json(self) -> dict[str, list[float]]:
        """The sums, exactly, for a checkpoint."""
        parts = {"loss": self.loss, "accuracy": self.accuracy}
        return {name: [float(part.total), int(part.count)] for name, part in parts.items()}

    @classmethod
    def from_json(cls, sums: dict[str, list[float]]) -> "Metrics":
        """What `to_json` wrote."""

        def restored(part: clu.metrics.Average, name: str) -> clu.metrics.Average:
            total, count = sums[name]
            return part.replace(total=jnp.float32(total), count=jnp.int32(count))

        empty = cls.empty()
        return empty.replace(
            loss=restored(empty.loss, "loss"), accuracy=restored(empty.accuracy, "accuracy")
        )
