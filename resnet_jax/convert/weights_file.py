"""Finds the state dict in a file of weights, whatever wrote it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.convert import safetensors_file, torch_file
from resnet_jax.errors import DataError

_ENTRIES = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema")
"""Where training programs keep the network's state dict in a checkpoint, the likeliest first."""

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What data-parallel, compiled and wrapping modules put in front of every name."""

_STRANGERS = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself: git lfs pull",
    b"\x1f\x8b": "compressed; unpack it first: gunzip, or tar xf",
    b"<": "a web page; download the file that it leads to",
    b"\x89HDF": "HDF5, of Keras perhaps",
}
"""What is often found instead: how the file begins -> what it is."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
        tensors: by PyTorch's names, without prefixes that all share.
        metadata: of a safetensors file.
        sha256: of the file, hexadecimal.
    """

    tensors: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]
    sha256: str


def read(path: Path) -> Weights:
    """Reads a state dict from a file of `torch.save` or of safetensors.

    Raises:
        DataError: there is no such file, it is damaged, or no state dict is in it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}.\nName a .pth, .pt, .th or .safetensors file"
        ) from None
    metadata: dict[str, str] = {}
    if start.startswith((torch_file.ZIP_MAGIC, torch_file.LEGACY_MAGIC)):
        tensors = _state_dict(torch_file.read(path), path)
    elif safetensors_file.looks_like(start):
        tensors, metadata = safetensors_file.read(path)
    else:
        kinds = [text for magic, text in _STRANGERS.items() if start.lstrip().startswith(magic)]
        found = kinds[0] if kinds else "not written by torch.save or safetensors, or damaged"
        raise DataError(f"{path} is no file of weights: {found}.\nExpected .pth or .safetensors")
    tensors = _without_prefixes(tensors)
    wrong = [key for key, value in tensors.items() if not np.isfinite(value).all()]
    if wrong:
        raise DataError(
            f"{path}: {wrong[0]} holds NaN or infinity.\nConvert a checkpoint from before that"
        )
    return Weights(tensors, metadata, sha256)


def _state_dict(loaded: Any, path: Path) -> Mapping[str, np.ndarray]:
    """The dictionary of tensors in what `torch.save` wrote, or in one entry of it."""
    if _is_state_dict(loaded):
        return loaded
    entries = loaded if isinstance(loaded, dict) else {}
    found = {name: value for name, value in entries.items() if _is_state_dict(value)}
    if len(found) == 1:
        return next(iter(found.values()))
    for name in _ENTRIES:
        if name in found:
            return found[name]
    there = ", ".join(map(str, list(entries)[:5])) or type(loaded).__name__
    raise DataError(
        f"{path} holds no state dict (it holds: {there[:150]}).\n"
        "Save one where the file comes from: torch.save(model.state_dict(), FILE)"
    )


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value != {}
        and all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in value.items())
    )


def _without_prefixes(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    for prefix in _PREFIXES * 2:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def stored_preprocessing(metadata: Mapping[str, str]) -> dict[str, Any]:
    """`mean`, `std` and `size` that this program wrote into a safetensors file; {} of others."""
    try:
        stored = json.loads(metadata["resnet_jax"])
        mean, std = tuple(map(float, stored["mean"])), tuple(map(float, stored["std"]))
        legal = all(0 <= x <= 1 for x in mean + std) and all(std) and 1 <= stored["size"] <= 10_000
        return {"mean": mean, "std": std, "size": int(stored["size"])} if legal else {}
    except (KeyError, ValueError, TypeError):
        return {}
