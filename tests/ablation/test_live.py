import io
import re

import pytest

from resnet_jax.ablation.design import Arm
from resnet_jax.ablation.estimate import Estimate
from resnet_jax.ablation.live import LINE_EVERY, Board

RUNS = [(Arm(name, {}), seed) for name in ("wide", "deep") for seed in (0, 1)]
ESTIMATE = Estimate({"wide": 100.0, "deep": 300.0}, timed=0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock():
    return Clock()


def board(clock, stream=None, rows=()):
    return Board(RUNS, rows, ESTIMATE, io.StringIO() if stream is None else stream, clock)


def event(kind, arm="wide", seed=0, **more):
    return {"event": kind, "arm": arm, "seed": seed, **more}


def end(status="done", arm="wide", seed=0, code=0, error=None):
    return event("row", arm, seed, status=status, exit_code=code, error=error, seconds=61.0)


def test_done_running_and_left_are_counted_for_each_arm(clock):
    b = board(clock, rows=[end("done"), end("failed", seed=1)])
    b.event(event("start", "deep"))
    b.event(event("progress", "deep", step=5, steps=20))
    table = b.lines()
    assert re.split(r"\s+", table[1]) == ["wide", "1", "0", "1"]  # what failed is left to do
    assert re.split(r"\s+", table[2]) == ["deep", "0", "1", "1", "s0", "5/20"]
    assert table[3].startswith("1 of 4 done, 1 running, 2 left")


def test_the_time_left_is_the_estimate_at_first_and_then_as_fast_as_it_goes(clock):
    b = board(clock)
    assert b.seconds_left() == 800
    b.event(event("start"))
    clock.now = 50.0
    b.event(end())
    assert b.seconds_left() == pytest.approx(700 / 2)


def test_what_was_done_before_makes_nothing_look_fast(clock):
    b = board(clock, rows=[end("done")])
    assert b.seconds_left() == 700
    b.event(event("start", "deep"))
    b.event(event("progress", "deep", step=91, steps=100))  # goes on from step 90
    clock.now = 30.0
    b.event(event("progress", "deep", step=100, steps=100))
    assert b.seconds_left() == pytest.approx(400 * 30 / 30)


def test_elsewhere_than_on_a_terminal_lines_come_at_ends_and_every_minute(clock):
    stream = io.StringIO()
    b = board(clock, stream)
    b.event(event("start"))
    for second in range(int(2.5 * LINE_EVERY)):
        clock.now = float(second)
        b.tick()
    assert len(stream.getvalue().splitlines()) == 2
    assert "wide s0 starts" in stream.getvalue()
    b.event(end("failed", code=3, error="no data"))
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith("failed    wide s0 in 1:01: no data (exit code 3); 0 of 4 done")
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_shows_the_table_and_draws_over_it(clock):
    stream = Terminal()
    b = board(clock, stream)
    b.tick()
    assert stream.getvalue().startswith("arm ")
    clock.now = 1.0
    b.tick()
    assert "\x1b[4A\x1b[J" in stream.getvalue()
    b.close()
    assert stream.getvalue().endswith("to go\n")
