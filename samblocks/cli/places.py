"""Where a command will write: looked at before it computes, so that nothing is computed in vain or written over."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_ENDINGS: Final = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".svg", ".pdf"),
        *(".npy", ".npz", ".json", ".geojson", ".zip"),
        *(".mp4", ".mov", ".avi", ".mkv", ".webm"),
        *(".onnx", ".xml", ".bin", ".pt2", ".pt", ".pth", ".safetensors"),
    )
)
"""What files end in, in lower case: a folder of such a name is hardly meant."""


def check_folder(folder: Path, option: str = "-o") -> None:
    """Refuse what is no folder and cannot become one.

    Args:
        folder: the path, which may be missing.
        option: what messages call it.

    Raises:
        ValueError: it is none.
        OSError: the system does not tell.
    """
    if str(folder) == "-":
        raise ValueError(f"{option} - would be standard output, but several files are written: name a folder")
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise ValueError(f"{option} {folder} is there already and no folder: name another place")
        if folder.suffix.lower() in _ENDINGS:
            raise ValueError(
                f"{option} {folder} ends as a file does, but several files are written: name a folder"
            )
    _check_writable(folder, option)


def check_file(file: Path, option: str = "-o", *, inputs: Iterable[Path] = ()) -> None:
    """Refuse what cannot become a file, or is one that is read.

    Args:
        file: the path, which may be missing; an ordinary file there will be replaced.
        option: what messages call it.
        inputs: files that are read.

    Raises:
        ValueError: it cannot.
        OSError: the system does not tell.
    """
    for read in inputs:
        if file.resolve() == read.resolve():
            raise ValueError(
                f"{option} {file} would be written over {read}, which is read: name another file"
            )
    if os.path.lexists(file) and not file.is_file():
        raise ValueError(f"{option} {file} is there already and no ordinary file: name another place")
    _check_writable(file.parent, option)


def _check_writable(folder: Path, option: str) -> None:
    """Refuse a place below which nothing can be made."""
    absolute = folder.absolute()
    above = next(one for one in (absolute, *absolute.parents) if os.path.lexists(one))
    if not above.is_dir():
        raise ValueError(f"{option}: {folder} cannot be made, since {above} is no folder: name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{option}: nothing can be written into {above}: name another place")
