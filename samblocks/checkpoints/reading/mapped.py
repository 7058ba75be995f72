"""A file in memory, privately: tensors are views of it, writing to them copies a page and never the file."""

from __future__ import annotations

import mmap
import os
import stat
import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from samblocks.errors import CheckpointError
from samblocks.layouts.tensors import TORCH_DTYPES, item_size


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in a file: everything that is known of it without reading it.

    Args:
        shape: the tensor's shape.
        dtype: as safetensors names it (`"F32"`, `"BF16"`, …).
        offset: first byte in the file.
        strides: in elements; None where the tensor is contiguous.
        storage: bytes `(first, last + 1)` of the storage that the tensor is a view of.
        negative, conjugate: whether it is the negatives, or the conjugates, of what is stored.
    """

    shape: tuple[int, ...]
    dtype: str
    offset: int
    strides: tuple[int, ...] | None
    storage: tuple[int, int]
    negative: bool = False
    conjugate: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's elements."""
        return prod(self.shape) * item_size(self.dtype)

    @property
    def span(self) -> tuple[int, int]:
        """Bytes of the file that the tensor touches: `(first, last + 1)`."""
        if self.strides is None or self.nbytes == 0:
            return self.offset, self.offset + self.nbytes
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return self.offset, self.offset + (last + 1) * item_size(self.dtype)


class MappedFile:
    """A regular file, mapped into memory copy-on-write.

    Args:
        path: the file.

    Raises:
        CheckpointError: it is missing, empty, a folder or no regular file, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Not blocking, so that a named pipe is refused below and not waited for.
            descriptor = os.open(
                path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
            )
        except IsADirectoryError:
            raise CheckpointError(_folder_words(path)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CheckpointError(f"{path} cannot be opened: {reason}.") from None
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise CheckpointError(_folder_words(path))
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{path} is not a regular file: give the path of a checkpoint file.")
            if status.st_size == 0:
                raise CheckpointError(f"{path} is empty (0 bytes): the download or copy did not finish.")
            self.size = status.st_size
            self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError, OverflowError) as error:
            raise CheckpointError(f"{path} cannot be mapped into memory: {error}.") from None
        finally:
            os.close(descriptor)

    def bytes(self, start: int, stop: int) -> bytes:
        """A copy of the bytes from `start` up to `stop`."""
        return self._map[start:stop]

    def tensor(self, stored: StoredTensor, *, copy: bool) -> Tensor:
        """The tensor that lies at `stored`, contiguous: a view of the mapping where that is possible.

        Args:
            stored: where it lies; `stored.span` must be inside the file.
            copy: read it into memory of its own instead.
        """
        dtype = TORCH_DTYPES[stored.dtype]
        if stored.nbytes == 0:
            return torch.empty(stored.shape, dtype=dtype, device="cpu")
        if sys.byteorder != "little":
            raise CheckpointError(f"{self.path} is little-endian and this machine is not.")
        first, stop = stored.span
        if first % item_size(stored.dtype):  # an odd offset: no typed view is allowed there
            raw = torch.frombuffer(self._map, dtype=torch.uint8, count=stop - first, offset=first)
            flat, copy = raw.clone().view(dtype), False
        else:
            count = (stop - first) // item_size(stored.dtype)
            flat = torch.frombuffer(self._map, dtype=dtype, count=count, offset=first)
        if stored.strides is not None:
            flat = flat.as_strided(stored.shape, stored.strides).clone(memory_format=torch.contiguous_format)
            copy = False
        flat = torch.conj_physical(flat) if stored.conjugate else flat
        flat = torch.neg(flat) if stored.negative else flat
        copy = copy and not (stored.conjugate or stored.negative)
        return flat.clone().view(stored.shape) if copy else flat.view(stored.shape)


def _folder_words(path: Path) -> str:
    """What to say of a folder: name the checkpoint in it, if there is one."""
    try:
        inside = sorted(
            entry.name for entry in path.iterdir() if entry.suffix in (".pt", ".pth", ".safetensors")
        )
    except OSError:
        inside = []
    hint = (
        f"give the file itself, for example {path / inside[0]}"
        if inside
        else "give the path of a checkpoint file"
    )
    return f"{path} is a folder: {hint}."
