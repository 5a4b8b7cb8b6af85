"""`versions.json`: with what a run was made, and what evaluation needs to repeat its preprocessing."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax import __version__, atomic
from resnet_jax.data import spec
from resnet_jax.data.source import Examples
from resnet_jax.data.spec import Dataset
from resnet_jax.errors import WorkdirError

FILE = "versions.json"

CONVERTED = "converted"
"""The key of `versions.json` under which a workdir made by `convert` says where its weights are from."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def current(devices: list[jax.Device]) -> dict[str, Any]:
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


def of_data(dataset: Dataset, examples: Examples) -> dict[str, Any]:
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


def of_plugins(model: ConfigDict) -> dict[str, str]:
    """The source of each of a user's modules that a run has imported, as the start of its SHA-256."""
    names = [*model.plugins, *([model.unit.partition(":")[0]] if model.unit else [])]
    files_of = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {
        name: hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
        for name, file in files_of.items()
        if file is not None
    }


def read(workdir: Path) -> dict[str, Any]:
    """What `versions.json` says of the last process that trained here; {} if there was none."""
    try:
        stored = json.loads((workdir / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def record(workdir: Path, now: dict[str, Any]) -> list[str]:
    """Writes `versions.json`; what it said of earlier processes is kept under `earlier`.

    Returns:
        the differences to the last process, under which a run is no longer exact to the bit.

    Raises:
        WorkdirError: the training images are others.
    """
    before = read(workdir)
    earlier = before.pop("earlier", [])
    if not before or before == now:
        atomic.write_json(workdir / FILE, now | ({"earlier": earlier} if earlier else {}))
        return []
    data = before.get("data", {}).get("train_sha256")
    if data not in (None, now["data"]["train_sha256"]):
        raise WorkdirError(
            f"{workdir} was trained on other images than those in the data directory now; "
            "give back the old --config.data.dir, or choose another --workdir"
        )
    atomic.write_json(workdir / FILE, now | {"earlier": [*earlier, before]})
    return [
        f"earlier steps had {name} {before.get(name)}, now {now[name]}: last bits may differ"
        for name in now
        if before.get(name) != now[name] and name != "git_clean"
    ]


def dataset(workdir: Path, stored: ConfigDict) -> Dataset:
    """The data set of a run, with the preprocessing that the run used, whatever the code says now."""
    data = read(workdir).get("data", {})
    if (recorded := spec.recorded(data, stored.data)) is not None:
        return recorded
    dataset = spec.of(stored.data)
    same = {name: tuple(data[name]) for name in ("mean", "std") if name in data}
    if dataset.name == spec.NONE and {"classes", "image_shape"} <= data.keys():
        same["classes"] = tuple(map(str, range(data["classes"])))
        same["image_shape"] = tuple(data["image_shape"])
    return dataclasses.replace(dataset, **same)


def _git_state() -> tuple[str | None, bool | None]:
    """The commit of the code and whether what runs is as committed; None, None outside a repository."""
    here = Path(__file__).parent
    code = (":/main.py", ":/configs", ":/resnet_jax")  # notes and results beside them do not matter

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip(), not git(
            "status", "--porcelain", "--", *code
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None, None
