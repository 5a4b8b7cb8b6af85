"""Compiles the kernels with the system's C++ compiler, once for each compiler, CPU and source.

The result lives in the user's cache directory, `$XDG_CACHE_HOME` or `~/.cache`, as
`resnet_jax/kernels/KEY/kernels-SHA256.so`: the key says what it was built from, the name what it
must contain. It is written under another name first, so that processes that build at the same time
do not see each other's halves, and need no lock.
"""

import ctypes
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

_SOURCES = Path(__file__).parent
_COMPILERS = ("g++", "c++", "clang++")
# Not -ffast-math, under which a compiler may assume that there are no NaNs.
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-w"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
)
_TIMEOUT = 600.0  # seconds, of the compiler
TARGETS = (
    "resnet_conv",
    "resnet_conv_input_gradient",
    "resnet_conv_filter_gradient",
    "resnet_norm_act",
    "resnet_reduce",
)
"""The names of the custom calls; `ffi.cc` says what each takes."""


@dataclasses.dataclass(frozen=True)
class Library:
    """The built kernels.

    Attributes:
        path: of the shared library.
        lanes: float32 numbers in its vectors; 16 with AVX-512, 8 with AVX2.
        compiler: the command and the first line of its version.
        seconds: that building took; None if it was built before.
        handle: the loaded library.
    """

    path: Path
    lanes: int
    compiler: str
    seconds: float | None
    handle: ctypes.CDLL


@dataclasses.dataclass(frozen=True)
class Unavailable:
    """Why there are no kernels, in one line."""

    reason: str


class _Failed(Exception):
    """Building or loading failed."""


@functools.cache
def library() -> Library | Unavailable:
    """The kernels, built if need be, with their custom calls known to JAX; never raises."""
    return _guarded(lambda: _register(_load()))


def load() -> Library | Unavailable:
    """The kernels, built if need be; knows nothing of JAX and never raises."""
    return _guarded(_load)


def _guarded(body: Callable[[], Library]) -> Library | Unavailable:
    try:
        return body()
    except _Failed as failure:
        return Unavailable(str(failure))
    # An accelerator is never a reason for a run to fail, whatever the state of the system.
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        return Unavailable(f"the kernels cannot be built: {type(error).__name__}: {text}")


def _register(built: Library) -> Library:
    import jax

    for name in TARGETS:
        capsule = jax.ffi.pycapsule(getattr(built.handle, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    return built


def _load() -> Library:
    if sys.platform not in ("linux", "darwin"):
        raise _Failed(f"the kernels are for Linux and macOS, not {sys.platform}")
    command = _compiler()
    version = _run([*command, "--version"]).splitlines()[0]
    folder = _folder(command, version)
    compiler = f"{shlex.join(command)}: {version}"
    for path in sorted(folder.glob("kernels-*.so")):
        if _sha256(path.read_bytes()) != path.stem.partition("-")[2]:
            continue  # damaged: loading it could end the process
        handle = ctypes.CDLL(str(path))
        return Library(path, _check(handle), compiler, None, handle)
    start = time.monotonic()
    path = _compile(command, folder)
    seconds = time.monotonic() - start
    handle = ctypes.CDLL(str(path))
    return Library(path, _check(handle), compiler, seconds, handle)


def _compiler() -> list[str]:
    """The compiler as a command: `$CXX`, else the first that is found."""
    asked = shlex.split(os.environ.get("CXX", ""))
    for command in [asked] if asked else [[name] for name in _COMPILERS]:
        if shutil.which(command[0]):
            return command
    if asked:
        raise _Failed(f"no C++ compiler {asked[0]!r}, which CXX names")
    raise _Failed(f"no C++ compiler; install one of {', '.join(_COMPILERS)}, or name one in CXX")


def _folder(command: Sequence[str], version: str) -> Path:
    """Where the library for these sources, this compiler and this CPU is kept."""
    parts = [(_SOURCES / name).read_text() for name in ("kernels.h", "ffi.cc")]
    parts += [shutil.which(command[0]), *command, version, *_FLAGS, _cpu()]
    parts += [importlib.metadata.version("jaxlib")]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    key = _sha256("\0".join(parts).encode())[:16]
    return Path(cache).absolute() / "resnet_jax" / "kernels" / key


def _cpu() -> str:
    """Model and instruction sets of the CPU: what -march=native depends on."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = info.read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _compile(command: Sequence[str], folder: Path) -> Path:
    """Builds the library and returns where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    include = Path(importlib.util.find_spec("jaxlib").origin).parent / "include"
    handle, name = tempfile.mkstemp(prefix="building-", suffix=".so", dir=folder)
    os.close(handle)
    try:
        _run([*command, *_FLAGS, f"-I{include}", str(_SOURCES / "ffi.cc"), "-o", name])
        path = folder / f"kernels-{_sha256(Path(name).read_bytes())}.so"
        os.replace(name, path)
        return path
    finally:
        Path(name).unlink(missing_ok=True)


def _run(command: Sequence[str]) -> str:
    """What a command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise _Failed(f"{command[0]} took more than {_TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        errors = [line for line in lines if "error" in line]
        raise _Failed(f"{command[0]} fails: {(errors or lines)[0].strip()[:200]}")
    return done.stdout


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check(handle: ctypes.CDLL) -> int:
    """Compares a small convolution with NumPy's; returns the vector length."""
    lanes = handle.resnet_vector_length()
    batch, size, channels = 2, 5, 3
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, size, size, channels)).astype(np.float32)
    kernel = random.normal(size=(3, 3, channels, lanes)).astype(np.float32)
    y = np.zeros((batch, size, size, lanes), np.float32)
    sums = np.zeros((2, lanes), np.float32)
    sizes = np.array([batch, size, size, channels, lanes, 1], np.int64)
    arrays = [ctypes.c_void_p(array.ctypes.data) for array in (sizes, x, kernel, y, sums)]
    handle.resnet_check_conv(*arrays)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.einsum("nhwcij,ijco->nhwo", windows, kernel)
    totals = np.stack([expected.sum((0, 1, 2)), (expected**2).sum((0, 1, 2))])
    right = np.allclose(y, expected, atol=1e-4) and np.allclose(sums, totals, rtol=1e-4, atol=1e-3)
    if not right:
        raise _Failed("the compiled kernels compute wrong numbers; try another compiler by CXX")
    return lanes
