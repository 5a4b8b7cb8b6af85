"""What a run does with each parameter: where it came from, whether it is trained, decays, and how fast."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import jax

from resnet_jax import params as parameters
from resnet_jax.finetune.load import Account

FILE = "parameters.json"
"""Where it is saved in a workdir."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """Of one parameter.

    Attributes:
        name: such as `stage1/block1/conv1/kernel`.
        size: number of scalars.
        origin: `loaded` or `fresh`.
        frozen: whether it stays as it is.
        decayed: whether weight decay acts on it.
        rate: factor on the learning rate.
    """

    name: str
    size: int
    origin: str
    frozen: bool
    decayed: bool
    rate: float


def treatments(
    params: Any, frozen: Any, decayed: Any, rates: Any, account: Account | None
) -> list[Treatment]:
    """One for each parameter.

    Args:
        params: arrays or shapes.
        frozen: a bool per parameter.
        decayed: a bool per parameter.
        rates: a number per parameter.
        account: of the weights that were loaded; None where none were.
    """
    loaded = set(account.loaded) if account else set()
    leaves = [jax.tree.leaves(tree) for tree in (params, frozen, decayed, rates)]
    return [
        Treatment(
            name=name,
            size=leaf.size,
            origin="loaded" if f"params/{name}" in loaded else "fresh",
            frozen=still,
            decayed=decays and not still,
            rate=0.0 if still else rate,
        )
        for name, leaf, still, decays, rate in zip(parameters.names(params), *leaves, strict=True)
    ]


def lines(rows: Iterable[Treatment]) -> list[str]:
    """A table for people: a line for each part of the network that is treated alike."""
    rows = list(rows)

    def key(row: Treatment) -> tuple:
        return row.name.split("/")[0], row.origin, row.frozen, row.rate

    header = (
        f"  {'part':<10} {'parameters':>12}  {'origin':<7} {'trained':<8} {'decayed':>11}  rate"
    )
    found = [header]
    for (part, origin, still, rate), group in itertools.groupby(sorted(rows, key=key), key):
        group = list(group)
        size = sum(row.size for row in group)
        decays = sum(row.size for row in group if row.decayed)
        trained = "frozen" if still else "yes"
        found.append(
            f"  {part:<10} {size:>12,}  {origin:<7} {trained:<8} {decays:>11,}  x {rate:g}"
        )
    trained = sum(row.size for row in rows if not row.frozen)
    total = sum(row.size for row in rows)
    found.append(f"  {'in all':<10} {total:>12,}  of which {trained:,} are trained")
    return found


def account_line(account: Account, source: Any) -> str:
    """What became of the arrays of a source, in a line; the sums match."""
    names = ", ".join(sorted({name.split("/", 1)[1].rpartition("/")[0] for name in account.fresh}))
    fresh = f"{len(account.fresh)} fresh" + (f" ({names})" if names else "")
    arrays = len(account.loaded) + len(account.fresh)
    return (
        f"{source}: {len(account.loaded)} of {arrays} arrays loaded, {fresh}, "
        f"{len(account.dropped)} of the source dropped"
    )
