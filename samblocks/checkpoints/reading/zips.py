"""The records of a zip archive that stores them uncompressed, as torch.save does: where each one lies.

Only the directory at the end of the file and the few bytes before each record are read, whatever the file's
size. Records that are compressed, encrypted, overlap or reach outside the file are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from samblocks.checkpoints.reading.mapped import MappedFile
from samblocks.errors import printable

MOST_RECORDS: Final = 100_000
_END: Final = struct.Struct("<4s4H2IH")
_END_64_LOCATOR: Final = struct.Struct("<4sIQI")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_LONGEST_COMMENT: Final = 65535
_ENCRYPTED: Final = 0x1


class ZipRefused(Exception):
    """The archive is damaged, or holds what no checkpoint holds."""


@dataclass(frozen=True, slots=True)
class Record:
    """One file of the archive: bytes from `start` up to `stop` of the whole."""

    name: str
    start: int
    stop: int


def read_records(file: MappedFile) -> dict[str, Record]:
    """The archive's records by name.

    Raises:
        ZipRefused: the archive cannot be used as it is.
    """
    try:
        records = _read_directory(file)
    except (struct.error, UnicodeDecodeError, IndexError):
        raise ZipRefused("its zip directory is damaged") from None
    end = 0
    for record in sorted(records.values(), key=lambda record: (record.start, record.stop)):
        if record.start < end:
            raise ZipRefused(f"its record '{printable(record.name)}' overlaps another one")
        end = record.stop
    return records


def record_names(file: MappedFile) -> list[str]:
    """What the archive's directory names, whether it can be read from here or not; nothing where it is damaged."""
    try:
        return [entry.name for entry in _entries(file)]
    except (ZipRefused, struct.error, UnicodeDecodeError, IndexError):
        return []


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    flags: int
    method: int
    packed: int
    unpacked: int
    local: int


def _read_directory(file: MappedFile) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for entry in _entries(file):
        if entry.flags & _ENCRYPTED:
            raise ZipRefused(f"its record '{printable(entry.name)}' is encrypted")
        if entry.method != 0 or entry.packed != entry.unpacked:
            raise ZipRefused(
                f"its record '{printable(entry.name)}' is compressed: unpack it and save it with torch.save"
            )
        if entry.name in records:
            raise ZipRefused(f"it holds the record '{printable(entry.name)}' twice")
        records[entry.name] = _locate(file, entry.name, entry.local, entry.packed)
    return records


def _entries(file: MappedFile) -> Iterator[_Entry]:
    """What the archive's directory says, entry by entry."""
    count, size, offset = _find_directory(file)
    if count > MOST_RECORDS or size > MOST_RECORDS * 256:
        raise ZipRefused(f"its zip directory claims {count:,} records")
    if offset + size > file.size:
        raise ZipRefused("its zip directory reaches outside the file")
    directory = file.bytes(offset, offset + size)
    position = 0
    for _ in range(count):
        (signature, _, _, flags, method, _, _, _, packed, unpacked, name_size, extra_size, comment_size) = (
            _ENTRY.unpack_from(directory, position)[:13]
        )
        local = _ENTRY.unpack_from(directory, position)[16]
        if signature != b"PK\x01\x02":
            raise ZipRefused("its zip directory is damaged")
        position += _ENTRY.size
        name = directory[position : position + name_size].decode()
        extra = directory[position + name_size : position + name_size + extra_size]
        position += name_size + extra_size + comment_size
        packed, unpacked, local = _widen(extra, unpacked, packed, local)
        yield _Entry(name, flags, method, packed, unpacked, local)


def _find_directory(file: MappedFile) -> tuple[int, int, int]:
    """Number of records, bytes and offset of the directory."""
    tail_start = max(0, file.size - _END.size - _LONGEST_COMMENT)
    tail = file.bytes(tail_start, file.size)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise ZipRefused("its end is missing: the download or copy did not finish")
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, found)
    if found >= _END_64_LOCATOR.size:
        signature, _, end_64, _ = _END_64_LOCATOR.unpack_from(tail, found - _END_64_LOCATOR.size)
        if signature == b"PK\x06\x07":
            signature, *_, count, size, offset = _END_64.unpack(file.bytes(end_64, end_64 + _END_64.size))
            if signature != b"PK\x06\x06":
                raise ZipRefused("its zip directory is damaged")
    return count, size, offset


def _widen(extra: bytes, unpacked: int, packed: int, local: int) -> tuple[int, int, int]:
    """Replace the 32-bit fields that are full by the 64-bit ones of the extra field."""
    position = 0
    while position + 4 <= len(extra):
        tag, size = struct.unpack_from("<2H", extra, position)
        if tag == 1:
            wide = iter(struct.unpack_from(f"<{size // 8}Q", extra, position + 4))
            values = [
                next(wide, value) if value == 0xFFFFFFFF else value for value in (unpacked, packed, local)
            ]
            return values[1], values[0], values[2]
        position += 4 + size
    return packed, unpacked, local


def _locate(file: MappedFile, name: str, local: int, size: int) -> Record:
    """The record's bytes, behind its local header."""
    header = _LOCAL.unpack(file.bytes(local, local + _LOCAL.size))
    name_size, extra_size = header[9], header[10]
    named = file.bytes(local + _LOCAL.size, local + _LOCAL.size + name_size)
    if header[0] != b"PK\x03\x04" or named != name.encode():
        raise ZipRefused(f"its record '{printable(name)}' is not where its directory says")
    start = local + _LOCAL.size + name_size + extra_size
    if start + size > file.size:
        raise ZipRefused(f"its record '{printable(name)}' reaches outside the file")
    return Record(name, start, start + size)
