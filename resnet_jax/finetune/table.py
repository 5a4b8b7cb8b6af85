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
        decay: coefficient of weight decay, 0 where none acts on it.
        towards: `0`, or `start` where it decays towards the loaded weights (L2-SP); None where it does not.
        rate: factor on the learning rate.
    """

    name: str
    size: int
    origin: str
    frozen: bool
    decay: float
    towards: str | None
    rate: float


def treatments(
    params: Any,
    frozen: Any,
    decayed: Any,
    rates: Any,
    account: Account | None,
    *,
    decay: float,
    l2_sp: float,
) -> list[Treatment]:
    """One for each parameter.

    Args:
        params: arrays or shapes.
        frozen: a bool per parameter.
        decayed: a bool per parameter.
        rates: a number per parameter.
        account: of the weights that were loaded; None where none were.
        decay: coefficient of the decay towards 0.
        l2_sp: that of what was loaded towards what it was, in its place; 0 for none.
    """
    loaded = set(account.loaded) if account else set()

    def decay_of(name: str) -> tuple[float, str | None]:
        towards_start = l2_sp > 0 and f"params/{name}" in loaded
        coefficient = l2_sp if towards_start else decay
        return coefficient, ("start" if towards_start else "0") if coefficient else None

    leaves = [jax.tree.leaves(tree) for tree in (params, frozen, decayed, rates)]
    return [
        Treatment(
            name=name,
            size=leaf.size,
            origin="loaded" if f"params/{name}" in loaded else "fresh",
            frozen=still,
            decay=decay_of(name)[0] if decays and not still else 0.0,
            towards=decay_of(name)[1] if decays and not still else None,
            rate=0.0 if still else rate,
        )
        for name, leaf, still, decays, rate in zip(parameters.names(params), *leaves, strict=True)
    ]


def lines(rows: Iterable[Treatment]) -> list[str]:
    """A table for people: a line for each part of the network that is treated alike, in its order."""
    rows = list(rows)

    def key(row: Treatment) -> tuple:
        part = row.name.split("/")[0]
        return _place(part), part, row.origin, row.frozen, row.rate

    width = max(len("part"), *(len(row.name.split("/")[0]) for row in rows))
    found = [
        f"  {'part':<{width}} {'parameters':>12}  {'origin':<7} {'trained':<8} {'decayed':>11}  "
        f"{'by':<16}  rate"
    ]
    for (_, part, origin, still, rate), group in itertools.groupby(sorted(rows, key=key), key):
        group = list(group)
        decayed = [row for row in group if row.towards is not None]
        by = " and ".join(sorted({f"{row.decay:g} to {row.towards}" for row in decayed})) or "-"
        found.append(
            f"  {part:<{width}} {_size(group):>12,}  {origin:<7} {'frozen' if still else 'yes':<8} "
            f"{_size(decayed):>11,}  {by:<16}  {'-' if still else f'x {rate:g}'}"
        )
    trained = _size(row for row in rows if not row.frozen)
    found.append(f"  {'in all':<{width}} {_size(rows):>12,}  of which {trained:,} are trained")
    return found


def new_and_frozen(rows: Iterable[Treatment]) -> list[str]:
    """The parts of the network that keep random initial values."""
    return sorted({row.name.split("/")[0] for row in rows if row.frozen and row.origin == "fresh"})


def _size(rows: Iterable[Treatment]) -> int:
    return sum(row.size for row in rows)


def _place(part: str) -> int:
    """Where a part stands among those that sort by name, from the images to the logits."""
    order = ("stem", "stage", "final", "head_hidden", "head")
    return next((i for i, start in enumerate(order) if part.startswith(start)), len(order))


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
