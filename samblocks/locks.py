"""Locks on files between processes: taken at once or not, and waited for."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PAUSE: Final = 0.1  # seconds between two tries to get a lock
_HELD: Final = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What the systems say of a lock that somebody else has; anything else is said of locks altogether."""


def lock_at_once(descriptor: int) -> bool | None:
    """Take the lock of an open file without waiting for it.

    The operating system takes it back when the file is closed or its holder ends.

    Args:
        descriptor: of the file.

    Returns:
        True if it is held now, False if another one holds it, None if the file system knows no locks.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


@contextmanager
def file_lock(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on `path` inside a with block: one process, and one thread, at a time.

    A process that is killed leaves no stale lock. The file is made if it is missing, and left behind empty: were it
    removed, a process that still waits for it and one that makes it anew would both believe to hold the lock. Where
    the file system knows no locks nothing is held, so callers must check what they get.

    Args:
        path: the file to lock, in a folder that exists.
        waiting: called once if another process holds the lock.

    Yields:
        Nothing.

    Raises:
        OSError: the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if lock_at_once(handle) is False:
            waiting()
            while lock_at_once(handle) is False:
                time.sleep(_PAUSE)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
