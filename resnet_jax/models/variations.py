"""What the fields `zero_init`, `drop_path` and `downsampling` make of a unit's tokens and convolutions."""

import dataclasses
from typing import Any

from resnet_jax.errors import ConfigError
from resnet_jax.models.layers import ConvSpec
from resnet_jax.tokens import Token

DROP_PATH_SCHEDULES = ("linear", "constant")
"""How the drop probability grows from unit to unit."""


def zero_last_norm(branch: tuple[Token, ...], model: Any) -> tuple[Token, ...]:
    """Starts the scale of the branch's last norm at 0, so that each unit begins as its shortcut.

    Goyal et al. 2017, arXiv 1706.02677, section 5.1. Nothing changes unless `model.zero_init`.

    Raises:
        ConfigError: no norm follows the branch's last convolution, or there is no shortcut.
    """
    if not model.zero_init:
        return branch
    if model.shortcut == "none":
        raise ConfigError(
            "config.model.zero_init=True contradicts config.model.shortcut='none': units without a shortcut "
            "would pass nothing on; write --config.model.zero_init=false"
        )
    kinds = [token.name for token in branch]
    at = len(kinds) - 1 - kinds[::-1].index("norm") if "norm" in kinds else -1
    last_conv = len(kinds) - 1 - kinds[::-1].index("conv")
    kind = (branch[at].arguments[0] or model.norm) if at > last_conv else "none"
    if kind == "none":
        raise ConfigError(
            "config.model.zero_init=True needs a norm behind the last 'conv' of the branch, which is "
            f"{' '.join(map(str, branch))!r}; end config.model.branch with 'norm', or with 'gain(0)' "
            "and --config.model.zero_init=false"
        )
    return (*branch[:at], Token("norm", (kind, 0.0)), *branch[at + 1 :])


def check_drop_path(model: Any) -> None:
    """Checks that a unit whose branch is dropped still passes something on.

    Raises:
        ConfigError: it does not.
    """
    if model.drop_path and model.shortcut == "none":
        raise ConfigError(
            f"config.model.drop_path={model.drop_path} contradicts config.model.shortcut='none': a unit "
            "without its branch would pass nothing on; write --config.model.drop_path=0"
        )


def drop_path(model: Any, index: int, units: int) -> tuple[Token, ...]:
    """The token that drops the branch of unit `index` (from 1), or none.

    Linear: index / units * drop_path (Huang et al. 2016, arXiv 1603.09382, eq. 4, where the survival
    probability is given). Constant: the same in all units.
    """
    share = index / units if model.drop_path_schedule == "linear" else 1.0
    return (Token("drop_path", (share * model.drop_path,)),) if model.drop_path else ()


def blurred(
    branch: tuple[Token, ...], convs: tuple[ConvSpec, ...], size: int | None
) -> tuple[tuple[Token, ...], tuple[ConvSpec, ...]]:
    """Lets a blur do what the strided convolution of a branch did; the same if `size` is None.

    Zhang 2019, arXiv 1904.11486, section 3.2: the convolution runs at stride 1, and the blur follows the
    activation behind it, before the next convolution. Where there is no such activation, the blur follows the
    convolution itself: what may lie between is per channel.
    """
    strided = [number for number, conv in enumerate(convs) if conv.stride > 1]
    if size is None or not strided:
        return branch, convs
    (number,) = strided
    places = [i for i, token in enumerate(branch) if token.name == "conv"] + [len(branch)]
    at = places[number]
    for i in range(at + 1, places[number + 1]):
        if branch[i].name == "act":
            at = i
            break
    token = Token("blur", (size, convs[number].stride))
    still = dataclasses.replace(convs[number], stride=1)
    convs = (*convs[:number], still, *convs[number + 1 :])
    return (*branch[: at + 1], token, *branch[at + 1 :]), convs
