"""Data sets as pictures with keys: folders, lists of files, tars as WebDataset has them, and parquet files.

Nothing is read but names until a picture is asked for, and each can be asked for on its own, in any order, by any
thread or process: whatever was done already is left out without reading it.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from samblocks.predict.picture_files import read_array, upright
from samblocks.predict.pictures import Pixels, as_rgb

SUFFIXES: Final = frozenset((".bmp", ".jpeg", ".jpg", ".npy", ".png", ".ppm", ".tif", ".tiff", ".webp"))
_MANY: Final = 1_000_000  # files that braces may stand for
_GROUPS_KEPT: Final = 2  # row groups of a parquet file, since neighbours lie in the same one


@dataclass(frozen=True)
class Item:
    """Where a picture is.

    Attributes:
        key: what it is called; no two pictures of a source have the same.
        file: the file that holds it.
        at: nothing, if it is the whole file; of a tar the first byte and how many there are; of a parquet file the
            row group and the row in it.
    """

    key: str
    file: str
    at: tuple[int, int] | None = None


class Source(Protocol):
    """A data set."""

    @property
    def items(self) -> Sequence[Item]:
        """All pictures, in an order that stays."""
        ...

    def read(self, item: Item) -> Pixels:
        """Read one of them: [H, W, 3], uint8 or float32.

        Raises:
            ValueError: it is no picture.
            OSError: its file cannot be read.
        """
        ...


def open_source(
    source: str | os.PathLike[str], *, column: str | None = None, key: str | None = None
) -> Source:
    """Find out what a data set is, and list its pictures.

    Args:
        source: a folder, all of whose pictures are taken, however deep; a file `.txt` with a path on each line,
            from its own folder on; a `.tar` or a `.parquet` file. Braces mean several files: `train-{000..012}.tar`.
        column: of a parquet file the column of pictures, as bytes or as {"bytes": ..., "path": ...}; by default the
            only one that is such.
        key: of a parquet file the column of keys; by default keys are the file's name and the row's number.

    Raises:
        ValueError: it is none of these, there is no picture in it, or two have the same key.
        OSError: it cannot be read.
    """
    paths = []
    for name in [source] if os.path.lexists(source) else _expanded(os.fspath(source)):
        paths.append(Path(name))
        if not paths[-1].exists():
            raise ValueError(
                f"there is nothing at {paths[-1]}: name a folder, a .txt list, a .tar or a .parquet file"
            )
    kinds = {"folder" if path.is_dir() else path.suffix.lower() for path in paths}
    kind = kinds.pop() if len(kinds) == 1 else ""
    if (column is not None or key is not None) and kind != ".parquet":
        raise ValueError("columns are for parquet files alone")
    if kind == ".parquet":
        found: Source = Parquet(paths, column, key)
    elif kind in ("folder", ".txt", ".tar"):
        items = {"folder": _of_folder, ".txt": _of_list, ".tar": _of_tar}[kind]
        found = Files([item for path in paths for item in items(path)])
    else:
        raise ValueError(
            f"{source} is no data set that is read: it must be a folder, a .txt list of files, a .tar that is not "
            "compressed, or a .parquet file; of several files all must be the same"
        )
    if not found.items:
        raise ValueError(f"{source} holds no picture: {', '.join(sorted(SUFFIXES))} are looked for")
    keys = set()
    for item in found.items:
        if item.key in keys:
            raise ValueError(f"two pictures of {source} are called {item.key}")
        keys.add(item.key)
    return found


class Files:
    """Pictures that are files, or parts of files."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items

    def read(self, item: Item) -> Pixels:
        """Read one of them."""
        if item.at is None:
            return decode(Path(item.file).read_bytes(), item.key)
        first, size = item.at
        with open(item.file, "rb") as file:
            file.seek(first)
            return decode(file.read(size), item.key)


