"""What has to be set in the process before JAX is imported: quiet libraries, and speed on a CPU.

The user's own environment always wins. `docs/speed.md` has what each setting is worth.
"""

import ctypes
import hashlib
import logging
import os
import platform
from collections.abc import MutableMapping
from importlib import metadata
from pathlib import Path

MEASURED_JAXLIB = ("0.10.2",)
"""Versions whose XLA flags were measured; an unknown flag would abort the process."""

XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type=+LIBRARY_FUSION_TYPE_ELTWISE"
"""Hands element-wise operations behind convolutions to XLA's library of fused kernels."""

_ACCELERATOR_PACKAGES = ("jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm7-plugin", "libtpu")

# glibc's mallopt parameters. XLA:CPU returns its memory to the system after every step and has it
# mapped anew for the next, page by page; with these the process keeps it.
_MALLOC = (
    (-8, 1),  # M_ARENA_MAX: one arena
    (-4, 0),  # M_MMAP_MAX: no block of its own mapping
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: never give memory back
    (-2, 1 << 28),  # M_TOP_PAD: grow by 256 MB
)


def prepare(environ: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """Prepares the process; call it before JAX is imported.

    Args:
        environ: the environment, which is added to.

    Returns:
        the settings that were made for speed, in a few words each.
    """
    environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    _show_warnings()
    if guess_backend(environ) != "cpu":
        return ()
    return (*_keep_memory(environ), *_cache_programs(environ))


def _show_warnings() -> None:
    """Shows this package's own warnings as lines of a run, without the looks of a log."""
    logger = logging.getLogger("resnet_jax")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note      %(message)s"))
    logger.handlers, logger.propagate = [handler], False


def guess_backend(environ: MutableMapping[str, str] = os.environ) -> str:
    """`cpu` or `accelerator`: what JAX will find, without importing it."""
    asked = environ.get("JAX_PLATFORMS", "") or environ.get("JAX_PLATFORM_NAME", "")
    if asked:
        return "cpu" if asked.split(",")[0] == "cpu" else "accelerator"
    for package in _ACCELERATOR_PACKAGES:
        if _version(package) is not None:
            return "accelerator"
    return "cpu"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _keep_memory(environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """Sets glibc's allocator, unless the user has, or there is another."""
    chosen = any(name.startswith("MALLOC_") or name == "LD_PRELOAD" for name in environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return ()
    mallopt = ctypes.CDLL(None).mallopt
    kept = all(mallopt(parameter, value) for parameter, value in _MALLOC)
    return ("malloc keeps memory",) if kept else ()


def set_xla_flag(environ: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """Adds `XLA_FLAG` on a CPU for the versions it was measured on, unless the user sets that flag.

    It must precede the first use of a device. It speeds XLA's own convolutions up, and slows the
    native ones down, so it is for runs without those.

    Returns:
        the setting in a few words, if it was made.
    """
    if guess_backend(environ) != "cpu":
        return ()
    name, _, value = XLA_FLAG.partition("=")
    flags = environ.get("XLA_FLAGS", "")
    if _version("jaxlib") not in MEASURED_JAXLIB or name in flags:
        return ()
    environ["XLA_FLAGS"] = f"{flags} {XLA_FLAG}".strip()
    return (f"XLA {value.lstrip('+')}",)


def _cache_programs(environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """Keeps compiled programs in the user's cache directory, by version and machine.

    Before jaxlib 0.10.2 such programs were refused, or crashed, on CPUs with AVX-512.
    """
    version = _version("jaxlib") or "0"
    if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) < (0, 10, 2):
        return ()
    if "JAX_COMPILATION_CACHE_DIR" in environ or "JAX_ENABLE_COMPILATION_CACHE" in environ:
        return ()
    home = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "resnet_jax" / "programs" / f"{version}-{machine()}"
    environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    return ("compiled programs are cached",)


def machine() -> str:
    """A short name of this kind of CPU: programs are compiled for its instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    features = sorted(
        {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    )
    digest = hashlib.sha256("\n".join(features).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:12]}"
