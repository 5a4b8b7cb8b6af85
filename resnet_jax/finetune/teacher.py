"""A network whose outputs another one learns: knowledge distillation.

Hinton et al. 2015, arXiv 1503.02531, section 2: softened outputs of both networks are compared at a
temperature T, and that part of the loss is multiplied by T^2, so that its gradients keep their size.
"""

import dataclasses
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh

from resnet_jax import sharding
from resnet_jax.data.pipeline import DeviceExamples


@flax.struct.dataclass
class TaughtExamples(DeviceExamples):
    """A split in device memory, and beside it the variables of the teacher.

    They are data like the images: constants in a compiled step would be a copy in each program, and
    XLA:CPU computes wrong numbers from some.
    """

    teacher: Any

    @classmethod
    def of(
        cls, examples: DeviceExamples, variables: dict[str, Any], mesh: Mesh
    ) -> "TaughtExamples":
        """Puts a teacher beside examples, on every device."""
        variables = jax.device_put(variables, sharding.replicated(mesh))
        return cls(images=examples.images, labels=examples.labels, teacher=variables)


@dataclasses.dataclass(frozen=True)
class Teacher:
    """How a student learns from another network.

    Attributes:
        workdir, step: the checkpoint.
        model: maps images to logits.
        scale, shift: per channel, from the student's normalisation of images to the teacher's.
        temperature: by which logits are divided.
        weight: of the teacher in the loss.
    """

    workdir: Path
    step: int
    model: nn.Module
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    temperature: float
    weight: float

    def losses(
        self, losses: jax.Array, logits: jax.Array, examples: TaughtExamples, images: jax.Array
    ) -> jax.Array:
        """The loss per image, float32 [B].

        Args:
            losses: by the labels, [B].
            logits: of the student, [B, classes].
            examples: with the teacher's variables.
            images: as the student sees them, [B, H, W, C].
        """
        seen = images * jnp.asarray(self.scale, jnp.float32) + jnp.asarray(self.shift, jnp.float32)
        theirs = self.model.apply(examples.teacher, seen, train=False)
        theirs = jax.lax.stop_gradient(theirs)
        return (1 - self.weight) * losses + self.weight * divergence(
            theirs, logits, self.temperature
        )


def divergence(teacher: jax.Array, student: jax.Array, temperature: float) -> jax.Array:
    """T^2 times the Kullback-Leibler divergence of softened outputs: float32 [B], 0 where they agree.

    Args:
        teacher: logits [B, classes].
        student: likewise.
        temperature: T.
    """
    theirs = jax.nn.log_softmax(teacher / temperature)
    ours = jax.nn.log_softmax(student / temperature)
    return temperature**2 * jnp.sum(jnp.exp(theirs) * (theirs - ours), axis=-1)
