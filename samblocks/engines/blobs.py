"""Compiled graphs in files: written whole or not at all, and refused where a byte is not what was written."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from samblocks.checkpoints.published.url import default_cache
from samblocks.errors import EngineError
from samblocks.files import write_atomically

_MAGIC: Final = b"samblocks engine 1\n"
_HEAD: Final = len(_MAGIC) + 2 * 65


def usual_folder() -> Path:
    """Where compiled graphs lie unless another folder is named: beside what is downloaded."""
    return default_cache() / "engines"


def read(path: Path, key: str) -> bytes:
    """The blob in a file.

    Args:
        path: the file.
        key: the fingerprint of what it must be made of.

    Raises:
        EngineError: the file is damaged, or of something else.
        FileNotFoundError: there is none.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "blob")
        ...     write(file, "0" * 64, b"compiled")
        ...     _ = file.write_bytes(file.read_bytes()[:-1])
        ...     read(file, "0" * 64)
        Traceback (most recent call last):
        ...
        samblocks.errors.EngineError: the compiled graph blob is damaged: it is not what was written; delete it
    """
    data = path.read_bytes()
    head, blob = data[:_HEAD], data[_HEAD:]
    if not head.startswith(_MAGIC) or len(head) < _HEAD:
        raise EngineError(f"{path.name} is no compiled graph of samblocks: delete it")
    found, digest = head[len(_MAGIC) :].decode("ascii", "replace").split("\n")[:2]
    if found != key:
        raise EngineError(
            f"the compiled graph {path.name} is of other weights, versions or settings: delete it"
        )
    if hashlib.sha256(blob).hexdigest() != digest:
        raise EngineError(f"the compiled graph {path.name} is damaged: it is not what was written; delete it")
    return blob


def write(path: Path, key: str, blob: bytes) -> None:
    """Write a blob, whole or not at all; see `read`."""
    with write_atomically(path, make_folder=True) as stream:
        stream.write(_MAGIC + f"{key}\n{hashlib.sha256(blob).hexdigest()}\n".encode())
        stream.write(blob)


def kept(path: Path | None, key: str) -> bytes | None:
    """The blob of a file, None where there is none that can be used: then it is made anew."""
    if path is None:
        return None
    with suppress(EngineError, OSError):
        return read(path, key)
    return None
