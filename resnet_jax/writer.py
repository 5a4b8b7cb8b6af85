"""Rows of metrics: `metrics.jsonl`, and TensorBoard event files if asked for."""

import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

from resnet_jax import workdir as files
from resnet_jax.errors import WorkdirError


class Writer(Protocol):
    """Takes one row of metrics at a time."""

    def write(self, row: dict[str, Any]) -> None:
        """Writes `row`: step, epoch, split, and numbers."""

    def close(self) -> None:
        """Flushes and releases files."""


class JsonLines:
    """`metrics.jsonl`: one JSON object a line, each on disk before the next step is taken.

    Args:
        path: of the file.
        last_step: rows of later steps are dropped, since a resumed run writes them again; so are a
            last line that a crash cut off, and a test row, which belongs to a finished run.
    """

    def __init__(self, path: Path, last_step: int):
        self._path = path
        before = read(path) if path.exists() else []
        kept = [r for r in before if r["step"] <= last_step and r["split"] != "test"]
        files.write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
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
            raise WorkdirError(
                f"cannot write {self._path}: {error.strerror}; free space and run the command again"
            ) from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that was cut off is left out.

    Raises:
        WorkdirError: there is no such file, or another line is damaged.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise WorkdirError(
            f"cannot read {path}: {error.strerror}; name the workdir of a run"
        ) from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise WorkdirError(
                    f"{path}: line {number} is no JSON; remove that line and go on"
                ) from None
    return rows


class TensorBoard:
    """TensorBoard event files, written without TensorFlow; tags are `<split>/<metric>`."""

    def __init__(self, folder: Path):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))

    def write(self, row: dict[str, Any]) -> None:
        """Adds one scalar per number of the row."""
        from tensorboard.compat.proto import event_pb2, summary_pb2

        values = [
            summary_pb2.Summary.Value(tag=f"{row['split']}/{name}", simple_value=value)
            for name, value in row.items()
            if name not in ("step", "split") and value is not None
        ]
        event = event_pb2.Event(
            step=row["step"], wall_time=time.time(), summary=summary_pb2.Summary(value=values)
        )
        self._writer.add_event(event)

    def close(self) -> None:
        """Flushes the events."""
        self._writer.close()


def create(workdir: Path, last_step: int, *, tensorboard: bool) -> list[Writer]:
    """The writers of a run that goes on from `last_step`."""
    writers: list[Writer] = [JsonLines(workdir / files.METRICS, last_step)]
    if tensorboard:
        writers.append(TensorBoard(workdir / "tensorboard"))
    return writers
