"""The files of a working directory, except the checkpoints and the metrics: `checkpoint.py`, `writer.py`."""

import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from resnet_jax import atomic, config, earlier, trust, versions
from resnet_jax.data import spec
from resnet_jax.errors import ConfigError, WorkdirError

CONFIG, METRICS, RESULT = "config.json", "metrics.jsonl", "result.json"

CORRECT = "test_correct.npy"
"""bool [N]: which test images the final model classifies correctly, in the data set's order."""

RESULT_FIELDS = frozenset(
    ("test_accuracy", "test_loss", "test_examples", "step", "seed", "parameters")
    + ("state_sha256", "seconds", "images_per_second", "eval_augment")
)
"""What `result.json` holds."""

NOT_PART_OF_THE_RUN = re.compile(
    r"data\.(dir|prepare|placement)|tensorboard|checkpoint\..*|eval_batch_size|conv_backend|profile|probe\..*"
)
"""Fields that may differ when a run is continued: they change its last bits at most."""


def default_path(config_path: str, arguments: str | None, seed: int) -> Path:
    """`runs/<config>-<arguments>-s<seed>`."""
    parts = [Path(config_path).stem, *([arguments] if arguments else []), f"s{seed}"]
    return Path("runs") / atomic.safe_name("-".join(parts))


def read_config(workdir: Path, plugins: Sequence[str] = (), unit: str | None = None) -> ConfigDict:
    """The config that a workdir was made with, validated.

    A workdir may be a stranger's, and to import a module is to run it: what the config names and the
    user does not is not imported.

    Args:
        workdir: of a run.
        plugins: import paths that `model.plugins` may hold.
        unit: what `model.unit` may be.

    Raises:
        ConfigError: the config needs a module that was not named.
        WorkdirError: there is none, it is damaged, or this version of the code cannot run it.
    """
    stored = parsed_config(workdir)
    unnamed = trust.unnamed(config.flatten(stored), plugins, unit)
    if unnamed:
        raise ConfigError(
            f"{workdir} needs code that is not of resnet_jax; to import and run it, name it:\n"
            f"{unnamed}"
        )
    _validate_stored(workdir, stored)
    return stored


def parsed_config(workdir: Path) -> ConfigDict:
    """The config of a workdir as data.

    Raises:
        WorkdirError: there is none, or it is damaged.
    """
    path = workdir / CONFIG
    try:
        return earlier.completed_config(config.from_json(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        what = "it is no workdir of a run" if workdir.is_dir() else "there is no such directory"
        raise WorkdirError(
            f"{workdir} has no {CONFIG}: {what}; "
            "name the directory that main.py printed as 'workdir'"
        ) from None
    except (OSError, ValueError) as error:
        raise WorkdirError(
            f"{path} is damaged ({error}); restore it, or train again in another --workdir"
        ) from None


def _validate_stored(workdir: Path, stored: ConfigDict) -> None:
    """Imports the plugins that `stored` names; call it only when the user has named them too."""
    try:
        config.check_names(stored)
        data = versions.read(workdir).get("data", {})
        config.validate(stored, spec.recorded(data, stored.data))
    except ConfigError as error:
        raise WorkdirError(
            f"{workdir / CONFIG} is damaged, or of another version of resnet_jax: {error}"
        ) from None


def claim(workdir: Path, new: ConfigDict) -> None:
    """Makes `workdir` that of the run `new`, if it is not already.

    Raises:
        WorkdirError: see `check_claim`; or it cannot be written.
    """
    check_claim(workdir, new)
    if not os.path.exists(workdir / CONFIG):
        atomic.write(workdir / CONFIG, config.to_json(new))


def check_claim(workdir: Path, new: ConfigDict) -> None:
    """Checks that `workdir` is free, or that of the run `new`; writes nothing.

    Raises:
        WorkdirError: it belongs to another run; names the fields that differ.
    """
    path = workdir / CONFIG
    if versions.CONVERTED in versions.read(workdir):
        raise WorkdirError(
            f"{workdir} holds converted weights and is no run to continue; choose another --workdir"
        )
    if os.path.exists(path):  # unlike Path.exists, it also takes a name that is too long
        stored = parsed_config(workdir)
        before, after = config.flatten(stored), config.flatten(new)
        # With plugins that `new` lacks it is another run, and nothing of it is imported.
        if not trust.unnamed(before, new.model.plugins, new.model.unit):
            _validate_stored(workdir, stored)
        changed = [
            f"{field}: {before.get(field)!r} there, {after[field]!r} now"
            for field in after
            if before.get(field) != after[field] and not NOT_PART_OF_THE_RUN.fullmatch(field)
        ]
        if changed:
            raise WorkdirError(
                f"{workdir} holds another run ({'; '.join(changed)});\n"
                "repeat that run's command to continue it, or choose another --workdir"
            )
        return
    if os.path.exists(workdir) and not _is_free(workdir):
        raise WorkdirError(
            f"{workdir} exists and is no workdir of a run; choose another --workdir, or empty it"
        )


def _is_free(workdir: Path) -> bool:
    """Whether a run may begin there: nothing is in it but what a killed start may have left."""
    leftover = re.compile(rf"\.{re.escape(CONFIG)}\.\d+\.tmp")
    return workdir.is_dir() and all(leftover.fullmatch(file.name) for file in workdir.iterdir())


def read_result(workdir: Path) -> dict[str, Any] | None:
    """The result of a finished run, None if the run has not finished.

    Raises:
        WorkdirError: it is damaged.
    """
    path = workdir / RESULT
    if not os.path.exists(path):
        return None
    try:
        result = json.loads(path.read_text())
        if isinstance(result, dict):
            result = earlier.completed_result(result)
        if not isinstance(result, dict) or not result.keys() >= RESULT_FIELDS:
            raise ValueError("not the result of a run")
        return result
    except (OSError, ValueError) as error:
        raise WorkdirError(
            f"{path} is damaged ({error}); delete it and repeat the run's command"
        ) from None


def write_correct(workdir: Path, correct: np.ndarray) -> None:
    """Keeps which test images are classified correctly, bool [N].

    Raises:
        WorkdirError: it cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, correct)
    atomic.write(workdir / CORRECT, buffer.getvalue())


def read_correct(workdir: Path) -> np.ndarray | None:
    """What `write_correct` wrote; None for a run of a version that did not."""
    try:
        return np.load(workdir / CORRECT, allow_pickle=False)
    except (OSError, ValueError):
        return None
