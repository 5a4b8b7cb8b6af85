"""How long a sweep will take: from the size of its networks, and from the runs already timed."""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from resnet_jax import config as configs
from resnet_jax import platform, step
from resnet_jax.ablation import design
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.console import duration
from resnet_jax.data import mix, resize, spec
from resnet_jax.models import architecture

RATES = {"core, native": 1.2e10, "core, xla": 5e9, "accelerator": 1e12}
"""Multiplications a second of the forward pass while training, as measured with ResNet-20 on 2 AMD
EPYC cores (docs/speed.md); for an accelerator an order of magnitude."""

START, EACH = 20.0, 3.0
"""Seconds to start a process and compile, for each arm; to begin and to end a run."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds of each arm's run.

    Attributes:
        seconds: by arm name.
        timed: runs that it is based on; 0: a guess from the size of the networks.
    """

    seconds: Mapping[str, float]
    timed: int

    def total(self, runs: Iterable[tuple[Arm, int]]) -> float:
        """Seconds of runs that are done one after the other."""
        runs = list(runs)
        arms = {arm.name for arm, _ in runs}
        around = START * len(arms) + (0 if self.timed else EACH * len(runs))
        return sum(self.seconds[arm.name] for arm, _ in runs) + around


def in_words(seconds: float) -> str:
    """`12:40`, `1:02:03`, or days where it is more than two."""
    days = seconds / 86_400
    return f"{days:.0f} days" if days > 2 else duration(seconds)


def estimate(
    sweep: Sweep,
    rows: Sequence[Mapping[str, Any]],
    environ: Mapping[str, str] = os.environ,
    sizes: Mapping[str, "Network"] | None = None,
) -> Estimate:
    """Estimates every arm; arms that have not been timed are scaled from those that have.

    Args:
        sweep: valid.
        rows: of its runs so far.
        environ: of this process.
        sizes: what `networks` returns, if it is known already.
    """
    sizes = networks(sweep) if sizes is None else sizes
    work = {}
    for arm in sweep.arms:
        config = design.resolve(sweep, arm)
        images = configs.num_steps(config) * config.batch_size
        work[arm.name] = sizes[arm.name].multiplications * images
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == "done" and row["arm"] in work:
            seconds.setdefault(row["arm"], []).append(row["seconds"])
    timed = sum(map(len, seconds.values()))
    if timed:
        rate = sum(work[arm] * len(all_of) for arm, all_of in seconds.items())
        rate /= sum(map(sum, seconds.values()))
    else:
        rate = _guessed_rate(sweep.base, environ)
    mean = {arm: sum(all_of) / len(all_of) for arm, all_of in seconds.items()}
    return Estimate({arm: mean.get(arm, work[arm] / rate) for arm in work}, timed)


def _guessed_rate(config: ConfigDict, environ: Mapping[str, str]) -> float:
    if platform.guess_backend(environ) != "cpu":
        return RATES["accelerator"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    native = config.conv_backend != "xla" and config.precision == "float32"
    return RATES["core, native" if native else "core, xla"] * (cores or 1)


@dataclasses.dataclass(frozen=True)
class Network:
    """What is known of a network before it exists.

    Attributes:
        multiplications: of the forward pass of one image, in convolutions and matrix products.
        parameters: their shapes.
    """

    multiplications: float
    parameters: Any


def networks(sweep: Sweep) -> dict[str, Network]:
    """The network of every arm by its name; arms with the same one share the work.

    Raises:
        ConfigError: one contradicts itself, naming the arm.
    """
    known: dict[str, Network] = {}
    found = {}
    for arm in sweep.arms:
        config = design.resolve(sweep, arm)
        data = [config.data[field] for field in ("name", "resize", "mix")]
        key = json.dumps([config.model.to_dict(), data], sort_keys=True)
        if key not in known:
            with design.named(arm):
                known[key] = network(config)
        found[arm.name] = known[key]
    return found


def network(config: ConfigDict) -> Network:
    """The network of a config, traced and never computed."""
    dataset = spec.of(config.data)
    classes, channels = mix.union(config, dataset).num_classes, dataset.image_shape[-1]
    model = architecture.build(config.model, classes, channels=channels)
    shape = resize.shape(dataset.image_shape, config.data.resize)
    variables = jax.eval_shape(lambda: step.init_variables(model, 0, shape))
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    traced = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, images)
    return Network(_count(traced.jaxpr), variables["params"])


def _count(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
            features = equation.params["dimension_numbers"].rhs_spec[0]
            total += math.prod(out) * math.prod(kernel) / kernel[features]
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(
                left[axis] for axis in contracted
            )
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += _count(inner) if hasattr(inner, "eqns") else 0.0
    return total
