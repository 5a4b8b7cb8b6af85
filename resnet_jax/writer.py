"""Rows of metrics: `metrics.jsonl`, and TensorBoard event files if asked for."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

from resnet_jax import atomic
from resnet_jax import workdir as files
from resnet_jax.errors import WorkdirError


class Writer(Protocol):
    """Takes one row of metrics at a time."""

    def write(self, row: dict[str, Any]) -> None:
        """Writes `row`: step, epoch, split, and numbers."""

    def close(self) -> None:
        """Flushes and releases files."""


EVERY_ROW = frozenset({"step", "epoch", "split", "loss", "accuracy"})
"""Columns of a row of metrics; the others may be missing."""


class JsonLines:
    """`metrics.jsonl`: one JSON object a line, each on disk before the next step is taken.

    Args:
        path: of the file.
        last_step: rows of later steps are dropped, since a resumed run writes them again; so are a
            last line that a crash cut off, and a test row, which belongs to a finished run.
        columns: that every row has.
    """

    def __init__(self, path: Path, last_step: int, columns: frozenset[str] = EVERY_ROW):
        self._path = path
        before = read(path, columns) if path.exists() else []
        kept = [r for r in before if r["step"] <= last_step and r.get("split") != "test"]
        atomic.write(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a")

    def write(self, row: dict[str, Any]) -> None:
        """Appends `row`.

        Raises:
            WorkdirError: the disk is full or gone.
        """
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot_write(self._path, error) from None

    def close(self) -> None:
        """Closes the file."""
        with contextlib.suppress(OSError):  # `write` has reported it; its rest is still buffered
            self._file.close()


def read(path: Path, columns: frozenset[str] = EVERY_ROW) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that was cut off is left out.

    Args:
        path: of the file.
        columns: that every row has.

    Raises:
        WorkdirError: there is no such file, or another line is damaged.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise WorkdirError(
            f"cannot read {path}: {error.strerror}; name the workdir of a run"
        ) from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not row.keys() >= columns:
                raise ValueError("not a row of metrics")
            rows.append(row)
        except ValueError:
            if number < len(lines):
                raise WorkdirError(
                    f"{path}: line {number} is damaged; remove that line and go on"
                ) from None
    return rows


class TensorBoard:
    """TensorBoard event files; tags are `<split>/<metric>`.

    TensorBoard's own writer of event files imports TensorFlow where it is installed; its writer of
    records does not.

    Args:
        folder: made if missing; gets one file more.
        last_step: events of later steps, which a resumed run writes again, are not shown.
    """

    def __init__(self, folder: Path, last_step: int):
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._records = RecordWriter((folder / name).open("xb"))
        except OSError as error:
            raise _cannot_write(folder, error) from None
        self._folder = folder
        self._add(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(step=last_step + 1, session_log=start)

    def write(self, row: dict[str, Any]) -> None:
        """Adds one scalar per number of the row.

        Raises:
            WorkdirError: the disk is full or gone.
        """
        from tensorboard.compat.proto import summary_pb2

        values = [
            summary_pb2.Summary.Value(tag=f"{row['split']}/{name}", simple_value=value)
            for name, value in row.items()
            if name not in ("step", "split") and value is not None
        ]
        self._add(step=row["step"], summary=summary_pb2.Summary(value=values))

    def _add(self, **fields: Any) -> None:
        from tensorboard.compat.proto import event_pb2

        event = event_pb2.Event(wall_time=time.time(), **fields)
        try:
            self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            raise _cannot_write(self._folder, error) from None

    def close(self) -> None:
        """Closes the file."""
        with contextlib.suppress(OSError):
            self._records.close()


def _cannot_write(path: Path, error: OSError) -> WorkdirError:
    return WorkdirError(
        f"cannot write {path}: {error.strerror}; free space and run the command again"
    )


def create(workdir: Path, last_step: int, *, tensorboard: bool) -> list[Writer]:
    """The writers of a run that goes on from `last_step`."""
    writers: list[Writer] = [JsonLines(workdir / files.METRICS, last_step)]
    if tensorboard:
        writers.append(TensorBoard(workdir / "tensorboard", last_step))
    return writers
