"""Reads and writes safetensors files: the length of a JSON header (8 bytes), the header, raw data.

The header maps names to `{"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}`, offsets
counted from the end of the header, without holes or overlaps; `__metadata__` maps text to text.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.convert.torch_file import bfloat16
from resnet_jax.errors import DataError

_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 100_000_000  # bytes; the format's own limit
_BFLOAT16 = "BF16"

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    _BFLOAT16: np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}


def looks_like(start: bytes) -> bool:
    """Whether a file that begins with these bytes, nine or more, may be a safetensors file."""
    return len(start) > 8 and _LENGTH.unpack(start[:8])[0] <= _MAX_HEADER and start[8:9] == b"{"


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file by name, bfloat16 as float32, and its metadata.

    Raises:
        DataError: it is damaged, or of a dtype that no network here has.
    """
    try:
        content = path.read_bytes()
        (length,) = _LENGTH.unpack(content[:8])
        if 8 + length > len(content):
            raise ValueError("it ends within the header")
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_unique)
        metadata = header.pop("__metadata__", {})
        data = memoryview(content)[8 + length :]
        tensors = {name: _tensor(name, entry, data) for name, entry in header.items()}
        spans = sorted(entry["data_offsets"] for entry in header.values())
        ends = [0] + [end for _, end in spans]
        if [begin for begin, _ in spans] != ends[:-1] or ends[-1] != len(data):
            raise ValueError(f"{len(data)} bytes of data are not the {ends[-1]} of the header")
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata is not text")
        return tensors, metadata
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.\nName a readable file") from None
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        raise DataError(
            f"{path} is damaged or incomplete ({reason}).\nDownload it again, and compare its size"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name stands twice in its header")
    return entries


def _tensor(name: str, entry: Mapping[str, Any], data: memoryview) -> np.ndarray:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _DTYPES:
        raise ValueError(f"{name} is of the dtype {dtype}")
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"{name} has the shape {shape} at {begin} to {end}")
    if not begin <= end <= len(data) or end - begin != math.prod(shape) * _DTYPES[dtype].itemsize:
        raise ValueError(f"{name} should be at {begin} to {end} of {len(data)} bytes")
    array = np.frombuffer(data[begin:end], _DTYPES[dtype]).reshape(shape)
    return bfloat16(array) if dtype == _BFLOAT16 else array


def encode(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The content of a file with float32 and int64 tensors; the same tensors give the same bytes."""
    letters = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, begin = [], 0
    # The wider dtype first, so that every tensor is aligned.
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        dtype = letters[tensors[name].dtype]
        part = np.ascontiguousarray(tensors[name], _DTYPES[dtype]).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, begin + len(part)],
        }
        parts.append(part)
        begin += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((_LENGTH.pack(len(text)), text, *parts))
