"""What a person sees of a sweep: a table that is drawn anew on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from resnet_jax.ablation.design import Arm
from resnet_jax.ablation.estimate import Estimate, in_words
from resnet_jax.console import duration

LINE_EVERY = 60.0
"""Seconds between plain lines, beside one at the end of every run."""

STATES = ("done", "diverged", "failed", "running", "left")


class Board:
    """The state of every run of a sweep, as far as this process knows.

    Args:
        runs: those that this process answers for, arm by arm.
        rows: of those that have ended before.
        estimate: seconds of each run.
        stream: to write to; it is asked whether it is a terminal.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        runs: Sequence[tuple[Arm, int]],
        rows: Sequence[Mapping[str, Any]],
        estimate: Estimate,
        stream: TextIO | None = None,
        clock: Any = time.monotonic,
    ):
        self._stream = sys.stdout if stream is None else stream
        self._clock, self._began, self._drawn_at = clock, clock(), clock()
        self._seconds = estimate.seconds
        self._state = {(arm.name, seed): "left" for arm, seed in runs}
        for row in rows:
            if row["status"] != "failed":  # those are tried again
                self._state[row["arm"], row["seed"]] = row["status"]
        self._fraction = {run: float(state != "left") for run, state in self._state.items()}
        self._at_first = dict(self._fraction)
        self._step: dict[tuple[str, int], str] = {}
        self._height = 0

    def event(self, event: Mapping[str, Any]) -> None:
        """Takes notice of a worker's event, and shows it."""
        run = event["arm"], event["seed"]
        match event["event"]:
            case "start":
                self._state[run] = "running"
            case "progress":
                fraction = event["step"] / event["steps"]
                if run not in self._step:  # a run that goes on, not one that was quick
                    first = max(0.0, (event["step"] - 1) / event["steps"])
                    self._at_first[run] = first
                self._fraction[run] = fraction
                self._step[run] = f"{event['step']}/{event['steps']}"
            case "row":
                self._state[run], self._fraction[run] = event["status"], 1.0
                self._say_end(event)
        self.tick()

    def _say_end(self, event: Mapping[str, Any]) -> None:
        took = f" in {duration(event['seconds'])}" if event.get("seconds") else ""
        text = f"{event['status']:<9} {event['arm']} s{event['seed']}{took}"
        if event.get("error"):
            text += f": {event['error'][:200]} (exit code {event['exit_code']})"
        self.say(f"{text}; {self.summary()}")

    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        states = list(self._state.values())
        return {state: states.count(state) for state in STATES}

    def seconds_left(self) -> float:
        """Estimated, from how fast this process has been so far, once that is known."""
        left = sum(self._seconds[arm] * (1 - f) for (arm, _), f in self._fraction.items())
        moved = sum(
            self._seconds[run[0]] * (self._fraction[run] - self._at_first[run])
            for run in self._state
        )
        elapsed = self._clock() - self._began
        return left * elapsed / moved if moved > 0 and elapsed > 15 else left

    def summary(self) -> str:
        """One line: counts and the time left."""
        counts = self.counts()
        parts = [f"{counts['done']} of {len(self._state)} done"]
        parts += [f"{counts[s]} {s}" for s in STATES[1:] if counts[s]]
        if counts["running"] or counts["left"]:
            parts.append(f"about {in_words(self.seconds_left())} to go")
        return ", ".join(parts)

    def lines(self) -> list[str]:
        """The table: an arm a row."""
        arms = list(dict.fromkeys(arm for arm, _ in self._state))
        width = max(3, *(len(arm) for arm in arms))
        table = [f"{'arm':<{width}}  {'done':>5} {'running':>8} {'left':>5}  now"]
        for arm in arms:
            mine = {run: state for run, state in self._state.items() if run[0] == arm}
            states = list(mine.values())
            bad = [f"s{run[1]} {s}" for run, s in mine.items() if s in ("diverged", "failed")]
            now = [
                f"s{run[1]} {self._step.get(run, 'starts')}"
                for run, state in mine.items()
                if state == "running"
            ]
            table.append(
                f"{arm:<{width}}  {states.count('done'):>5} {states.count('running'):>8} "
                f"{states.count('left'):>5}  {', '.join(now + bad)}".rstrip()
            )
        return [*table, self.summary()]

    def tick(self) -> None:
        """Draws what is due; call it often."""
        now = self._clock()
        if self._stream.isatty():
            if now - self._drawn_at > 0.5 or not self._height:
                self._draw()
        elif now - self._drawn_at > LINE_EVERY:
            self._drawn_at = now
            running = [f"{r[0]} s{r[1]} {self._step.get(r, 'starts')}" for r in self._running()]
            print(f"{self.summary()} ({', '.join(running) or 'none runs'})", file=self._stream)
            self._stream.flush()

    def _running(self) -> list[tuple[str, int]]:
        return [run for run, state in self._state.items() if state == "running"]

    def _draw(self) -> None:
        import shutil

        self._drawn_at = self._clock()
        columns, rows = shutil.get_terminal_size()
        lines = self.lines()
        if len(lines) > rows - 1:  # what has scrolled away cannot be drawn over
            lines = [lines[0], *lines[1 - max(rows - 1, 2) :]]
        self._erase()
        text = "".join(f"{line[: columns - 1]}\n" for line in lines)
        self._stream.write(text)
        self._stream.flush()
        self._height = len(lines)

    def _erase(self) -> None:
        if self._height:
            self._stream.write(f"\x1b[{self._height}A\x1b[J")
            self._height = 0

    def say(self, line: str) -> None:
        """Prints a line that stays, above the table."""
        terminal = self._stream.isatty()
        if terminal:
            self._erase()
        print(line, file=self._stream, flush=True)
        if terminal:
            self._draw()

    def close(self) -> None:
        """Leaves the last state of the table on the screen."""
        if self._stream.isatty():
            self._draw()
            self._height = 0
