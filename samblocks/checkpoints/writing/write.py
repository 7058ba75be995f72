"""Write a checkpoint file tensor by tensor: no more than one is in memory at a time.

A file that is being read from is never written to: the finished one takes its name, while whoever has the old one
mapped keeps the old bytes.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.checkpoints.writing.write_safetensors import write_safetensors
from samblocks.checkpoints.writing.write_torch import write_torch
from samblocks.errors import CheckpointError, cause
from samblocks.files import write_atomically

ENDINGS: Final = (".pt", ".pth", ".safetensors")


def check_ending(path: Path) -> None:
    """Raise `ValueError` unless the path ends like a checkpoint file."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"path must end in {', '.join(ENDINGS)}, not {path.name!r}")


def check_target(path: Path) -> None:
    """Refuse what cannot become a checkpoint, before any work is done for it.

    Raises:
        CheckpointError: it is a folder, a pipe or a device, or a link to one; its folder is missing; or its name
            is too long, or none.
        ValueError: the ending is none of `ENDINGS`.
    """
    check_ending(path)
    try:
        found = os.stat(path).st_mode
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be written: {cause(error)}.") from error
    if found is not None and not stat.S_ISREG(found):
        kind = "a folder" if stat.S_ISDIR(found) else "a pipe or a device"
        raise CheckpointError(f"{path} cannot be written: it is {kind}, not a file.")
    if not Path(os.path.realpath(path)).parent.is_dir():
        raise CheckpointError(f"{path} cannot be written: its folder does not exist; make it first.")


def write(path: Path, source: TensorSource) -> None:
    """Write a checkpoint; its format follows from the ending of `path`.

    Raises:
        CheckpointError: `path` is no place for a file, the folder cannot be written to, the disk is full, or a
            tensor cannot be had; nothing is left behind then.
        ValueError: the ending is none of `ENDINGS`.
    """
    check_target(path)
    writer = write_safetensors if path.suffix == ".safetensors" else write_torch
    with boundary(path, "written"), write_atomically(path) as stream:
        writer(stream, source)
