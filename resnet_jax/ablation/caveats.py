"""What a reader of a table must know before its numbers: incomplete, extended or differing runs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from resnet_jax.ablation.rows import Declaration, Row
from resnet_jax.ablation.table import ArmResult


def incomplete(arms: Sequence[ArmResult]) -> list[str]:
    """How many of the declared runs have no result, and why."""
    counts = {kind: sum(getattr(arm, kind) for arm in arms) for kind in ("missing", "failed")}
    diverged = sum(arm.diverged for arm in arms)
    runs = sum(arm.summary.n + arm.missing + arm.failed + arm.diverged for arm in arms)
    found = []
    if any(counts.values()):
        listed = " and ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        found.append(f"incomplete, {listed} of {runs} runs")
    if diverged:
        found.append(f"{diverged} of {runs} runs diverged and are in no mean")
    return found


def extended(declared: Declaration) -> list[str]:
    """What was added to the declaration after results had been seen."""
    arms = [arm.name for arm in declared.arms if arm.added]
    found = []
    if arms:
        found.append(f"arms added after results were seen: {', '.join(arms)}")
    if declared.added_seeds:
        seeds = ", ".join(map(str, declared.added_seeds))
        found.append(f"seeds added after results were seen: {seeds}")
    return found


def differing(declared: Declaration, rows: Iterable[Row]) -> list[str]:
    """What differs between runs that should differ in arm and seed alone."""
    done = [row for row in rows if row.status == "done"]
    names = dict.fromkeys(name for row in done for name in row.provenance)
    found = []
    for name in names:
        counts = Counter(row.provenance.get(name, "unknown") for row in done)
        if len(counts) > 1:
            values = ", ".join(f"{value}: {count} runs" for value, count in counts.most_common())
            found.append(f"runs differ in {name} ({values})")
    return found + _configs(declared, done)


def _configs(declared: Declaration, done: Sequence[Row]) -> list[str]:
    """Arms whose runs had several configs, or another than the declared, or that of another arm."""
    found, owner = [], {}
    for arm in declared.arms:
        mine = [row for row in done if row.arm == arm.name]
        configs = {row.config_sha256 for row in mine}
        if len(configs) > 1:
            found.append(f"runs of {arm.name} have {len(configs)} different configs")
        if any(_contradicts(row.overrides, arm.overrides) for row in mine):
            found.append(f"runs of {arm.name} have other overrides than declared")
        for config in configs - {None}:
            if config in owner:
                found.append(f"{owner[config]} and {arm.name} have the same config")
            owner.setdefault(config, arm.name)
    return found


def _contradicts(ran: Any, declared: Any) -> bool:
    """Whether a run had another value for a field that its arm sets."""
    return ran is not None and any(
        ran[field] != value for field, value in declared.items() if field in ran
    )
