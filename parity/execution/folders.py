"""Files and folders that the command line names: whether they can be read or written is known before any work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parity.errors import UsageError


def check_folder(path: Path | None, option: str) -> None:
    """Refuse what is no folder.

    Args:
        path: what was given, None for nothing.
        option: what it was given to.

    Raises:
        UsageError: there is none, or it is something else.
    """
    if path is not None and not path.is_dir():
        found = "is no folder" if path.exists() else "is not there: make it first, or name another folder"
        raise UsageError(f"{option} {path} {found}")


def check_input(path: Path | None, option: str) -> None:
    """Refuse what is no file.

    Raises:
        UsageError: there is none, or it is something else.
    """
    if path is not None and not path.is_file():
        raise UsageError(f"{option} {path} {'is no file' if path.exists() else 'is not there'}: name a file")


def check_outputs(*paths: Path | None) -> None:
    """Refuse files that could not be written at the end.

    Raises:
        UsageError: one is a folder, or is in none.
    """
    for path in filter(None, paths):
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UsageError(
                f"{path} cannot be written: it is a folder, or is in none; make its folder first"
            )


@contextmanager
def scratch(within: Path | None) -> Iterator[Path]:
    """A temporary folder.

    Args:
        within: where it is to be, as --folder gives it; None takes the usual place.

    Yields:
        The folder, which is gone afterwards.

    Raises:
        UsageError: there is no such place.
    """
    check_folder(within, "--folder")
    with tempfile.TemporaryDirectory(prefix="parity-", dir=within) as folder:
        yield Path(folder)
