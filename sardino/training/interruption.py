"""A polite request to stop: SIGTERM, or SIGUSR1 as SLURM sends it before the time is up."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Request:
    """Whether somebody has asked this process to stop."""

    def __init__(self) -> None:
        self.made = False


@contextlib.contextmanager
def stop_requests() -> Iterator[Request]:
    """While it lasts, the signals only raise a flag, and the loop stops between two steps.

    Off the main thread, where Python takes no signals, the flag stays down.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number: int, frame: FrameType | None) -> None:
        request.made = True

    before = {number: signal.signal(number, remember) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
