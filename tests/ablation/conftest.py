"""Sweep directories as the runner writes them, with made-up results."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = 1_000


def declaration(
    arms: Mapping[str, str | None], seeds: Sequence[int], **changes: Any
) -> dict[str, Any]:
    """`sweep.json` of arms with their controls."""
    return {
        "format": 1,
        "name": "activation",
        "question": "Does it matter?",
        "test": "welch",
        "metric": "test_accuracy",
        "margin": 0.1,
        "smallest": 0.2,
        "level": 0.05,
        "seeds": list(seeds),
        "arms": [
            {"name": name, "overrides": {"model.design": name}, "control": control}
            for name, control in arms.items()
        ],
        "base": {},
    } | changes


def row(arm: str, seed: int, right: int, **changes: Any) -> dict[str, Any]:
    """A row of a run that classifies the first `right` of 1,000 images correctly."""
    correct = np.arange(EXAMPLES) < right
    return {
        "format": 1,
        "arm": arm,
        "seed": seed,
        "status": "done",
        "exit_code": 0,
        "error": None,
        "config_sha256": f"config of {arm}",
        "overrides": {"model.design": arm},
        "test_accuracy": right / EXAMPLES,
        "test_loss": 0.3,
        "test_examples": EXAMPLES,
        "versions": {"jax": "0.10.2", "python": "3.11.9"},
        "device": "cpu",
        "devices": 1,
        "conv_backend": "native",
        "data": {"name": "cifar10", "sha256": "ab" * 32},
        "git": "c" * 40,
        "correct": base64.b64encode(np.packbits(correct)).decode(),
    } | changes


@pytest.fixture
def write_sweep(tmp_path) -> Callable[..., Path]:
    """Writes a sweep; `results` has the right images of each seed by arm, None for no row."""

    def write(
        arms: Mapping[str, str | None],
        results: Mapping[str, Sequence[int | str | None]],
        rows: Mapping[tuple[str, int], Mapping[str, Any]] | None = None,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / "sweep"
        (folder / "rows").mkdir(parents=True)
        seeds = range(max(map(len, results.values())))
        (folder / "sweep.json").write_text(json.dumps(declaration(arms, seeds, **changes)))
        for arm, ends in results.items():
            for seed, end in enumerate(ends):
                if end is None:
                    continue
                made = row(arm, seed, end if isinstance(end, int) else 0)
                if isinstance(end, str):
                    made |= {"status": end, "exit_code": 5 if end == "diverged" else 1}
                    made |= {"test_accuracy": None, "correct": None}
                made |= (rows or {}).get((arm, seed), {})
                (folder / "rows" / f"{arm}-s{seed}.json").write_text(json.dumps(made))
        return folder

    return write
