"""The optimizer: one Optax chain of clipping, weight decay, momentum and schedule."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from resnet_jax import params as parameters
from resnet_jax.errors import ConfigError
from resnet_jax.expression import Expression
from resnet_jax.models import architecture
from resnet_jax.models.designs import DESIGNS


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


@dataclasses.dataclass(frozen=True)
class Rate:
    """A factor on the learning rate of the parameters that match a pattern.

    Attributes:
        pattern: on whole names.
        factor: at least 0.
        source: the config field, and the design where the rate is its own; for error messages.
    """

    pattern: str
    factor: float
    source: str


def rate_factors(config: ConfigDict) -> tuple[Rate, ...]:
    """The factors of `optimizer.rates`, or of the design's row where that is unset.

    A factor is a number, or an expression of `L`, the residual units, and `adam`, 1 for adaptive
    optimizers and 0 for others.

    Raises:
        ConfigError: a factor that is no number of at least 0.
    """
    rates, source = config.optimizer.rates, "optimizer.rates"
    if rates is None:
        rates = DESIGNS[config.model.design].learning_rates
        source = f"optimizer.rates of design {config.model.design!r}"
    names = {
        "L": sum(architecture.stage_sizes(config.model)),
        "adam": int(config.optimizer.name != "sgd"),
    }
    found = []
    for pattern, text in rates:
        try:
            factor = Expression(str(text)).value(**names)
        except ValueError as error:
            raise ConfigError(f"config.{source}: the factor {text!r} {error}") from None
        if factor < 0:
            raise ConfigError(
                f"config.{source}: the factor {text!r} is negative; write one above 0"
            )
        found.append(Rate(pattern, factor, source))
    return tuple(found)


def _scale_rates(
    params: Any, rates: Sequence[Rate], trained: Callable
) -> optax.GradientTransformation:
    """Multiplies updates by the factors that match; of several that match, by all."""
    scales = []
    for rate in rates:
        mask = parameters.match_of_row(params, rate.pattern, rate.source)
        scales.append(optax.masked(optax.scale(rate.factor), trained(mask)))
    return optax.chain(*scales) if scales else optax.identity()


def factors(params: Any, rates: Sequence[Rate]) -> Any:
    """The factor on the learning rate of each parameter, in their structure."""
    masks = [parameters.match_of_row(params, rate.pattern, rate.source) for rate in rates]
    ones = jax.tree.map(lambda _: 1.0, params)
    for rate, mask in zip(rates, masks, strict=True):
        ones = jax.tree.map(lambda f, hit, by=rate.factor: f * by if hit else f, ones, mask)
    return ones


def _clip(optimizer: ConfigDict, params: Any, trained: Callable) -> optax.GradientTransformation:
    """Clipping by the global norm, then adaptively, by unit.

    Adaptive clipping (Brock et al. 2021, arXiv 2102.06171, section 4) bounds the norm of each output
    channel's gradient by a share of the norm of its weights, or of 1e-3 where that is larger. It
    leaves out the head (section 4.1).
    """
    clips = []
    if optimizer.clip_norm:
        clips.append(optax.clip_by_global_norm(optimizer.clip_norm))
    if optimizer.adaptive_clip:
        head = parameters.match(params, (f"{parameters.HEAD}/.*",), "optimizer.adaptive_clip")
        others = trained(jax.tree.map(lambda is_head: not is_head, head))
        clips.append(optax.masked(optax.adaptive_grad_clip(optimizer.adaptive_clip), others))
    return optax.chain(*clips) if clips else optax.identity()


def create(
    optimizer: ConfigDict,
    learning_rate: optax.Schedule,
    params: Any,
    rates: Sequence[Rate] = (),
    trained: Callable[[Any], Any] = lambda tree: tree,
    decay: optax.GradientTransformation | None = None,
) -> optax.GradientTransformation:
    """Builds the chain.

    Coupled decay adds `weight_decay * parameter` to the gradient, in front of the momentum: the L2
    penalty of the papers and of PyTorch's SGD. Decoupled decay (Loshchilov & Hutter 2019, arXiv
    1711.05101) adds it behind, and is about 1 / (1 - momentum) times weaker for the same coefficient.
    Either way a factor on the learning rate scales it with the rest of the update, as in PyTorch's
    parameter groups.

    Args:
        optimizer: the section `optimizer` of a config.
        learning_rate: from `schedule`.
        params: the parameters, or their shapes.
        rates: from `rate_factors`.
        trained: takes the part of a tree that is trained; the chain is for that part alone.
        decay: in the place of weight decay; None for that itself.

    Raises:
        ConfigError: a pattern matches no parameter.
    """
    decayed = parameters.match(params, optimizer.decayed, "optimizer.decayed")
    if decay is None:
        decay = optax.add_decayed_weights(optimizer.weight_decay, mask=trained(decayed))
    coupling = decay_coupling(optimizer)
    if optimizer.name == "adamw":
        direction = optax.scale_by_adam(optimizer.beta1, optimizer.beta2, optimizer.epsilon)
    else:
        direction = optax.trace(optimizer.momentum, optimizer.nesterov)
    # By name: what a later version puts in between does not change where a checkpoint has the rest.
    return optax.named_chain(
        ("clip", _clip(optimizer, params, trained)),
        ("coupled_decay", decay if coupling == "coupled" else optax.identity()),
        ("direction", direction),
        ("decoupled_decay", decay if coupling == "decoupled" else optax.identity()),
        ("rates", _scale_rates(params, rates, trained)),
        ("schedule", optax.scale_by_learning_rate(learning_rate)),
    )
