"""A file that is not finished yet: without a name where the system can do that, else hidden, locked and swept up.

A process may be killed at any moment. What it was writing must not stay for ever, and must not be mistaken for whole.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from samblocks.locks import lock_at_once

_LONGEST_STEM: Final = 100  # bytes of the file's name in the hidden one, whose limit is 255 as a rule
_HIDDEN: Final = re.compile(r"\..*\.[0-9a-f]{16}\.samblocks")
_DESCRIPTORS: Final = "/proc/self/fd"
_UNNAMED: Final[int] = getattr(os, "O_TMPFILE", 0)


@contextmanager
def unfinished(path: Path, permissions: int) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
    """A new file in the folder of `path`, which takes its name when it is told to and is gone otherwise.

    Args:
        path: the name that it is to take, without links in it.
        permissions: what it is made with; the process's mask is taken from them.

    Yields:
        A binary stream, open for reading and writing, and the function that gives it the name.

    Raises:
        OSError: the folder cannot be written to.
    """
    sweep(path.parent)
    descriptor = _unnamed(path.parent, permissions)
    hidden = None
    try:
        if descriptor is None:
            hidden, descriptor = _hidden(path, permissions)
        with open(descriptor, "w+b") as stream:

            def take_name() -> None:
                nonlocal hidden
                if hidden is None and not path.exists():
                    with suppress(FileExistsError):  # somebody else was faster: theirs is replaced below
                        _link(stream, path)
                        return
                if hidden is None:
                    lock_at_once(stream.fileno())
                    hidden = _hidden_name(path)
                    _link(stream, hidden)
                if sys.platform == "win32":
                    stream.close()  # what is open has no other name there
                hidden.replace(path)
                hidden = None

            yield stream, take_name
    finally:
        if hidden is not None:
            with suppress(OSError):
                hidden.unlink()


def sweep(folder: Path) -> None:
    """Delete the hidden files of writers that are gone: those that nobody holds the lock of."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if _HIDDEN.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _delete_if_left(entry.path)


def _delete_if_left(name: str) -> None:
    with suppress(OSError):
        descriptor = os.open(name, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if lock_at_once(descriptor):  # not where there are no locks: a writer may be at work
                os.unlink(name)
        finally:
            os.close(descriptor)


def _unnamed(folder: Path, permissions: int) -> int | None:
    """A file without a name, or None where the system or the folder's file system knows no such thing."""
    if not _UNNAMED or not os.path.isdir(_DESCRIPTORS):
        return None
    try:
        return os.open(folder, _UNNAMED | os.O_RDWR | os.O_CLOEXEC, permissions)
    except OSError:
        return None  # where the folder itself is the reason, the hidden file says so


def _link(stream: IO[bytes], name: Path) -> None:
    # Relative to an open folder, since only then Python asks the system to follow the link that stands for the file.
    folder = os.open(_DESCRIPTORS, os.O_RDONLY)
    try:
        os.link(str(stream.fileno()), name, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _hidden_name(path: Path) -> Path:
    stem = os.fsencode(path.name)[:_LONGEST_STEM].decode("utf-8", "ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(8)}.samblocks")


def _hidden(path: Path, permissions: int) -> tuple[Path, int]:
    """A hidden file that this process holds the lock of."""
    while True:
        name = _hidden_name(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(name, flags, permissions)
        lock_at_once(descriptor)
        if os.path.exists(name):
            return name, descriptor
        os.close(descriptor)  # swept up by another writer before it was locked
