"""Write a checkpoint file tensor by tensor: no more than one is in memory at a time.

A file that is being read from is never written to: the finished one takes its name, while whoever has the old one
mapped keeps the old bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.checkpoints.writing.write_safetensors import write_safetensors
from samblocks.checkpoints.writing.write_torch import write_torch
from samblocks.errors import CheckpointError
from samblocks.files import write_atomically

ENDINGS: Final = (".pt", ".pth", ".safetensors")


def check_ending(path: Path) -> None:
    """Raise `ValueError` unless the path ends like a checkpoint file."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"path must end in {', '.join(ENDINGS)}, not {path.name!r}")


def write(path: Path, source: TensorSource) -> None:
    """Write a checkpoint; its format follows from the ending of `path`.

    Raises:
        CheckpointError: the folder cannot be written to, or the disk is full; nothing is left behind then.
        ValueError: the ending is none of `ENDINGS`.
    """
    check_ending(path)
    writer = write_safetensors if path.suffix == ".safetensors" else write_torch
    try:
        with write_atomically(path) as stream:
            writer(stream, source)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from error
