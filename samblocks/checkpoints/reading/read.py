"""Open a checkpoint file: the tensors in it by name, each read only when it is asked for.

Nothing in the file is ever run, and its kind follows from its bytes, not from its name. The tensors are
views of a private memory map, so opening a file of any size takes milliseconds and no memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.reading.envelope import NoStateDict, find_state_dict
from samblocks.checkpoints.reading.mapped import MappedFile, StoredTensor
from samblocks.checkpoints.reading.safetensors_files import read_safetensors
from samblocks.checkpoints.reading.torch_files import TorchFile, read_old, read_zip
from samblocks.errors import CheckpointError, printable
from samblocks.layouts import TensorInfo


@dataclass(frozen=True, slots=True)
class Ignored:
    """What a file holds next to its state dict, for example an optimizer's state.

    Args:
        name: its key.
        tensors: how many tensors it holds.
        nbytes: their bytes.
    """

    name: str
    tensors: int
    nbytes: int


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint file.

    Args:
        path: the file.
        container: `"safetensors"`, `"torch"` (a zip archive) or `"torch (before 1.6)"`.
        envelope: the key, or dotted keys, under which the state dict lies; empty where the file is flat.
        metadata: safetensors' free texts.
        ignored: what the file holds next to the state dict.
        mmap: whether tensors are views of the mapped file.
    """

    path: Path
    container: str
    envelope: str
    metadata: Mapping[str, str]
    ignored: tuple[Ignored, ...]
    mmap: bool
    _file: MappedFile = field(repr=False)
    _places: Mapping[str, StoredTensor] = field(repr=False)

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return self._file.size

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Name to shape and dtype, in the file's order."""
        return MappingProxyType({name: TensorInfo(p.shape, p.dtype) for name, p in self._places.items()})

    @cached_property
    def stored_bytes(self) -> int:
        """Bytes of the file that the state dict's tensors touch; shared ones count once."""
        total, end = 0, 0
        for first, stop in sorted(place.span for place in self._places.values()):
            total += max(0, stop - max(first, end))
            end = max(end, stop)
        return total

    @cached_property
    def shared(self) -> frozenset[str]:
        """Names of tensors that have bytes in common with another one."""
        names: set[str] = set()
        end, last = 0, ""
        for (first, stop), name in sorted((p.span, name) for name, p in self._places.items() if p.nbytes):
            if first < end:
                names |= {name, last}
            if stop > end:
                end, last = stop, name
        return frozenset(names)

    def nbytes(self, name: str) -> int:
        """Bytes of the tensor `name`."""
        return self._places[name].nbytes

    def get(self, name: str) -> Tensor:
        """The tensor `name`, contiguous and writable; writing to it never changes the file.

        Raises:
            KeyError: the file holds no such tensor.
            CheckpointError: there is no memory for it, or the file has become shorter.
        """
        place = self._places[name]
        with boundary(self.path, "read"):
            return self._file.tensor(place, copy=name in self.shared)


def read(path: str | os.PathLike[str], *, mmap: bool = True, envelope: str | None = None) -> Checkpoint:
    """Open a `.pt`, `.pth` or `.safetensors` file, whatever its name is.

    Args:
        path: the file.
        mmap: tensors are views of the file, mapped privately; otherwise each is read into memory of its own.
        envelope: the key of the table that is meant where a file holds several, with dots between those of nested
            ones; or what the names that are meant begin with.

    Raises:
        CheckpointError: the file is damaged, is something else, or asks for more than tensors.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"model": {"weight": torch.ones(2, 3)}}, f"{folder}/tiny.pt")
    ...     file = read(f"{folder}/tiny.pt")
    >>> file.envelope, file.tensors["weight"].shape, file.get("weight").sum()
    ('model', (2, 3), tensor(6.))
    """
    with boundary(path, "read"):
        return _read(MappedFile(Path(path), mmap=mmap), mmap, envelope)


def _read(file: MappedFile, mmap: bool, envelope: str | None) -> Checkpoint:
    """Tell the kind of a file by its first bytes, and read its tables."""
    head = file.bytes(0, 512)
    if head.startswith(b"PK\x03\x04"):
        return _from_torch(file, read_zip(file), "torch", mmap, envelope)
    if len(head) > 8 and head[8:9] == b"{":
        places, metadata = read_safetensors(file)
        if not places:
            raise CheckpointError(f"{file.path} holds no tensor.")
        _check_names(file.path, places)
        places, ignored = _beginning(file.path, places, envelope)
        return Checkpoint(
            file.path, "safetensors", "", MappingProxyType(metadata), ignored, mmap, file, places
        )
    if head.startswith(b"\x80") or _TEXT_PICKLE.match(head):
        return _from_torch(file, read_old(file), "torch (before 1.6)", mmap, envelope)
    raise CheckpointError(f"{file.path} is no checkpoint: {_kind(head)}.")


def _beginning(
    path: Path, places: Mapping[str, StoredTensor], envelope: str | None
) -> tuple[dict[str, StoredTensor], tuple[Ignored, ...]]:
    """The tensors whose names begin with `envelope`, and what the others are."""
    if envelope is None:
        return dict(places), ()
    start = f"{envelope.rstrip('.')}."
    chosen = {name: place for name, place in places.items() if name.startswith(start)}
    if not chosen:
        some = ", ".join(list(places)[:3])
        raise CheckpointError(f"{path} has no names that begin with {start}, only such as {some}.")
    rest = [place.nbytes for name, place in places.items() if name not in chosen]
    return chosen, (Ignored(f"what does not begin with {start}", len(rest), sum(rest)),) if rest else ()


def _from_torch(
    file: MappedFile, content: TorchFile, container: str, mmap: bool, envelope: str | None
) -> Checkpoint:
    try:
        found = find_state_dict(content.root, lambda tensor: content.locate(tensor).nbytes, envelope)
    except NoStateDict as error:
        raise CheckpointError(f"{file.path} is a file of torch.save, but {error}.") from None
    _check_names(file.path, found.tensors)
    places = {name: content.locate(tensor) for name, tensor in found.tensors.items()}
    ignored = tuple(Ignored(unused.name, unused.tensors, unused.nbytes) for unused in found.unused)
    return Checkpoint(
        file.path, container, ".".join(found.path), MappingProxyType({}), ignored, mmap, file, places
    )


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Names go into messages and reports, so what would act on a terminal is no name."""
    for name in names:
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise CheckpointError(
                f"{path} has a tensor whose name is too long or no text, {printable(name)}."
            )


_LONGEST_NAME = 500

_TEXT_PICKLE = re.compile(rb"\([dlt]p?\d*\n|\(?[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
"""How a pickle of protocol 0 begins: a container, or the name of a global."""

_KINDS = (
    (b"version https://git-lfs", "it is a pointer of git-lfs, the weights themselves were not fetched"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it first"),
    (b"BZh", "it is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "it is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstandard: unpack it first"),
    (b"7z\xbc\xaf", "it is a 7z archive: unpack it first"),
    (b"Rar!", "it is a rar archive: unpack it first"),
    (b"\x89HDF", "it is an HDF5 file"),
    (b"\x93NUMPY", "it is a numpy array"),
    (b"GGUF", "it is a GGUF file"),
    (b"\x08", "it looks like an ONNX model"),
    (b"\x89PNG", "it is a picture"),
    (b"\xff\xd8\xff", "it is a picture"),
    (b"PK", "it is a damaged or empty zip archive"),
)


def _kind(head: bytes) -> str:
    """What the first bytes say about a file that is none of ours."""
    if b"<html" in head.lower() or head.lstrip()[:9].lower() == b"<!doctype" or head.lstrip()[:5] == b"<?xml":
        return "it is a web page; the download was answered by a login, an error page or a proxy"
    if head[257:262] == b"ustar":
        return "it is a tar archive: unpack it first (what PyTorch 0.1 saved is not read)"
    for magic, words in _KINDS:
        if head.startswith(magic):
            return words
    return "its first bytes are those of neither torch.save nor safetensors"