class Parquet:
    """Pictures in rows of parquet files."""

    def __init__(self, paths: Sequence[Path], column: str | None, key: str | None) -> None:
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self.column = column or _column_of_pictures(_parquet().read_schema(paths[0]), paths[0])
        self.items = [item for path in paths for item in self._rows(path, key)]

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: neither locks nor what was read."""
        return {"items": self.items, "column": self.column}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {"_lock": threading.Lock(), "_groups": OrderedDict()}

    def read(self, item: Item) -> Pixels:
        """Read one of them."""
        assert item.at is not None
        group, row = item.at
        value = self._group(item.file, group)[row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            raise ValueError(f"{item.key} has no bytes of a picture")
        return decode(data, item.key)

    def _group(self, file: str, group: int) -> Any:
        with self._lock:
            if (file, group) in self._groups:
                self._groups.move_to_end((file, group))
            else:
                with _parquet().ParquetFile(file) as opened:
                    self._groups[file, group] = opened.read_row_group(group, [self.column])[self.column]
                while len(self._groups) > _GROUPS_KEPT:
                    self._groups.popitem(last=False)
            return self._groups[file, group]

    def _rows(self, path: Path, key: str | None) -> Iterator[Item]:
        with _parquet().ParquetFile(path) as file:
            for name in filter(None, (self.column, key)):
                if name not in file.schema_arrow.names:
                    raise ValueError(
                        f"{path} has no column {name}; it has {', '.join(file.schema_arrow.names)}"
                    )
            number = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                names = file.read_row_group(group, [key])[key].to_pylist() if key else [None] * rows
                for row, name in enumerate(names):
                    yield Item(str(name) if key else f"{path.name}#{number}", str(path), (group, row))
                    number += 1


def decode(data: bytes, what: str) -> Pixels:
    """The picture that a file's bytes are; `what` names it where it is none."""
    if data[:6] == b"\x93NUMPY":
        return as_rgb(read_array(io.BytesIO(data), what), argument=what)
    return as_rgb(upright(io.BytesIO(data), what), argument=what)


def _of_folder(folder: Path) -> Iterator[Item]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Item(path.relative_to(folder).as_posix(), str(path))


def _of_list(path: Path) -> Iterator[Item]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no list of paths, one on each line in UTF-8: {error.reason}") from None
    for line in dict.fromkeys(line.strip() for line in lines):
        if line:
            yield Item(line, str(path.parent / line))


def _of_tar(path: Path) -> Iterator[Item]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                    yield Item(f"{path.name}/{member.name}", str(path), (member.offset_data, member.size))
    except tarfile.ReadError as error:
        raise ValueError(f"{path} is no tar that can be read without unpacking it: {error}") from None


def _column_of_pictures(schema: Any, path: Path) -> str:
    """The only column of bytes, or of {"bytes": ...}."""
    types = import_module("pyarrow.types")

    def holds(kind: Any) -> bool:
        if types.is_struct(kind):
            kind = next(
                (kind.field(i).type for i in range(kind.num_fields) if kind.field(i).name == "bytes"), None
            )
        return kind is not None and (types.is_binary(kind) or types.is_large_binary(kind))

    found = [field.name for field in schema if holds(field.type)]
    if len(found) != 1:
        raise ValueError(
            f"{path} has {len(found)} columns that may be pictures; name one of {', '.join(schema.names)}"
        )
    return str(found[0])


def _parquet() -> Any:
    """The module `pyarrow.parquet`, or ImportError that says how to get it."""
    try:
        return import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ImportError("parquet files need PyArrow: pip install 'samblocks[data]'") from None


def _expanded(text: str) -> Iterable[str]:
    """Every name that braces stand for.

    >>> list(_expanded("{a,b}-{08..10}.tar"))
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    parts = re.split(r"\{([^{}]*(?:\.\.|,)[^{}]*)\}", text)
    choices = [_choices(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return map("".join, itertools.product(*choices))


def _choices(braced: str) -> list[str]:
    numbers = re.fullmatch(r"([0-9]{1,18})\.\.([0-9]{1,18})", braced)
    if numbers is None and "," in braced:
        return braced.split(",")
    first, last = (numbers[1], numbers[2]) if numbers else ("1", "0")
    if not 0 <= int(last) - int(first) < _MANY:
        raise ValueError(
            f"{{{braced}}} must be names with commas between them, or numbers from the first to the last, such as "
            f"{{000..012}}, at most {_MANY:,}"
        )
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
