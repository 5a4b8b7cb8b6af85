"""The files of a sweep: its declaration, one row a run, the workdirs. Any number of processes may write."""

import base64
import contextlib
import fcntl
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from resnet_jax import atomic, versions, writer
from resnet_jax import config as configs
from resnet_jax import workdir as files
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.errors import UserError, WorkdirError

FORMAT = 1
DECLARATION, ROWS, RUNS, LOGS = "sweep.json", "rows", "runs", "logs"

FINAL = ("done", "diverged")
"""The states of a run that is not repeated: a loss that is not finite comes out again."""


def default_path(file: str, argument: str | None, settings: Iterable[str] = ()) -> Path:
    """`runs/sweeps/<name>-<argument>`, with what `--set` has changed."""
    parts = [Path(file).stem, *([argument] if argument else []), *settings]
    return Path("runs") / "sweeps" / atomic.safe_name("-".join(parts))


def plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def part_of_the_run(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the seed, and what belongs to a machine and not to a recipe; plain values."""
    return {
        field: plain(value)
        for field, value in fields.items()
        if field != "seed" and not files.NOT_PART_OF_THE_RUN.fullmatch(field)
    }


def config_sha256(config: ConfigDict) -> str:
    """Identifies the recipe, whatever the seed and the machine."""
    text = json.dumps(part_of_the_run(configs.flatten(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def declaration(sweep: Sweep) -> dict[str, Any]:
    """What is written before the first run."""
    arms = [
        {
            "name": arm.name,
            "overrides": {field: plain(value) for field, value in arm.overrides.items()},
            "control": arm.control,
        }
        for arm in sweep.arms
    ]
    base = {field: plain(value) for field, value in configs.flatten(sweep.base).items()}
    words = ("name", "question", "test", "metric", "margin", "smallest", "level")
    declared = {"format": FORMAT} | {word: getattr(sweep, word) for word in words}
    return declared | {"seeds": list(sweep.seeds), "arms": arms, "base": base}


class Directory:
    """A sweep's directory.

    Args:
        path: need not exist.
    """

    def __init__(self, path: Path):
        self.path = path

    def workdir(self, arm: str, seed: int) -> Path:
        return self.path / RUNS / arm / f"s{seed}"

    def log(self, arm: str) -> Path:
        """What the workers of an arm print."""
        return self.path / LOGS / f"{arm}.txt"

    def row_path(self, arm: str, seed: int) -> Path:
        return self.path / ROWS / f"{arm}-s{seed}.json"

    def declare(self, sweep: Sweep) -> list[str]:
        """Writes the declaration, or compares with the one that is there.

        Arms and seeds may be added later; once there are rows, they are marked as added. A sweep
        with fewer of them leaves the declaration as it is.

        Returns:
            what to tell the user.

        Raises:
            WorkdirError: the directory belongs to another sweep, naming the differences.
        """
        new, before = declaration(sweep), self.declared()
        if before is None:
            atomic.write_json(self.path / DECLARATION, new)
            return []
        changed = _differences(before, new)
        if changed:
            raise WorkdirError(
                f"{self.path} holds another sweep ({'; '.join(changed)});\n"
                "give back what it declared, or choose another --directory"
            )
        known = {arm["name"] for arm in before["arms"]}
        arms = [arm for arm in new["arms"] if arm["name"] not in known]
        seeds = [seed for seed in new["seeds"] if seed not in before["seeds"]]
        if not arms and not seeds:
            return []
        seen = any((self.path / ROWS).glob("*.json"))
        late = {"added": True} if seen else {}
        merged = before | {
            "seeds": before["seeds"] + seeds,
            "arms": before["arms"] + [arm | late for arm in arms],
        }
        if seen and seeds:
            merged["added_seeds"] = [*before.get("added_seeds", []), *seeds]
        atomic.write_json(self.path / DECLARATION, merged)
        names = [arm["name"] for arm in arms] + [f"seed {seed}" for seed in seeds]
        after = (
            "after runs have been seen; the table will say so" if seen else "before the first run"
        )
        return [f"declared  {', '.join(names)} added {after}"]

    def declared(self) -> dict[str, Any] | None:
        """The declaration, None if there is none.

        Raises:
            WorkdirError: it is damaged, or of another format.
        """
        path = self.path / DECLARATION
        try:
            stored = json.loads(path.read_text())
            if stored["format"] != FORMAT:
                raise ValueError(f"format {stored['format']!r}, expected {FORMAT}")
            return stored
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise WorkdirError(
                f"{path} is damaged ({error}); restore it, or choose another --directory"
            ) from None

    def read_row(self, arm: str, seed: int) -> dict[str, Any] | None:
        """The row of a run; None if it has none, or a damaged one, which is then written again."""
        try:
            row = json.loads(self.row_path(arm, seed).read_text())
            return row if row["status"] and "exit_code" in row else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Writes a row atomically.

        Raises:
            WorkdirError: it cannot be written.
        """
        atomic.write_json(self.row_path(row["arm"], row["seed"]), dict(row))

    def logged_step(self, arm: str, seed: int) -> int | None:
        """The last step that a run has logged, 0 before the first; None if it has not begun."""
        workdir = self.workdir(arm, seed)
        try:
            rows = writer.read(workdir / files.METRICS)
        except UserError:
            return 0 if workdir.is_dir() else None
        return rows[-1]["step"] if rows else 0

    def left(self, runs: Iterable[tuple[Arm, int]]) -> list[tuple[Arm, int]]:
        """The runs that are neither done nor diverged: those that failed are tried again."""

        def is_final(arm: Arm, seed: int) -> bool:
            row = self.read_row(arm.name, seed)
            return row is not None and row["status"] in FINAL

        return [(arm, seed) for arm, seed in runs if not is_final(arm, seed)]

    @contextlib.contextmanager
    def lock(self, arm: str, seed: int, patience: float = 10.0) -> Iterator[bool]:
        """Holds a run, so that two processes never train in one workdir.

        Args:
            arm: of the run.
            seed: of the run.
            patience: seconds to wait for a process that is just ending.

        Yields:
            whether it is held; if not, another process has it.
        """
        path = self.path / LOGS / f"{arm}-s{seed}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + patience
        with path.open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    if time.monotonic() > end:
                        yield False
                        return
                    time.sleep(0.2)
                else:
                    yield True
                    return


def _differences(before: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What makes `new` another sweep, in words."""
    words = ("name", "question", "test", "metric", "margin", "smallest", "level")
    changed = [
        f"{word}: {before[word]!r} there, {new[word]!r} now"
        for word in words
        if before[word] != new[word]
    ]
    old_arms = {arm["name"]: arm for arm in before["arms"]}
    pairs = [("base", before["base"], new["base"])]
    for arm in new["arms"]:
        if arm["name"] in old_arms:
            old = old_arms[arm["name"]]
            pairs.append((f"arm {arm['name']}", old["overrides"], arm["overrides"]))
            if old["control"] != arm["control"]:
                changed.append(
                    f"control of {arm['name']}: {old['control']} there, {arm['control']} now"
                )
    for where, there, now in pairs:
        there, now = part_of_the_run(there), part_of_the_run(now)
        for field in sorted(there.keys() | now.keys()):
            first, second = (repr(d[field]) if field in d else "not set" for d in (there, now))
            if first != second:
                changed.append(f"{where}, {field}: {first} there, {second} now")
    more = [f"and {len(changed) - 3} more"] if len(changed) > 3 else []
    return changed[:3] + more


def finished_row(
    workdir: Path, result: Mapping[str, Any], arm: str, seed: int, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of a run that has finished, out of its workdir."""
    made_with, correct = versions.read(workdir), files.read_correct(workdir)
    packages = made_with.get("packages", {})
    named = {name: packages.get(name) for name in ("jax", "jaxlib", "flax", "optax")}
    named |= {name: made_with.get(name) for name in ("resnet_jax", "python")}
    train = [row for row in writer.read(workdir / files.METRICS) if row["split"] == "train"]
    fields = ("test_accuracy", "test_loss", "test_examples", "step", "parameters", "seconds")
    fields += ("images_per_second", "state_sha256")
    data, commit = made_with.get("data", {}), made_with.get("git_commit")
    return {
        "format": FORMAT,
        "arm": arm,
        "seed": seed,
        "status": "done",
        "exit_code": 0,
        "error": None,
        **identity,
        **{field: result[field] for field in fields},
        "train_loss": train[-1]["loss"] if train else None,
        "versions": named,
        "device": made_with.get("device_kind"),
        "devices": made_with.get("device_count"),
        "conv_backend": made_with.get("conv_backend"),
        "data": {"name": data.get("name"), "sha256": data.get("train_sha256")},
        "git": commit and commit + ("" if made_with.get("git_clean") else "-dirty"),
        "correct": None if correct is None else base64.b64encode(np.packbits(correct)).decode(),
    }


def failed_row(
    error: BaseException | str, code: int, arm: str, seed: int, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of a run that ended with an error; exit code 5 is a run that diverged."""
    text = str(error).strip() if isinstance(error, UserError | str) else f"{error!r}"
    return {
        "format": FORMAT,
        "arm": arm,
        "seed": seed,
        "status": "diverged" if code == 5 else "failed",
        "exit_code": code,
        "error": " ".join(text.split())[:500],
        **identity,
    }
