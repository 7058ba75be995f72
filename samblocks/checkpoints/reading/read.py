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
from samblocks.checkpoints.reading.other_files import file_words, index_beside, is_one_of_several
from samblocks.checkpoints.reading.safetensors_files import read_safetensors
from samblocks.checkpoints.reading.shards import meant, read_index
from samblocks.checkpoints.reading.torch_files import TorchFile, read_old, read_zip
from samblocks.errors import CheckpointError, counted, printable
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
        container: `"safetensors"`, `"torch"` (a zip archive) or `"torch (before 1.6)"`, with the number of shards
            where there are several.
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
    _files: tuple[MappedFile, ...] = field(repr=False)
    _places: Mapping[str, StoredTensor] = field(repr=False)
    _shards: Mapping[str, int] = field(repr=False, default_factory=dict)

    @property
    def file_bytes(self) -> int:
        """Size of the whole file, or of all shards together."""
        return sum(file.size for file in self._files)

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Name to shape and dtype, in the file's order."""
        return MappingProxyType({name: TensorInfo(p.shape, p.dtype) for name, p in self._places.items()})

    @cached_property
    def stored_bytes(self) -> int:
        """Bytes of the file that the state dict's tensors touch; shared ones count once."""
        total, end = 0, (0, 0)
        for shard, (first, stop) in sorted(
            (self._shard(name), place.span) for name, place in self._places.items()
        ):
            total += max(0, stop - max(first, end[1] if end[0] == shard else 0))
            end = max(end, (shard, stop))
        return total

    @cached_property
    def shared(self) -> frozenset[str]:
        """Names of tensors that have bytes in common with another one."""
        names: set[str] = set()
        end, last = (0, 0), ""
        for shard, (first, stop), name in sorted(
            (self._shard(name), place.span, name) for name, place in self._places.items() if place.nbytes
        ):
            if (shard, first) < end:
                names |= {name, last}
            if (shard, stop) > end:
                end, last = (shard, stop), name
        return frozenset(names)

    def _shard(self, name: str) -> int:
        return self._shards.get(name, 0)

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
            return self._files[self._shard(name)].tensor(place, copy=name in self.shared)


def read(path: str | os.PathLike[str], *, mmap: bool = True, envelope: str | None = None) -> Checkpoint:
    """Open a `.pt`, `.pth` or `.safetensors` file, whatever its name is.

    Args:
        path: the file; or the index of one in several shards, or a folder of transformers with either.
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
        place = meant(Path(path))
        if place.name.endswith(".index.json"):
            return _from_shards(place, mmap, envelope)
        if is_one_of_several(place.name) and (index := index_beside(place)) is not None:
            raise CheckpointError(f"{place} is one shard of a checkpoint of several: give its index {index}.")
        return _read(MappedFile(place, mmap=mmap), mmap, envelope)


def _from_shards(path: Path, mmap: bool, envelope: str | None) -> Checkpoint:
    """All shards that an index names, as one checkpoint."""
    weights = read_index(path)
    names = list(dict.fromkeys(weights.values()))
    absent = [name for name in names if not os.path.lexists(path.parent / name)]
    if absent:
        raise CheckpointError(
            f"{path} names {counted(len(names), 'shard')}, and {counted(len(absent), 'file')} of them missing here, "
            f"such as {printable(absent[0])}: get all of them, and put them beside the index."
        )
    parts = [_read(MappedFile(path.parent / name, mmap=mmap), mmap, None) for name in names]
    held = [frozenset(part.tensors) for part in parts]
    numbers = {name: number for number, name in enumerate(names)}
    lost = [name for name, shard in weights.items() if name not in held[numbers[shard]]]
    if lost:
        raise CheckpointError(
            f"{path} and its shards do not fit together: the shards that it names for them lack "
            f"{counted(len(lost), 'tensor')}, such as {printable(lost[0])}."
        )
    places = {name: parts[numbers[shard]]._places[name] for name, shard in weights.items()}
    places, ignored = _beginning(path, places, envelope)
    container = f"{parts[0].container} ({counted(len(parts), 'shard')})"
    files = tuple(part._files[0] for part in parts)
    shards = {name: numbers[weights[name]] for name in places}
    return Checkpoint(path, container, "", parts[0].metadata, ignored, mmap, files, places, shards)


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
            file.path, "safetensors", "", MappingProxyType(metadata), ignored, mmap, (file,), places
        )
    if head.startswith(b"\x80") or _TEXT_PICKLE.match(head):
        return _from_torch(file, read_old(file), "torch (before 1.6)", mmap, envelope)
    raise CheckpointError(f"{file.path} is no checkpoint: {file_words(head)}.")


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
        file.path, container, ".".join(found.path), MappingProxyType({}), ignored, mmap, (file,), places
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
