"""The decoded cache: a split kept as plain arrays, so that its images are decompressed only once.

An entry is one uncompressed `.npz` file (`images.npy`, `labels.npy`, a CRC-32 of each) in
`$XDG_CACHE_HOME/resnet_jax/decoded`, by default `~/.cache/resnet_jax/decoded`. Its name contains a
hash of the files it was made from: other data is another entry, and nothing ever goes stale. The
whole directory can be deleted at any time. The cache only saves time: whatever goes wrong with it
is logged in one line, and the arrays are then built from the source.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]

# Part of every entry's name; raise it when the decoding or the layout of an entry changes.
FORMAT = 1

# A temporary file older than this belongs to a process that was killed while writing.
_ABANDONED_SECONDS = 3600

_log = logging.getLogger(__name__)


def key(files: Iterable[Path]) -> str:
    """Hexadecimal hash of the contents of `files`, in their order.

    BLAKE2b reads 0.9 GB/s on processors with and without SHA instructions, so all of CIFAR-10 takes
    0.2 s. That is cheap enough to look at every byte, which a size or a date cannot replace: a
    damaged shard has another key, misses the cache and is found by the decoder.

    Raises:
        OSError: a file cannot be read.
    """
    whole = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            whole.update(hashlib.file_digest(handle, "blake2b").digest())
    return whole.hexdigest()


def directory() -> Path:
    """Where entries lie; it need not exist.

    Raises:
        OSError: the user has no home directory and `$XDG_CACHE_HOME` is unset.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(root):  # the XDG specification: a relative path is ignored
        root = os.path.expanduser("~/.cache")
    if not os.path.isabs(root):
        raise FileNotFoundError("no home directory; set XDG_CACHE_HOME")
    return Path(root, "resnet_jax", "decoded")


def fetch(name: str, image_shape: tuple[int, ...], build: Callable[[], Arrays]) -> Arrays:
    """The arrays of the entry `name`, from the cache or else from `build`, which then fills it.

    Args:
        name: what is stored, with the `key` of its source: the same name, the same arrays.
        image_shape: (N, H, W, C).
        build: returns (images uint8 [N, H, W, C], labels int32 [N]); its errors pass through.
    """
    try:
        file = directory() / f"{name}-v{FORMAT}.npz"
    except OSError as error:
        _log.warning("decoded images are not cached (%s)", error)
        return build()
    arrays = _read(file, image_shape)
    if arrays is None:
        arrays = build()
        _write(file, arrays)
    return arrays


def _read(file: Path, image_shape: tuple[int, ...]) -> Arrays | None:
    """The arrays in `file`; None if it does not exist or is not what it should be."""
    try:
        with np.load(file) as entry:  # reading a member to its end verifies its CRC-32
            images, labels = entry["images"], entry["labels"]
        if (images.dtype, images.shape) != (np.uint8, image_shape):
            raise ValueError(f"its images are {images.dtype} {images.shape}")
        if (labels.dtype, labels.shape) != (np.int32, image_shape[:1]):
            raise ValueError(f"its labels are {labels.dtype} {labels.shape}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # damage can surface anywhere in the zip, npy and pickle parsers
        _log.warning("decoding again: the cached %s is unreadable (%s)", file, error)
        return None
    return images, labels


def _write(file: Path, arrays: Arrays) -> None:
    """Stores an entry under a temporary name, then renames it: readers see all of it or nothing.

    Any number of processes may write the same entry at once; the last rename wins, and all of them
    write the same arrays.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(file.parent)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as handle:
            temporary = Path(handle.name)
            try:
                np.savez(handle, images=arrays[0], labels=arrays[1])
                handle.close()  # before the rename: a full disk may show only when it is flushed
                temporary.replace(file)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except (OSError, ValueError) as error:  # ValueError: the zip writer's answer to a full disk
        _log.warning("decoded images are not cached in %s (%s)", file.parent, error)


def _remove_abandoned(folder: Path) -> None:
    for temporary in folder.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # its writer has renamed it meanwhile
            if time.time() - temporary.stat().st_mtime > _ABANDONED_SECONDS:
                temporary.unlink()
