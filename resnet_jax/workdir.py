"""The files of a working directory, except the checkpoints and the metrics: `checkpoint.py`, `writer.py`."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from resnet_jax import __version__, config, trust
from resnet_jax.data import spec
from resnet_jax.data.source import Examples
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import ConfigError, WorkdirError

CONFIG, VERSIONS, METRICS, RESULT = "config.json", "versions.json", "metrics.jsonl", "result.json"

CORRECT = "test_correct.npy"
"""bool [N]: which test images the final model classifies correctly, in the data set's order."""
CONVERTED = "converted"
"""The key of `versions.json` under which a workdir made by `convert` says where its weights are from."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")

RESULT_FIELDS = frozenset(
    ("test_accuracy", "test_loss", "test_examples", "step", "seed", "parameters")
    + ("state_sha256", "seconds", "images_per_second", "eval_augment")
)
"""What `result.json` holds."""

_LATER_FIELDS = {"eval_augment": ""}
"""Those that earlier versions did not write, with what their results were."""

NOT_PART_OF_THE_RUN = re.compile(
    r"data\.(dir|prepare|placement)|tensorboard|checkpoint\..*|eval_batch_size|conv_backend|profile|probe\..*"
)
"""Fields that may differ when a run is continued: they change its last bits at most."""


def default_path(config_path: str, arguments: str | None, seed: int) -> Path:
    """`runs/<config>-<arguments>-s<seed>`."""
    parts = [Path(config_path).stem, *([arguments] if arguments else []), f"s{seed}"]
    return Path("runs") / safe_name("-".join(parts))


def safe_name(text: str) -> str:
    """`text` as the name of a file: letters, digits and `_ . , = + -`."""
    return re.sub(r"[^\w.,=+-]", "_", text)


def write_atomically(path: Path, text: str | bytes) -> None:
    """Writes a file so that a reader, or a crash, finds the old content or the new.

    Raises:
        WorkdirError: the directory cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        remedy = "free space, or choose" if error.errno == errno.ENOSPC else "choose"
        raise WorkdirError(
            f"cannot write {path}: {error.strerror}; {remedy} another --workdir"
        ) from None


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
    stored = _parsed_config(workdir)
    unnamed = trust.unnamed(config.flatten(stored), plugins, unit)
    if unnamed:
        raise ConfigError(
            f"{workdir} needs code that is not of resnet_jax; to import and run it, name it:\n"
            f"{unnamed}"
        )
    _validate_stored(workdir, stored)
    return stored


def _parsed_config(workdir: Path) -> ConfigDict:
    """The config of a workdir as data.

    Raises:
        WorkdirError: there is none, or it is damaged.
    """
    path = workdir / CONFIG
    try:
        return config.from_json(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise WorkdirError(
            f"{workdir} has no {CONFIG}: it is no workdir of a run; "
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
        data = read_versions(workdir).get("data", {})
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
        write_atomically(workdir / CONFIG, config.to_json(new))


def check_claim(workdir: Path, new: ConfigDict) -> None:
    """Checks that `workdir` is free, or that of the run `new`; writes nothing.

    Raises:
        WorkdirError: it belongs to another run; names the fields that differ.
    """
    path = workdir / CONFIG
    if CONVERTED in read_versions(workdir):
        raise WorkdirError(
            f"{workdir} holds converted weights and is no run to continue; choose another --workdir"
        )
    if os.path.exists(path):  # unlike Path.exists, it also takes a name that is too long
        stored = _parsed_config(workdir)
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


def versions(devices: list[jax.Device]) -> dict[str, Any]:
    """Packages, devices and the state of the code, as far as they are known."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = None
    commit, clean = _git_state()
    return {
        "resnet_jax": __version__,
        "python": sys.version.split()[0],
        "packages": installed,
        "device_kind": devices[0].device_kind,
        "platform": devices[0].platform,
        "device_count": len(devices),
        "git_commit": commit,
        "git_clean": clean,
    }


def data_versions(dataset: Dataset, examples: Examples) -> dict[str, Any]:
    """What identifies the training data, and what evaluation needs to repeat its preprocessing."""
    known = {
        "name": dataset.name,
        "train_sha256": examples.sha256(),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    if dataset.name == spec.FOLDER:  # of which no file of the code knows anything
        known |= {
            "image_shape": list(dataset.image_shape),
            "class_names": list(dataset.classes),
            "splits": dict(dataset.splits),
            "left_out": list(dataset.left_out),
        }
    return known


def stored_dataset(workdir: Path, stored: ConfigDict) -> Dataset:
    """The data set of a run, with the preprocessing that the run used, whatever the code says now."""
    data = read_versions(workdir).get("data", {})
    if (recorded := spec.recorded(data, stored.data)) is not None:
        return recorded
    dataset = spec.of(stored.data)
    same = {name: tuple(data[name]) for name in ("mean", "std") if name in data}
    if dataset.name == spec.NONE and {"classes", "image_shape"} <= data.keys():
        same["classes"] = tuple(map(str, range(data["classes"])))
        same["image_shape"] = tuple(data["image_shape"])
    return dataclasses.replace(dataset, **same)


def read_versions(workdir: Path) -> dict[str, Any]:
    """What `versions.json` says of the last process that trained here; {} if there was none."""
    try:
        stored = json.loads((workdir / VERSIONS).read_text())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def record_versions(workdir: Path, now: dict[str, Any]) -> list[str]:
    """Writes `versions.json`; what it said of earlier processes is kept under `earlier`.

    Returns:
        the differences to the last process, under which a run is no longer exact to the bit.

    Raises:
        WorkdirError: the training images are others.
    """
    before = read_versions(workdir)
    earlier = before.pop("earlier", [])
    if not before or before == now:
        write_json(workdir / VERSIONS, now | ({"earlier": earlier} if earlier else {}))
        return []
    data = before.get("data", {}).get("train_sha256")
    if data not in (None, now["data"]["train_sha256"]):
        raise WorkdirError(
            f"{workdir} was trained on other images than those in the data directory now; "
            "give back the old --config.data.dir, or choose another --workdir"
        )
    write_json(workdir / VERSIONS, now | {"earlier": [*earlier, before]})
    return [
        f"earlier steps had {name} {before.get(name)}, now {now[name]}: last bits may differ"
        for name in now
        if before.get(name) != now[name] and name != "git_clean"
    ]


def _git_state() -> tuple[str | None, bool | None]:
    """The commit of the code and whether the tree is clean; None, None outside a repository."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip(), not git("status", "--porcelain").strip()
    except (OSError, subprocess.SubprocessError):
        return None, None


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
            result = _LATER_FIELDS | result
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
    write_atomically(workdir / CORRECT, buffer.getvalue())


def read_correct(workdir: Path) -> np.ndarray | None:
    """What `write_correct` wrote; None for a run of a version that did not."""
    try:
        return np.load(workdir / CORRECT, allow_pickle=False)
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes indented JSON atomically."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")
