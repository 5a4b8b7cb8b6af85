"""Where the time of a training step goes: a trace, and its costliest operations."""

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

FIRST_STEP, STEPS = 10, 5
"""Steps in front of the trace, which compile and warm up, and steps that are traced."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the calls of one operation cost together.

    Attributes:
        name: of the operation, without the number that XLA gives each instance.
        milliseconds: per step, summed over threads.
        calls: per step.
        share: of all operations, 0..1.
    """

    name: str
    milliseconds: float
    calls: float
    share: float


def call_targets(text: str) -> dict[str, str]:
    """Which custom call each instruction of a compiled program stands for; XLA's traces do not say."""
    return dict(re.findall(r"%?([\w.-]+) = .*custom_call_target=\"(\w+)\"", text))


def costliest(
    folder: Path, steps: int = STEPS, count: int = 10, targets: Mapping[str, str] | None = None
) -> list[Cost]:
    """The operations of a trace that cost most, most first.

    Args:
        folder: that `jax.profiler.trace` wrote to.
        steps: that were traced.
        count: at most so many operations.
        targets: from `call_targets`, to name custom calls.
    """
    total: dict[str, float] = collections.Counter()
    calls: dict[str, int] = collections.Counter()
    for file in sorted(folder.rglob("*.xplane.pb")):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    stats = dict(event.stats)
                    if "hlo_op" not in stats:
                        continue
                    name = str(stats["hlo_op"])
                    name = (targets or {}).get(name) or re.sub(r"[._]\d+(\.clone)?$", "", name)
                    total[name] += event.duration_ns
                    calls[name] += 1
    everything = sum(total.values())
    ranked = sorted(total, key=total.get, reverse=True)[:count]
    return [
        Cost(name, total[name] / 1e6 / steps, calls[name] / steps, total[name] / everything)
        for name in ranked
    ]


class Profiler:
    """Traces some steps of a run.

    Args:
        folder: to write to.
        done: steps done before this process began.
    """

    def __init__(self, folder: Path, done: int):
        self._folder = folder
        self._first, self._last = done + FIRST_STEP, done + FIRST_STEP + STEPS

    def steps_left(self, done: int) -> float:
        """Steps until the trace begins or ends; infinite behind it."""
        return next((at - done for at in (self._first, self._last) if at > done), math.inf)

    def before(self, done: int, results: Any) -> None:
        """Begins the trace if it is time, when what is under way has ended."""
        if done == self._first:
            jax.block_until_ready(results)
            jax.profiler.start_trace(str(self._folder))

    def after(self, done: int, results: Any, program: Callable[[], str]) -> list[str]:
        """Ends the trace if it is time; returns lines to print then.

        Args:
            done: steps done, or under way.
            results: to wait for.
            program: returns the compiled program, as XLA prints it.
        """
        if done != self._last:
            return []
        jax.block_until_ready(results)
        jax.profiler.stop_trace()
        lines = [f"profile   {STEPS} steps traced into {self._folder}; the costliest operations:"]
        return lines + [
            f"  {cost.share:6.1%}  {cost.milliseconds:9.2f} ms a step  {cost.calls:6.1f} calls  {cost.name}"
            for cost in costliest(self._folder, targets=call_targets(program()))
        ]
