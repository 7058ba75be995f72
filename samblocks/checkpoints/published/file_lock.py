"""One process at a time: a lock on a file that the operating system gives back when its holder ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAUSE = 0.1  # seconds between two tries


@contextmanager
def one_process(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on `path` for the duration of a with block.

    The file is made if it is missing, and left behind empty: were it removed, a process that still waits for
    it and one that makes it anew would both believe to hold the lock. A holder that is killed leaves no stale
    lock. Where the file system knows no locks nothing is held, so callers must check what they get.

    Args:
        path: the file to lock, in a folder that exists.
        waiting: called once if another process holds the lock.

    Yields:
        Nothing.

    Raises:
        OSError: the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        told = False
        while not _taken(handle):
            if not told:
                waiting()
                told = True
            time.sleep(PAUSE)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _taken(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _taken(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # no locks on this file system
        return True
