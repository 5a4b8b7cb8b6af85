"""L2-SP: weight decay towards the weights that a run starts from, instead of towards 0.

Li et al. 2018, arXiv 1802.01483, section 3: the penalty alpha/2 ||w - w0||^2 on what was loaded and
beta/2 ||w||^2 on what is new; alpha is `finetune.l2_sp`, beta `optimizer.weight_decay`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from resnet_jax import params as parameters
from resnet_jax.errors import ConfigError

FIELD = "finetune.l2_sp"


class Start(NamedTuple):
    """The parameters before the first step. They are state, so that a resumed run has them."""

    params: Any


def towards_start(coefficient: float, mask: Any) -> optax.GradientTransformation:
    """Adds `coefficient * (parameter - its first value)` to the updates where `mask` is true."""

    def init(params: Any) -> Start:
        # Copies: the arrays of a state are donated, and none may be in it twice.
        return Start(jax.tree.map(jnp.array, parameters.split(params, mask)[0]))

    def update(updates: Any, state: Start, params: Any) -> tuple[Any, Start]:
        chosen, others = parameters.split(updates, mask)
        pulled = jax.tree.map(
            lambda update, now, first: update + coefficient * (now - first),
            chosen,
            parameters.split(params, mask)[0],
            state.params,
        )
        return parameters.merge(others, pulled), state

    return optax.GradientTransformation(init, update)


def check(config: ConfigDict) -> None:
    """Checks that there are weights to decay towards.

    Raises:
        ConfigError: there are none.
    """
    if config.finetune.l2_sp and config.finetune.init_from is None:
        raise ConfigError(
            f"config.{FIELD}={config.finetune.l2_sp:g} decays towards loaded weights, and none are loaded; "
            "add --config.finetune.init_from=WORKDIR, or a file of PyTorch's weights"
        )


def decay(
    config: ConfigDict, params: Any, trained: Callable[[Any], Any]
) -> optax.GradientTransformation | None:
    """What takes the place of weight decay; None where that stays.

    It acts on the parameters of `optimizer.decayed`. Those of `finetune.reinit` are new.

    Args:
        config: validated.
        params: the parameters, or their shapes.
        trained: takes the part of a tree that is trained.

    Raises:
        ConfigError: a pattern matches no parameter.
    """
    if not config.finetune.l2_sp:
        return None
    decayed = parameters.match(params, config.optimizer.decayed, "optimizer.decayed")
    new = parameters.match_subtrees(params, config.finetune.reinit, "finetune.reinit")
    loaded_ones = jax.tree.map(lambda decays, fresh: decays and not fresh, decayed, new)
    new_ones = jax.tree.map(lambda decays, fresh: decays and fresh, decayed, new)
    return optax.chain(
        towards_start(config.finetune.l2_sp, trained(loaded_ones)),
        optax.add_decayed_weights(config.optimizer.weight_decay, mask=trained(new_ones)),
    )
