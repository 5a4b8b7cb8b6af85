"""The optimizer: one Optax chain of clipping, weight decay, momentum and schedule."""

from typing import Any

import optax
from ml_collections import ConfigDict

from resnet_jax import params as parameters


def schedule(optimizer: ConfigDict, steps: int) -> optax.Schedule:
    """The learning rate by step, for a run of `steps`: a warm-up, then the named schedule.

    Every duration is a fraction of the run. The rate at step k is the one that update k + 1 uses.

    Args:
        optimizer: the section `optimizer` of a config.
        steps: length of the run.
    """
    peak = optimizer.learning_rate
    warmup = round(optimizer.warmup * steps)
    rest = max(1, steps - warmup)
    match optimizer.schedule:
        case "cosine":
            main = optax.cosine_decay_schedule(peak, rest)
        case "linear":
            main = optax.linear_schedule(peak, 0.0, rest)
        case "step":
            # Counted from the start of the run, as the papers do, not from the end of the warm-up.
            factors = {
                round(milestone * steps) - warmup: optimizer.step_factor
                for milestone in optimizer.milestones
            }
            main = optax.piecewise_constant_schedule(peak, factors)
        case "constant":
            main = optax.constant_schedule(peak)
    if not warmup:
        return main
    if optimizer.warmup_shape == "constant":
        before = optax.constant_schedule(peak * optimizer.warmup_factor)
    else:
        before = optax.linear_schedule(0.0, peak, warmup)
    return optax.join_schedules([before, main], [warmup])


def decay_coupling(optimizer: ConfigDict) -> str:
    """`coupled` or `decoupled`, with the default of the optimizer filled in."""
    default = {"sgd": "coupled", "adamw": "decoupled"}[optimizer.name]
    return optimizer.decay_coupling or default


def create(
    optimizer: ConfigDict, learning_rate: optax.Schedule, params: Any
) -> optax.GradientTransformation:
    """Builds the chain.

    Coupled decay adds `weight_decay * parameter` to the gradient, in front of the momentum: the L2
    penalty of the papers and of PyTorch's SGD. Decoupled decay (Loshchilov & Hutter 2019, arXiv
    1711.05101) adds it behind, and is about 1 / (1 - momentum) times weaker for the same coefficient.

    Args:
        optimizer: the section `optimizer` of a config.
        learning_rate: from `schedule`.
        params: the parameters, or their shapes.

    Raises:
        ConfigError: a pattern of `optimizer.decayed` matches no parameter.
    """
    decayed = parameters.match(params, optimizer.decayed, "optimizer.decayed")
    decay = optax.add_decayed_weights(optimizer.weight_decay, mask=decayed)
    coupling = decay_coupling(optimizer)
    if optimizer.name == "adamw":
        direction = optax.scale_by_adam(optimizer.beta1, optimizer.beta2, optimizer.epsilon)
    else:
        direction = optax.trace(optimizer.momentum, optimizer.nesterov)
    return optax.chain(
        optax.clip_by_global_norm(optimizer.clip_norm) if optimizer.clip_norm else optax.identity(),
        decay if coupling == "coupled" else optax.identity(),
        direction,
        decay if coupling == "decoupled" else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
    )
