"""Write a checkpoint file tensor by tensor, beside its final place, and move it there only when it is whole.

No more than one tensor is in memory at a time, and a file that is being read from is never written to: the
finished one takes its name, while whoever has the old one mapped keeps the old bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from samblocks.checkpoints.reading.content import Content
from samblocks.checkpoints.writing.write_safetensors import write_safetensors
from samblocks.checkpoints.writing.write_torch import write_torch
from samblocks.errors import CheckpointError

ENDINGS: Final = (".pt", ".pth", ".safetensors")


def check_ending(path: Path) -> None:
    """Raise `ValueError` unless the path ends like a checkpoint file."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"path must end in {', '.join(ENDINGS)}, not {path.name!r}")


def write(path: Path, content: Content) -> None:
    """Write a checkpoint; its format follows from the ending of `path`.

    Raises:
        CheckpointError: the folder cannot be written to, or the disk is full; nothing is left behind then.
        ValueError: the ending is none of `ENDINGS`.
    """
    check_ending(path)
    writer = write_safetensors if path.suffix == ".safetensors" else write_torch
    try:
        with _replacing(path) as stream:
            writer(stream, content)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file in the same folder that takes the place of `path` when all went well."""
    path = path.resolve()  # a link stays a link: what it points to is replaced
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, _mode(path))
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def _mode(path: Path) -> int:
    """The permissions that the old file has, or that a new one would get."""
    with suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
