"""The header of a safetensors file, checked in full: 8 bytes of length, JSON, then tensors without gaps."""

from __future__ import annotations

import json
from collections import Counter
from math import prod
from typing import Any, Final

from samblocks.checkpoints.reading.mapped import MappedFile, StoredTensor, overflows
from samblocks.errors import CheckpointError
from samblocks.layouts.tensors import TORCH_DTYPES, item_size

LARGEST_HEADER: Final = 2 * 2**20
"""The largest public header of these models has about 100 kB; the format would allow 100 MB."""


def read_safetensors(file: MappedFile) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors' places by name, and the metadata.

    Raises:
        CheckpointError: the header is damaged, or does not fit the file to the byte.
    """
    length = int.from_bytes(file.bytes(0, 8), "little")
    if length > LARGEST_HEADER:
        raise _damaged(file, f"its header claims {length:,} bytes, more than any checkpoint's")
    if file.size < 8 + length:
        raise _damaged(file, "it ends inside its header: the download or copy did not finish")
    try:
        header = json.loads(file.bytes(8, 8 + length).decode(), object_pairs_hook=_no_duplicates)
    except _DuplicateKey as error:
        raise _damaged(file, f"its header has the key {str(error)[:80]!r} twice") from None
    except (ValueError, RecursionError):
        raise _damaged(file, "its header is no JSON") from None
    if not isinstance(header, dict):
        raise _damaged(file, "its header is no table of tensors")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _damaged(file, "its metadata is no table of texts")
    places = {name: _place(file, name, entry, 8 + length) for name, entry in header.items()}
    _check_cover(file, places, 8 + length)
    return places, metadata


class _DuplicateKey(Exception):
    """A key that stands twice in one JSON object."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _DuplicateKey(next(key for key in counts if counts[key] > 1))
    return made


def _place(file: MappedFile, name: str, entry: object, start: int) -> StoredTensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(stop)], **rest} if (
            not rest
        ):
            pass
        case _:
            raise _damaged(file, f"its entry for {name[:80]!r} is malformed")
    if dtype not in TORCH_DTYPES:
        raise _damaged(file, f"{name[:80]!r} has the dtype {dtype[:20]!r}, which is none of safetensors")
    if len(shape) > 16 or not all(type(n) is int and 0 <= n < 2**62 for n in (*shape, first, stop)):
        raise _damaged(file, f"{name[:80]!r} has a malformed shape or offset")
    if overflows(tuple(shape)):
        raise _damaged(file, f"{name[:80]!r} has an impossible shape")
    if stop - first != prod(shape) * item_size(dtype):
        raise _damaged(file, f"{name[:80]!r} has {stop - first:,} bytes, not those of its shape and dtype")
    place = (start + first, start + stop)
    return StoredTensor(tuple(shape), dtype, place[0], None, place)


def _check_cover(file: MappedFile, places: dict[str, StoredTensor], start: int) -> None:
    """The tensors must follow one another without a gap or an overlap, and end with the file."""
    position = start
    for name, place in sorted(places.items(), key=lambda item: item[1].span):
        first, stop = place.span
        if first != position:
            words = "overlaps another tensor" if first < position else "leaves a gap before it"
            raise _damaged(file, f"{name[:80]!r} {words}")
        position = stop
    if position > file.size:
        raise _damaged(file, "it ends before its last tensor: the download or copy did not finish")
    if position < file.size:
        raise _damaged(file, f"it has {file.size - position:,} bytes after its last tensor")


def _damaged(file: MappedFile, words: str) -> CheckpointError:
    return CheckpointError(f"{file.path} is no valid safetensors file: {words}.")
