"""Measurements in processes of their own: settings of a process cannot be changed within it."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.workloads import Workload

ROOT = Path(__file__).resolve().parent.parent


def call(function: str, *arguments: Any, environ: dict[str, str] | None = None) -> Any:
    """Runs `benchmarks.MODULE:NAME` in a new process and returns its result, by way of JSON.

    Workloads among the arguments are passed as such.
    """
    module, name = function.split(":")
    packed = [
        {"workload": dataclasses.asdict(a)} if isinstance(a, Workload) else a for a in arguments
    ]
    code = f"import json; from benchmarks import processes, {module} as module\n"
    code += f"processes.answer(module.{name}, {json.dumps(json.dumps(packed))})"
    output = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | (environ or {}),
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def answer(function: Callable, packed: str) -> None:
    """The new process's side of `call`."""
    arguments = [
        Workload(**a["workload"]) if isinstance(a, dict) else a for a in json.loads(packed)
    ]
    print(json.dumps(function(*arguments)))


def rounds(steps: dict[str, Callable[[], None]], count: int, length: int) -> dict[str, list[float]]:
    """Seconds a step of each function, in turn, `count` rounds of `length` steps; warmed up first."""
    for step in steps.values():
        step()
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(count):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(length):
                step()
            seconds[name].append((time.perf_counter() - start) / length)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median over rounds of one's seconds over the other's."""
    pairs = zip(numerator, denominator, strict=True)
    return statistics.median(a / b for a, b in pairs)
