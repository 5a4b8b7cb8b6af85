"""Downloading the archive of a data set: resumed, bounded in time, and verified."""

import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from resnet_jax.data.spec import Archive
from resnet_jax.errors import DataError

_TIMEOUT = 10.0  # seconds without a byte, in connecting and in reading
_ATTEMPTS = 3  # failures in a row that bring no new byte
_PATIENCE = 20.0  # seconds without a new byte after which no further attempt starts
_WAIT = 1.0  # seconds before the next attempt, times the failures
_CHUNK = 1 << 18  # bytes
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class _Interrupted(Exception):
    """The transfer failed in a way that another attempt may mend."""


def download(archive: Archive, target: Path) -> Path:
    """Downloads `archive` to `target`, continuing what an earlier call left in `target.part`.

    A `target` that is already the published file is left alone. `target` appears complete and
    verified, or not at all.

    Returns:
        `target`.

    Raises:
        DataError: the server cannot be reached or has another file, the checksum is wrong (the
            part is removed then), or the directory cannot be written.
    """
    try:
        if target.is_file() and _fault(archive, target) is None:
            return target
        print(f"downloading {archive.url} to {target}", file=sys.stderr)
        part = target.with_name(target.name + ".part")
        target.parent.mkdir(parents=True, exist_ok=True)
        _complete(archive, part)
        if fault := _fault(archive, part):
            part.unlink()
            raise DataError(
                f"the file downloaded from {archive.url} {fault}; it was removed\n"
                "run the command again, or get the file by hand and pass --archive FILE"
            )
        os.replace(part, target)
    except OSError as error:  # of the file system: the network's own are _Interrupted
        raise DataError(
            f"cannot write {target}: {error.strerror or error}\n"
            "free some space or choose another directory with --data-dir DIR"
        ) from error
    return target


def verify(archive: Archive, path: Path) -> None:
    """Checks that the local file `path` is the published archive.

    Raises:
        DataError: it is missing or unreadable, or its size or SHA-256 is not the published one.
    """
    try:
        fault = _fault(archive, path)
    except OSError as error:
        fault = f"cannot be read: {error.strerror or error}"
    if fault:
        raise DataError(f"{path} {fault}\nexpected the file published as {archive.url}")


def _fault(archive: Archive, path: Path) -> str | None:
    """What distinguishes the file from the published one, or `None`."""
    size = path.stat().st_size
    if size != archive.size and path.is_file():
        return f"has {size:,} bytes instead of {archive.size:,}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        return f"has SHA-256 {digest[:12]}... instead of {archive.sha256[:12]}..."
    return None


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _complete(archive: Archive, part: Path) -> None:
    """Fetches until `part` has the archive's size, giving up when attempts bring no new byte."""
    if _length(part) > archive.size:
        part.unlink()
    best, failures, since = _length(part), 0, time.monotonic()
    while True:
        try:
            return _fetch(archive, part)
        except _Interrupted as interruption:
            # Against the best so far: a server that cuts and cannot resume would go on for ever.
            if _length(part) > best:
                best, failures, since = _length(part), 0, time.monotonic()
            else:
                failures += 1
            if failures == _ATTEMPTS or time.monotonic() - since > _PATIENCE:
                raise DataError(
                    f"cannot download {archive.url}: {interruption} "
                    f"({_length(part):,} of {archive.size:,} bytes so far)\n"
                    "run the command again to continue, or get the file by hand and pass "
                    "--archive FILE"
                ) from interruption
            time.sleep(_WAIT * max(failures, 1))


def _fetch(archive: Archive, part: Path) -> None:
    """One request for what `part` lacks."""
    offset = _length(part)
    if offset == archive.size:
        return
    with _open(archive.url, offset) as response:
        start, total = _extent(response)
        if total not in (None, archive.size):
            raise DataError(
                f"{archive.url} now has {total:,} bytes instead of {archive.size:,}: it is another "
                f"file\nget the file with SHA-256 {archive.sha256} and pass --archive FILE"
            )
        if start > offset:
            raise _Interrupted("the server sent another part of the file than was asked for")
        with part.open("r+b" if offset else "wb") as file:
            file.truncate(start)  # to nothing, where the server does not resume
            file.seek(start)
            _copy(response, file, archive, start)
    if _length(part) < archive.size:
        raise _Interrupted("the connection was closed early")


def _copy(response, file, archive: Archive, start: int) -> None:
    with tqdm(
        desc=Path(archive.url).name,
        total=archive.size,
        initial=start,
        unit="B",
        unit_scale=True,
        disable=None,
    ) as bar:
        # A longer body is cut here; the checksum rejects it.
        missing = archive.size - start
        for chunk in _chunks(response):
            file.write(chunk[:missing])
            bar.update(len(chunk))
            missing -= len(chunk)
            if missing <= 0:
                return


def _open(url: str, offset: int) -> http.client.HTTPResponse:
    """Asks for `url` from byte `offset` on; the server may answer with the whole file."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # what we have cannot be continued
            return _open(url, 0)
        answer = f"the server answered {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            raise _Interrupted(answer) from error
        raise DataError(
            f"cannot download {url}: {answer}\nget the file by hand and pass --archive FILE"
        ) from error
    except urllib.error.URLError as error:
        raise _Interrupted(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte that the response holds and the size of the whole file, if it says so."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None:
            raise _Interrupted("the server sent a part of the file without saying which")
        start, total = match.groups()
        return int(start), None if total == "*" else int(total)
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it arrives; failures of the network become `_Interrupted`."""
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk
