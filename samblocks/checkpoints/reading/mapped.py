"""A file in memory, privately: tensors are views of it, writing to them copies a page and never the file.

Or a file that is read and not mapped, for one that may change: then each tensor has memory of its own.
"""

from __future__ import annotations

import mmap as mmap_module
import os
import stat
import sys
import threading
import weakref
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from samblocks.checkpoints.reading.other_files import folder_words
from samblocks.errors import CheckpointError, cause
from samblocks.layouts.tensors import TORCH_DTYPES, item_size

_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
_PIECE: Final = 1 << 24


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


def overflows(shape: tuple[int, ...]) -> bool:
    """Whether torch could not even describe a tensor of this shape, be it empty."""
    return prod(size for size in shape if size) >= 2**60


class MappedFile:
    """A regular file, mapped into memory copy-on-write, or read.

    Args:
        path: the file.
        mmap: whether to map it. A mapped file that is cut ends the process; one that is read, with an error.

    Raises:
        CheckpointError: it is missing, empty, a folder or no regular file, or cannot be opened.
    """

    def __init__(self, path: Path, *, mmap: bool = True) -> None:
        self.path = path
        try:
            # Not blocking, so that a named pipe is refused below and not waited for.
            descriptor = os.open(
                path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | _BINARY
            )
        except IsADirectoryError:
            raise CheckpointError(f"{folder_words(path)}.") from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be opened: {cause(error)}.") from None
        self._close = weakref.finalize(self, os.close, descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise CheckpointError(f"{folder_words(path)}.")
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{path} is not a regular file: give the path of a checkpoint file.")
        if status.st_size == 0:
            raise CheckpointError(f"{path} is empty (0 bytes): the download or copy did not finish.")
        self.size = status.st_size
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._map: mmap_module.mmap | None = None
        if mmap:
            try:
                self._map = mmap_module.mmap(descriptor, 0, access=mmap_module.ACCESS_COPY)
            except (OSError, ValueError, OverflowError) as error:
                raise CheckpointError(f"{path} cannot be mapped into memory: {cause(error)}.") from None
            self._close()

    def bytes(self, start: int, stop: int) -> bytes:
        """A copy of the bytes from `start` up to `stop`, or the end of the file."""
        if self._map is not None:
            return self._map[start:stop]
        raw = bytearray(max(0, min(stop, self.size) - start))
        self._fill(memoryview(raw), start)
        return bytes(raw)

    def tensor(self, stored: StoredTensor, *, copy: bool) -> Tensor:
        """The tensor that lies at `stored`, contiguous: a view of the mapping where that is possible.

        Args:
            stored: where it lies; `stored.span` must be inside the file.
            copy: read it into memory of its own instead, as always where the file is not mapped.

        Raises:
            CheckpointError: the file is read and has become shorter since it was opened.
        """
        dtype = TORCH_DTYPES[stored.dtype]
        if stored.nbytes == 0:
            return torch.empty(stored.shape, dtype=dtype, device="cpu")
        if sys.byteorder != "little":
            raise CheckpointError(f"{self.path} is little-endian and this machine is not.")
        first, stop = stored.span
        if self._map is None:
            raw = torch.empty(stop - first, dtype=torch.uint8, device="cpu")
            self._fill(raw.numpy().data, first)
            flat, copy = raw.view(dtype), False
        elif first % item_size(stored.dtype):  # an odd offset: no typed view is allowed there
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

    def _fill(self, view: memoryview, start: int) -> None:
        """Read as many bytes as fit into `view`, from `start` on."""
        while view:
            try:
                count = self._read_some(view, start)
            except OSError as error:
                raise CheckpointError(f"{self.path} cannot be read: {cause(error)}.") from error
            if not count:
                raise CheckpointError(f"{self.path} became shorter while it was read.")
            view, start = view[count:], start + count

    def _read_some(self, view: memoryview, start: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [view], start)
        with self._lock:
            os.lseek(self._descriptor, start, os.SEEK_SET)
            raw = os.read(self._descriptor, min(len(view), _PIECE))
        view[: len(raw)] = raw
        return len(raw)
