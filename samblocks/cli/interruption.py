"""Ctrl-C, and being ended from outside: all that was opened is closed again, processes and folders first of all."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Unwinds as Ctrl-C does.

    Attributes:
        status: the exit status that says which signal it was.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


@contextmanager
def unwinding() -> Iterator[None]:
    """Let the first signal unwind the main thread, and have further ones wait until that is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()
    # What is ignored stays so: a shell that runs something in the background, or nohup, wants it.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a fork of ours has nothing of ours to close
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
