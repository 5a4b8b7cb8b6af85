"""How many units each stage has: from the depth that a paper counts in layers."""

from typing import Any

from resnet_jax.errors import ConfigError

_IMAGENET_STAGES = {
    (18, False): (2, 2, 2, 2),
    (34, False): (3, 4, 6, 3),
    (50, True): (3, 4, 6, 3),
    (101, True): (3, 4, 23, 3),
    (152, True): (3, 8, 36, 3),
}
"""(depth, bottleneck) -> units per stage (He et al. 2015, table 1)."""


def stage_sizes(model: Any) -> tuple[int, ...]:
    """Units per stage, from `stage_sizes` if set, else from the depth.

    Raises:
        ConfigError: no network of this kind has that depth.
    """
    stages = len(model.stage_widths)
    if model.stage_sizes:
        if len(model.stage_sizes) != stages:
            raise ConfigError(
                f"config.model.stage_sizes={tuple(model.stage_sizes)} names {len(model.stage_sizes)} "
                f"stages, config.model.stage_widths={tuple(model.stage_widths)} {stages}; make them equal"
            )
        return tuple(model.stage_sizes)
    if stages == 4:
        return _imagenet_sizes(model.depth, model.bottleneck)
    per_unit = len(model.kernels or ()) or (3 if model.bottleneck else 2)
    # The papers count the stem and the head; wide networks also count one projection a stage,
    # but not the head (Zagoruyko & Komodakis 2016, table 1).
    step = per_unit * stages
    for other_layers in (2, 1 + stages):
        units, remainder = divmod(model.depth - other_layers, step)
        if units > 0 and remainder == 0:
            return (units,) * stages
    near = max(1, round((model.depth - 2) / step)) * step + 2
    kind = "bottleneck" if model.bottleneck else "basic"
    raise ConfigError(
        f"config.model.depth={model.depth} fits no network with {stages} stages of {kind} units; write "
        f"{step}n+2 (such as {near}) or, for wide networks, {step}n+{1 + stages} "
        f"(such as {near - 1 + stages})"
    )


def _imagenet_sizes(depth: int, bottleneck: bool) -> tuple[int, ...]:
    sizes = _IMAGENET_STAGES.get((depth, bottleneck))
    if sizes is None:
        legal = ", ".join(f"{d} with bottleneck={b}" for d, b in _IMAGENET_STAGES)
        raise ConfigError(
            f"config.model.depth={depth} with four stages and bottleneck={bottleneck}: "
            f"choose one of {legal}; or set config.model.stage_sizes"
        )
    return sizes
