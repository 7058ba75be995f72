"""The boundary of everything that has to do with a file: what comes from below leaves as one kind of error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from samblocks.errors import ArgumentError, CheckpointError, SamblocksError, cause


@contextmanager
def boundary(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn whatever another library, or the system, raises inside a with block into a `CheckpointError`.

    A file may be damaged in a way that nobody thought of, and the disk, the memory and other libraries fail in
    ways of their own. Whoever catches `CheckpointError` has caught them all.

    Args:
        path: the file that is being read or written.
        what: what could not be done to it: "read", "loaded", …

    Raises:
        CheckpointError: with the path and the cause in its message, and as its `__cause__`. Errors of ours pass
            as they are.

    >>> with boundary("a.pt", "read"):
    ...     raise RuntimeError("shape mismatch")
    Traceback (most recent call last):
    samblocks.errors.CheckpointError: a.pt cannot be read: RuntimeError: shape mismatch.
    """
    try:
        yield
    except (SamblocksError, ArgumentError):
        raise
    except Exception as error:
        raise CheckpointError(f"{os.fspath(path)} cannot be {what}: {cause(error)}.") from error
