"""Ctrl-C and SIGTERM: a run ends behind the step at hand, and is saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Request:
    """Whether somebody has asked the process to stop.

    Attributes:
        name: of the signal, such as `SIGTERM`; None before there is one.
    """

    def __init__(self) -> None:
        self.name: str | None = None

    def __bool__(self) -> bool:
        return self.name is not None


@contextlib.contextmanager
def requests() -> Iterator[Request]:
    """Notes the first signal instead of raising at once; a second Ctrl-C raises KeyboardInterrupt.

    An exception in the middle of a step or of saving would at times be lost in a callback of JAX, and
    leave pages of tracebacks. Outside the main thread, which alone gets signals, nothing is noted.
    """
    request = Request()

    def note(number: int, frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.name = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
