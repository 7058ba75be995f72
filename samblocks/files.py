"""Files on a disk: written whole or not at all, and hashed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from samblocks.errors import printable
from samblocks.unfinished import unfinished


@contextmanager
def write_atomically(path: str | os.PathLike[str], *, make_folder: bool = False) -> Iterator[IO[bytes]]:
    """Write a file that takes its name only when the with block has ended well.

    Whoever has the earlier file open or mapped keeps its bytes, and nobody ever sees half of the new one. The file
    and then its folder are flushed to the disk (`fsync`) before the block ends. Permissions are those that `open`
    would leave: an earlier file's, or what the process's mask grants. A link stays a link, and the file that it
    points to is replaced; a pipe or a device, such as `/dev/stdout`, is written into.

    Until then the bytes have no name where the system can do that (Linux), so that a process that is killed leaves
    nothing. Elsewhere they lie in a hidden file, locked by its writer; the next one to write into the folder deletes
    those whose writer is gone.

    Args:
        path: the file.
        make_folder: make its folder too, with all above it, where it is missing.

    Yields:
        A binary stream, open for reading and writing too, at its beginning.

    Raises:
        OSError: the folder is missing or cannot be written to, `path` is a folder, or the disk is full.
            Nothing is left behind then, as after any other exception inside the block.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_atomically(f"{folder}/new/file", make_folder=True) as stream:
    ...         _ = stream.write(b"whole")
    ...     [(file.name, file.read_bytes()) for file in Path(folder, "new").iterdir()]
    [('file', b'whole')]
    """
    mode = _mode(Path(path))
    if mode is not None and not stat.S_ISREG(mode):
        with open(path, "wb") as stream:
            yield stream
        return
    path = Path(path).resolve()
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist; make it first", str(path))
    # The system takes the process's mask from these permissions, so nobody needs to ask for it, which would
    # change it for all threads; an earlier file's are put right before anybody else could need them.
    permissions = 0o666 if mode is None else stat.S_IMODE(mode) & 0o777
    with unfinished(path, permissions) as (stream, take_name):
        yield stream
        stream.flush()
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(stream.fileno(), permissions)
        os.fsync(stream.fileno())
        take_name()
    with suppress(OSError):  # some systems open no folders; the file's own bytes are safe already
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: str | os.PathLike[str], text: str, *, make_folder: bool = False) -> None:
    """Write a text in UTF-8, whole or not at all; see `write_atomically`."""
    with write_atomically(path, make_folder=make_folder) as stream:
        stream.write(text.encode())


def is_free(folder: Path) -> bool:
    """Whether a folder can be written whole: it is not there, or it is empty."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def plain_name(name: str) -> str:
    """A name that a file or a folder can have inside another folder, and that leads nowhere else.

    Args:
        name: the name.

    Returns:
        The same.

    Raises:
        ValueError: it is empty or long, or holds what cannot be shown or what parts folders.

    >>> plain_name("cat 2"), plain_name("Mütze.1")
    ('cat 2', 'Mütze.1')
    >>> plain_name("../cat")
    Traceback (most recent call last):
    ValueError: '../cat' cannot be the name of a folder: take letters and digits, no slashes, at most 200 bytes
    """
    wrong = not name.strip(" .") or set(name) & set("/\\") or not name.isprintable()
    if wrong or len(name.encode()) > 200:
        raise ValueError(
            f"{printable(repr(name))} cannot be the name of a folder: take letters and digits, no slashes, at most "
            "200 bytes"
        )
    return name


def sha256(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mode(path: Path) -> int | None:
    """Type and permissions of what lies at `path`, None if nothing does; a folder is refused."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return mode
