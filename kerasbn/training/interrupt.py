"""Ctrl-C during training: the first ends it after the present step, the second at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, and the second into `KeyboardInterrupt`.

    Outside the main thread, where Python gives no signals, nothing changes.

    Args:
        say: Tells the user what the first Ctrl-C does.

    Yields:
        An event that is set by the first Ctrl-C.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say("Stopping after this step; all that is done is kept. Press Ctrl-C again to stop at once.")

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
