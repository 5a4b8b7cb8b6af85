"""Reads tensors from the files of `torch.save`, without PyTorch and without executing anything of them.

Such a file is a pickle beside raw data. A pickle is a program: it may call whatever Python can import.
Here it can name only what `_Unpickler.find_class` lists, all of which builds tensors and nothing else.

Two formats exist: a zip archive (`NAME/data.pkl`, `NAME/data/KEY`), and, up to PyTorch 1.5, pickles in a
row (a magic number, a version, facts on the machine, the object, the keys of the storages) with
the raw data of each storage behind them.
"""

import dataclasses
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.errors import DataError

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_LEGACY_VERSION = 1001

_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""PyTorch's classes of storages -> NumPy's letters for their elements."""


class _Damaged(Exception):
    """What a file holds contradicts its format; the text says how."""


def read(path: Path) -> Any:
    """The object in a file of `torch.save`, with arrays in the place of tensors.

    Args:
        path: a file that begins with `ZIP_MAGIC` or `LEGACY_MAGIC`.

    Raises:
        DataError: it is damaged, or holds anything but tensors, numbers, text and their containers.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        return _read_zip(path) if zipped else _read_legacy(path)
    except DataError:
        raise
    except _Forbidden as error:
        raise DataError(
            f"{path} refers to {error}, which is more than tensors; nothing of it was executed.\n"
            "Save the tensors alone, where the file comes from: torch.save(model.state_dict(), FILE)"
        ) from None
    # The unpickler meets bytes that no program wrote: it may raise whatever Python can.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        raise DataError(
            f"{path} is damaged or incomplete ({reason}).\nDownload it again, and compare its size"
        ) from error


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DataError(
                f"{path} is a ZIP archive, but not one of torch.save: it has no data.pkl.\n"
                "Save the tensors, where the file comes from: torch.save(model.state_dict(), FILE)"
            )
        folder = pickles[0].partition("/")[0]

        def content(name: str) -> bytes:
            if name not in members:
                raise _Damaged(f"{name} is missing")
            # PyTorch never compresses; so no small file can fill the memory.
            if members[name].compress_type != zipfile.ZIP_STORED:
                raise _Damaged(f"{name} is compressed")
            return archive.read(name)

        order = "<"
        if f"{folder}/byteorder" in members:
            order = {b"little": "<", b"big": ">"}[content(f"{folder}/byteorder")]
        unpickler = _Unpickler(io.BytesIO(content(pickles[0])))
        loaded = unpickler.load()
        for storage in unpickler.storages.values():
            storage.fill(content(f"{folder}/data/{storage.key}"), order)
        return _with_arrays(loaded)


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        file.seek(len(LEGACY_MAGIC))
        if _Unpickler(file).load() != _LEGACY_VERSION:
            raise _Damaged("an unknown version of the format")
        order = "<" if _Unpickler(file).load()["little_endian"] else ">"
        unpickler = _Unpickler(file)
        loaded = unpickler.load()
        keys = _Unpickler(file).load()
        if sorted(keys) != sorted(unpickler.storages):
            raise _Damaged("its list of storages is not that of its tensors")
        for key in keys:
            storage = unpickler.storages[key]
            count = np.frombuffer(_exactly(file, 8), f"{order}i8")[0]
            if count != storage.count:
                raise _Damaged(f"storage {key} has {count} elements, expected {storage.count}")
            storage.fill(_exactly(file, storage.bytes), order)
        if file.read(1):
            raise _Damaged("there is more behind the last tensor")
        return _with_arrays(loaded)


def _exactly(file: io.BufferedIOBase, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise _Damaged("it ends too early")
    return content


class _Forbidden(Exception):
    """A pickle names something that is not for tensors; the text is its name."""


@dataclasses.dataclass
class _Storage:
    """A one-dimensional run of numbers, which tensors are views of; its data comes last."""

    key: str
    dtype: str
    count: int
    data: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        return self.count * (2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize)

    def fill(self, content: bytes, order: str) -> None:
        """Takes the raw data; `order` is NumPy's sign for the byte order."""
        if len(content) != self.bytes:
            raise _Damaged(f"storage {self.key} has {len(content)} bytes, expected {self.bytes}")
        if self.dtype == "bfloat16":
            self.data = bfloat16(np.frombuffer(content, f"{order}u2"))
        else:
            # Booleans are read as bytes: NumPy trusts them to be 0 or 1.
            letter = "u1" if self.dtype == "?" else self.dtype
            array = np.frombuffer(content, order + letter)
            self.data = array.astype(array.dtype.newbyteorder("="))


def bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 numbers from the bits (uint16) of bfloat16 numbers: their upper halves."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage: offset, shape and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """A copy of what the view sees, every index checked."""
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(_is_count(n) for n in numbers):
            raise _Damaged(f"a tensor of the shape {self.shape} and strides {self.strides}")
        last = self.offset + sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)
        )
        size = math.prod(self.shape)
        # A view that repeats elements could be larger than the machine.
        if size > self.storage.count or (size and last >= self.storage.count):
            raise _Damaged(f"a tensor of the shape {self.shape} reaches beyond its storage")
        data = self.storage.data[self.offset :] if size else self.storage.data[:0]
        strides = tuple(stride * data.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(data, self.shape, strides).copy()


def _is_count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 0


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise _Damaged("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


_ALLOWED = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
"""All that a pickle can call."""


# The standard library's unpickler in Python, not the one in C: in that, one damaged byte can make a
# table of 30 GB.
class _Unpickler(pickle._Unpickler):
    """Builds containers, numbers, text and tensors; whatever else is named is forbidden."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name of the pickle stands for; called for each before anything is done with it."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and name in _DTYPES:
            return name
        raise _Forbidden(f"{module}.{name}"[:150])

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that `('storage', class, key, device, elements, ...)` stands for."""
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in _DTYPES or not isinstance(key, str):
            raise _Damaged(f"an unknown reference {pid!r}"[:150])
        if not _is_count(count) or view not in ([], [None]):
            raise _Damaged(f"storage {key} is of a kind unknown here")
        storage = self.storages.setdefault(key, _Storage(key, _DTYPES[dtype], count))
        if (storage.dtype, storage.count) != (_DTYPES[dtype], count):
            raise _Damaged(f"storage {key} is described in two ways")
        return storage

    def _ignore_state(self) -> None:
        """Drops what a pickle wants to set as attributes: no tensor needs any."""
        self.stack.pop()

    dispatch = pickle._Unpickler.dispatch | {pickle.BUILD[0]: _ignore_state}


def _with_arrays(loaded: Any) -> Any:
    """Replaces tensors by arrays in nested dictionaries, lists and tuples."""
    if isinstance(loaded, _Tensor):
        return loaded.array()
    if isinstance(loaded, dict):
        return {key: _with_arrays(value) for key, value in loaded.items()}
    if isinstance(loaded, list | tuple):
        return type(loaded)(_with_arrays(value) for value in loaded)
    return loaded
