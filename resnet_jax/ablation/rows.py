"""Reads a sweep directory: its declaration and one row a run, checked before anything is computed."""

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.ablation.power import TESTS
from resnet_jax.errors import WorkdirError

SWEEP, ROWS, FORMAT = "sweep.json", "rows", 1
METRIC = "test_accuracy"
STATUSES = ("done", "diverged", "failed")


@dataclasses.dataclass(frozen=True)
class DeclaredArm:
    """An arm as `sweep.json` has it; `added` after other runs had been seen."""

    name: str
    overrides: Mapping[str, Any]
    control: str | None = None
    added: bool = False


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What a sweep said before its first run.

    Attributes:
        test: `welch`, or `sign_flip`, paired by seed.
        margin, smallest: region of practical equivalence, smallest difference of interest: points.
        level: probability of any false claim in the table.
        added_seeds: those of `seeds` that were added after other runs had been seen.
    """

    name: str
    question: str
    test: str
    margin: float
    smallest: float
    level: float
    seeds: tuple[int, ...]
    arms: tuple[DeclaredArm, ...]
    added_seeds: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run has cost.

    Attributes:
        seconds: of training, with evaluation and saving.
        optimizer_bytes: of the optimizer's state.
        flops: of all its training steps.
    """

    seconds: float
    optimizer_bytes: float
    flops: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        accuracy: of the last epoch's model on the test images, 0..1; None unless `status` is done.
        correct: bool `[test_examples]`, in the data set's own order; None if it was not kept.
        provenance: what should not differ between the runs of one table, by name.
        cost: None unless `status` is done, and for rows of a version that did not measure it.
    """

    arm: str
    seed: int
    status: str
    accuracy: float | None
    correct: np.ndarray | None
    provenance: Mapping[str, str]
    config_sha256: str | None
    overrides: Mapping[str, Any] | None
    cost: Cost | None = None


def read_declaration(sweep: Path) -> Declaration:
    """Reads `sweep.json`.

    Raises:
        WorkdirError: there is none, it is damaged, or of a format that this code does not know.
    """
    path = sweep / SWEEP
    if not path.is_file():
        raise WorkdirError(
            f"{sweep} has no {SWEEP}: it is no directory of a sweep; "
            "name the directory that `python -m resnet_jax sweep` printed"
        )
    stored = _read(path)
    try:
        seeds = [s if isinstance(s, Mapping) else {"seed": s} for s in stored["seeds"]]
        late = {s["seed"] for s in seeds if s.get("added")} | set(stored.get("added_seeds", ()))
        declared = Declaration(
            name=str(stored["name"]),
            question=str(stored["question"]),
            test=stored["test"],
            margin=float(stored["margin"]),
            smallest=float(stored["smallest"]),
            level=float(stored["level"]),
            seeds=tuple(s["seed"] for s in seeds),
            arms=tuple(
                DeclaredArm(a["name"], a["overrides"], a["control"], bool(a.get("added")))
                for a in stored["arms"]
            ),
            added_seeds=tuple(sorted(late)),
        )
        _check_declaration(declared, stored.get("metric", METRIC))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkdirError(_damaged(path, error)) from None
    return declared


def _check_declaration(declared: Declaration, metric: str) -> None:
    names = [arm.name for arm in declared.arms]
    controls = {arm.name: arm.control for arm in declared.arms}
    if metric != METRIC:
        raise ValueError(f"metric {metric!r}: expected {METRIC}")
    if declared.test not in TESTS:
        raise ValueError(f"test {declared.test!r}: expected {' or '.join(TESTS)}")
    if not names or len(set(names)) < len(names):
        raise ValueError("expected at least one arm, and no name twice")
    if not declared.seeds or len(set(declared.seeds)) < len(declared.seeds):
        raise ValueError("expected at least one seed, and none twice")
    if not (declared.margin > 0 and declared.smallest > 0 and 0 < declared.level < 1):
        raise ValueError("expected margin and smallest above 0, and a level between 0 and 1")
    for name in names:
        seen = {name}
        while (name := controls[name]) is not None:
            if name not in controls:
                raise ValueError(f"control {name!r} is no arm")
            if name in seen:
                raise ValueError(f"arm {name!r} is its own control in the end")
            seen.add(name)


def read_rows(sweep: Path, declared: Declaration) -> tuple[Row, ...]:
    """Reads all rows, in the order of arms and seeds of the declaration.

    Raises:
        WorkdirError: there is none, one is damaged, or one was not declared.
    """
    paths = sorted((sweep / ROWS).glob("*.json"))
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise WorkdirError(
            f"{sweep / ROWS} has no rows yet; run `python -m resnet_jax sweep` first, "
            "a row appears when a run ends"
        )
    arms = [arm.name for arm in declared.arms]
    found: dict[tuple[str, int], Path] = {}
    rows = []
    for path in paths:
        row = _read_row(path)
        key = row.arm, row.seed
        if row.arm not in arms or row.seed not in declared.seeds:
            raise WorkdirError(
                f"{path}: arm {row.arm!r} with seed {row.seed} is not declared in {SWEEP}; "
                "declare it and run the sweep again, or move the file out of the sweep"
            )
        if key in found:
            raise WorkdirError(
                f"{found[key]} and {path} are of the same arm and seed; keep the one that "
                "the sweep wrote"
            )
        found[key] = path
        rows.append(row)
    return tuple(sorted(rows, key=lambda r: (arms.index(r.arm), declared.seeds.index(r.seed))))


def _read_row(path: Path) -> Row:
    stored = _read(path)
    try:
        status, done = stored["status"], stored["status"] == "done"
        if status not in STATUSES:
            raise ValueError(f"status {status!r}: expected {', '.join(STATUSES)}")
        accuracy = float(stored[METRIC]) if done else None
        if done and not (math.isfinite(accuracy) and 0 <= accuracy <= 1):
            raise ValueError(f"{METRIC} {accuracy}: expected a fraction between 0 and 1")
        return Row(
            arm=str(stored["arm"]),
            seed=int(stored["seed"]),
            status=status,
            accuracy=accuracy,
            correct=_correct(stored, accuracy) if done else None,
            provenance=_provenance(stored) if done else {},
            config_sha256=stored.get("config_sha256"),
            overrides=stored.get("overrides"),
            cost=_cost(stored) if done else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkdirError(_damaged(path, error)) from None


def _correct(stored: Mapping[str, Any], accuracy: float) -> np.ndarray | None:
    """The bool per test example, which must add up to the accuracy."""
    text, examples = stored.get("correct"), stored["test_examples"]
    if text is None:
        return None
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error:
        raise ValueError("'correct' is no base64") from None
    if len(packed) != -(-examples // 8):
        raise ValueError(f"'correct' has {8 * len(packed)} bits for {examples} examples")
    correct = np.unpackbits(packed, count=examples).astype(bool)
    if abs(correct.sum() - accuracy * examples) > 0.5:
        raise ValueError(f"{METRIC} is {accuracy}, but 'correct' says {correct.mean()}")
    return correct


def _cost(stored: Mapping[str, Any]) -> Cost | None:
    """What the run cost, if the row says so."""
    if stored.get("optimizer_bytes") is None or stored.get("step_flops") is None:
        return None
    once = float(stored.get("once_flops") or 0)  # rows of earlier versions do not have it
    flops = once + float(stored["step_flops"]) * int(stored["step"])
    cost = Cost(float(stored["seconds"]), float(stored["optimizer_bytes"]), flops)
    for name, value in dataclasses.asdict(cost).items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} {value}: expected a number of at least 0")
    return cost


def _provenance(stored: Mapping[str, Any]) -> dict[str, str]:
    data = stored.get("data") or {}
    commit, dash, dirty = (stored.get("git") or "unknown").partition("-")
    named = {name: str(version) for name, version in (stored.get("versions") or {}).items()}
    return named | {
        "device": f"{stored.get('devices') or '?'} x {stored.get('device') or 'unknown'}",
        "conv_backend": str(stored.get("conv_backend")),
        "data": f"{data.get('name')} {(data.get('sha256') or '')[:8]}".strip(),
        "test images": str(stored["test_examples"]),
        "commit": commit[:10] + dash + dirty,
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # ValueError: no JSON, no UTF-8
        raise WorkdirError(_damaged(path, error)) from None
    if not isinstance(stored, dict):
        raise WorkdirError(_damaged(path, "expected a JSON object"))
    if stored.get("format") != FORMAT:
        raise WorkdirError(
            f"{path} has format {stored.get('format')!r}, this version of resnet_jax reads {FORMAT}; "
            "use the version that wrote it"
        )
    return stored


def _damaged(path: Path, error: object) -> str:
    what = f"no {error}" if isinstance(error, KeyError) else error
    again = (
        "restore it" if path.name == SWEEP else "restore it, or delete it and run the sweep again"
    )
    return f"{path} is damaged ({what}); {again}"
