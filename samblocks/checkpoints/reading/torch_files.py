"""Files of torch.save: today's zip archives and the older bare format, both read in place.

The result is the tree of values that was saved; in place of each tensor stands where its bytes lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Final

from samblocks.checkpoints.reading.mapped import MappedFile, StoredTensor, overflows
from samblocks.checkpoints.reading.other_files import globals_words, zip_words
from samblocks.checkpoints.reading.pickle_values import (
    SCALAR_DTYPES,
    STORAGE_DTYPES,
    Instance,
    PickleRefused,
    StorageRef,
    TensorRef,
    key_text,
)
from samblocks.checkpoints.reading.pickles import Unpickled, read_pickle
from samblocks.checkpoints.reading.zips import ZipRefused, read_records, record_names
from samblocks.errors import CheckpointError, printable
from samblocks.layouts.tensors import WEIGHT_DTYPES, item_size

LARGEST_PICKLE = 32 * 2**20
_OLD_MAGIC = 0x1950A86A20F9469CFC6C
_OLD_PROTOCOL = 1001
_LONGEST_LIST = 12
_COMPLEX = frozenset({"C64"})
_SIGNED = _COMPLEX | WEIGHT_DTYPES


@dataclass(frozen=True, slots=True)
class TorchFile:
    """What torch.save wrote: the tree of values and, for each tensor in it, its place in the file."""

    root: object
    locate: Callable[[TensorRef], StoredTensor]


def read_zip(file: MappedFile) -> TorchFile:
    """Read the archive that torch.save writes since PyTorch 1.6."""
    names = record_names(file)
    words = zip_words(file.path, names) if names or file.path.suffix == ".distcp" else None
    if words is not None:
        raise CheckpointError(f"{file.path} {words}.")
    try:
        records = read_records(file)
    except ZipRefused as refusal:
        raise CheckpointError(f"{file.path} is a zip archive that cannot be read: {refusal}.") from None
    folder = next(name for name in records if name.endswith("/data.pkl")).removesuffix("/data.pkl")
    order = records.get(f"{folder}/byteorder")
    if order is not None and file.bytes(order.start, min(order.stop, order.start + 8)) != b"little":
        raise CheckpointError(
            f"{file.path} was saved with another byte order: save it again on this machine."
        )
    data = records[f"{folder}/data.pkl"]
    pickled = _unpickle(file, data.start, data.stop)
    _refuse_globals(file, pickled)

    @cache
    def storage(reference: StorageRef) -> tuple[int, int]:
        record = records.get(f"{folder}/data/{reference.key}")
        if record is None:
            raise CheckpointError(
                f"{file.path} names a storage '{printable(reference.key, 40)}' that it does not hold."
            )
        return record.start, record.stop

    return TorchFile(pickled.root, lambda tensor: _stored(file, tensor, storage(tensor.storage)))


def read_old(file: MappedFile) -> TorchFile:
    """Read the bare format of PyTorch before 1.6: five pickles, then the storages one after the other."""
    position = 0
    head: list[Unpickled] = []
    for _ in range(5):
        part = _unpickle(file, position, min(file.size, position + LARGEST_PICKLE))
        position += part.end
        head.append(part)
        if len(head) == 1 and part.root != _OLD_MAGIC:
            _refuse_globals(file, part)
            raise CheckpointError(
                f"{file.path} is a plain pickle, not a file of torch.save: load it where you trust it and "
                "save its tensors with torch.save."
            )
    _, protocol, system, content, keys = head
    for part in head:
        _refuse_globals(file, part)
    order = system.root.get("little_endian", True) if isinstance(system.root, dict) else None
    if protocol.root != _OLD_PROTOCOL or order is not True or not isinstance(keys.root, list):
        raise CheckpointError(
            f"{file.path} is a torch.save file of an unknown kind: save it again with torch.save."
        )
    places = _old_storages(file, content.storages, keys.root, position)
    return TorchFile(content.root, lambda tensor: _stored(file, tensor, places[tensor.storage.key]))


def _old_storages(
    file: MappedFile, storages: dict[str, StorageRef], keys: list[object], position: int
) -> dict[str, tuple[int, int]]:
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages or key in places:
            raise CheckpointError(f"{file.path} is damaged: its list of storages does not fit its tensors.")
        count = int.from_bytes(file.bytes(position, position + 8), "little", signed=True)
        size = count * item_size(_element(file, storages[key].dtype))
        if count != storages[key].count or position + 8 + size > file.size:
            raise CheckpointError(f"{file.path} ends early: the download or copy did not finish.")
        places[key] = (position + 8, position + 8 + size)
        position += 8 + size
    if places.keys() != storages.keys():
        raise CheckpointError(f"{file.path} is damaged: tensors are left without a storage.")
    return places


def _unpickle(file: MappedFile, start: int, stop: int) -> Unpickled:
    if stop - start > LARGEST_PICKLE:
        size = (stop - start) / 2**20
        raise CheckpointError(
            f"{file.path} has a pickle of {size:.0f} MiB, larger than any checkpoint's: not read."
        )
    try:
        return read_pickle(file.bytes(start, stop))
    except PickleRefused as refusal:
        raise CheckpointError(f"{file.path} cannot be read: {refusal}.") from None


_NO_MODULE: Final = frozenset(
    {"os", "posix", "nt", "sys", "subprocess", "builtins", "importlib", "runpy", "shutil"}
)
"""Where no layer of a model comes from: a file that asks for something there gets no recipe."""


def _whole_module(file: MappedFile, pickled: Unpickled) -> str | None:
    """What to say of a file that holds a whole pickled model instead of its weights, else None."""
    root, refused = pickled.root, pickled.refused
    where = ""
    if isinstance(root, dict):
        keys = [key for key, value in root.items() if isinstance(key, str) and isinstance(value, Instance)]
        if not keys:
            return None
        root, where = root[keys[0]], f"[{key_text(keys[0])}]"
    layers = any(name.startswith("torch.nn.modules.") for name in refused)
    if (
        not layers
        or not isinstance(root, Instance)
        or any(name.split(".")[0] in _NO_MODULE for name in refused)
    ):
        return None
    others = [name for name in refused if not name.startswith("torch.") and name != root.name]
    asks = f" with {', '.join(printable(name) for name in others[:3])}" if others else ""
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return (
        f"is a whole pickled model, {printable(root.name)}{asks}{more}, refused without running any of it; where you "
        "trust it, two lines in the environment that wrote it save its weights: "
        f"model = torch.load({file.path.name!r}, weights_only=False){where}; "
        "torch.save(model.state_dict(), 'weights.pt')"
    )


def _refuse_globals(file: MappedFile, pickled: Unpickled) -> None:
    refused = pickled.refused
    if not refused:
        return
    if (words := globals_words(refused) or _whole_module(file, pickled)) is not None:
        raise CheckpointError(f"{file.path} {words}.")
    shown = ", ".join(printable(name) for name in refused[:_LONGEST_LIST])
    more = f" and {len(refused) - _LONGEST_LIST} more" if len(refused) > _LONGEST_LIST else ""
    raise CheckpointError(
        f"{file.path} is refused and nothing of it was run: beyond tensors, its pickle asks for {shown}{more}; "
        "where you trust it, load it with the code that wrote it and save model.state_dict() alone."
    )


def _element(file: MappedFile, storage: str) -> str:
    dtype = STORAGE_DTYPES.get(storage)
    if dtype is None:
        raise CheckpointError(f"{file.path} holds storages of an unknown type, {printable(storage)}.")
    return dtype


def _stored(file: MappedFile, tensor: TensorRef, place: tuple[int, int]) -> StoredTensor:
    """Check a tensor against its storage: every element must lie inside, and none may be repeated."""
    element = _element(file, tensor.storage.dtype)
    dtype = element if tensor.dtype is None else SCALAR_DTYPES.get(tensor.dtype, "")
    if not dtype:
        raise CheckpointError(
            f"{file.path} holds a tensor of an unknown dtype, {printable(tensor.dtype or '')}."
        )
    start, stop = place
    stop = min(stop, start + tensor.storage.count * item_size(element))
    if stop - start < tensor.storage.count * item_size(element):
        raise CheckpointError(f"{file.path} has a storage that is smaller than its tensors: it is damaged.")
    if (tensor.negative and dtype not in _SIGNED) or (tensor.conjugate and dtype not in _COMPLEX):
        raise CheckpointError(
            f"{file.path} holds a tensor of {dtype} with the bits of another dtype: it is damaged."
        )
    if overflows(tensor.shape):
        raise CheckpointError(f"{file.path} holds a tensor of an impossible shape: it is damaged.")
    size, count = item_size(dtype), prod(tensor.shape)
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if count and (last + 1) * size > stop - start:
        raise CheckpointError(f"{file.path} holds a tensor that reaches outside its storage: it is damaged.")
    if count * size > stop - start:
        raise CheckpointError(
            f"{file.path} holds a tensor that repeats its storage (an expanded one): save a copy."
        )
    offset = start + tensor.offset * size if count else start
    strides = None if _contiguous(tensor.shape, tensor.strides) else tensor.strides
    return StoredTensor(
        tensor.shape, dtype, offset, strides, (start, stop), tensor.negative, tensor.conjugate
    )


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
