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

MODULES = 6
"""How many are named one by one."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """Of one parameter.

    Attributes:
        name: such as `stage1/block1/conv1/kernel`.
        size: number of scalars.
        origin: `loaded` or `fresh`.
        frozen: whether it stays as it is.
        decayed: whether weight decay acts on it.
        towards: `0`, or `start` where it decays towards the loaded weights (L2-SP); None where it does not.
        rate: factor on the learning rate.
    """

    name: str
    size: int
    origin: str
    frozen: bool
    decayed: bool
    towards: str | None
    rate: float


def treatments(
    params: Any,
    frozen: Any,
    decayed: Any,
    rates: Any,
    account: Account | None,
    *,
    towards_start: bool,
) -> list[Treatment]:
    """One for each parameter.

    Args:
        params: arrays or shapes.
        frozen: a bool per parameter.
        decayed: a bool per parameter.
        rates: a number per parameter.
        account: of the weights that were loaded; None where none were.
        towards_start: whether what was loaded decays towards what it was.
    """
    loaded = set(account.loaded) if account else set()

    def towards(name: str) -> str:
        return "start" if towards_start and f"params/{name}" in loaded else "0"

    leaves = [jax.tree.leaves(tree) for tree in (params, frozen, decayed, rates)]
    return [
        Treatment(
            name=name,
            size=leaf.size,
            origin="loaded" if f"params/{name}" in loaded else "fresh",
            frozen=still,
            decayed=decays and not still,
            towards=towards(name) if decays and not still else None,
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
        f"  {'part':<10} {'parameters':>12}  {'origin':<7} {'trained':<8} {'decayed':>11}  "
        f"{'towards':<7}  rate"
    )
    found = [header]
    for (part, origin, still, rate), group in itertools.groupby(sorted(rows, key=key), key):
        group = list(group)
        size = sum(row.size for row in group)
        decays = sum(row.size for row in group if row.decayed)
        trained = "frozen" if still else "yes"
        towards = "/".join(sorted({row.towards for row in group if row.towards})) or "-"
        found.append(
            f"  {part:<10} {size:>12,}  {origin:<7} {trained:<8} {decays:>11,}  {towards:<7}  x {rate:g}"
        )
    trained = sum(row.size for row in rows if not row.frozen)
    total = sum(row.size for row in rows)
    found.append(f"  {'in all':<10} {total:>12,}  of which {trained:,} are trained")
    return found


def account_line(account: Account, source: Any) -> str:
    """What became of the arrays of a source, in a line; the sums match."""
    fresh, dropped = (
        f"{len(arrays)} {what}" + (f" ({', '.join(_modules(arrays))})" if arrays else "")
        for arrays, what in ((account.fresh, "fresh"), (account.dropped, "of the source dropped"))
    )
    arrays = len(account.loaded) + len(account.fresh)
    return f"{source}: {len(account.loaded)} of {arrays} arrays loaded, {fresh}, {dropped}"


def _modules(arrays: Iterable[str]) -> list[str]:
    """The modules that arrays are of (`params/head/kernel` is of `head`), or, of many, their parts."""
    names = [name.split("/", 1)[1] for name in arrays]
    modules = {name.rpartition("/")[0] for name in names}
    return sorted(modules if len(modules) <= MODULES else {name.split("/")[0] for name in names})
