"""The format of `checkpoints.lock`: its two kinds of tables, and the rules that each must obey."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from samblocks.errors import CheckpointError, cause
from samblocks.files import sha256
from samblocks.variants import LAYOUTS

SCHEMA = 1
LARGEST = 2**24  # bytes of a list
LOOPBACK = ("127.0.0.1", "::1", "localhost")
GENERIC = "model.safetensors"  # the same file name in every repository, so it names nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a public file, be it locked or not. Fields that are not known are None."""

    name: str
    variant: str
    layout: str
    source: str
    licence: str
    repository: str | None = None
    revision: str | None = None
    filename: str | None = None
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    tensors: int | None = None
    image_size: int | None = None
    """What its tensors do not tell: the side of the images that it was trained for, where it is not the variant's."""

    @property
    def file(self) -> str:
        """The file's own name, without folders."""
        return PurePosixPath(self.filename or urlsplit(self.url or "").path).name

    @property
    def place(self) -> str:
        """Where the file lies, for people: a URL, or `repository@revision/filename` on the Hub."""
        if self.url:
            return self.url
        if not self.repository:
            return "no known place"
        revision = f"@{self.revision[:12]}" if self.revision else ""
        return f"{self.repository}{revision}/{self.filename}"

    @property
    def aliases(self) -> frozenset[str]:
        """Every name under which the file is found, in lower case."""
        names = {self.name, self.variant}
        if self.repository:
            names |= {self.repository, f"{self.repository}/{self.filename}"}
        if self.file and self.file != GENERIC:
            names |= {self.file, PurePosixPath(self.file).stem}
        return frozenset(name.casefold() for name in names)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The fields that are not known and without which a file cannot be locked."""
        place = ("revision", "filename") if self.repository else ("url",)
        return tuple(field for field in (*place, "bytes", "sha256") if getattr(self, field) is None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry(Known):
    """A locked file: place, size and hash are confirmed, and `evidence` says by whom."""

    bytes: int
    sha256: str
    tensors: int
    evidence: str

    def mismatch(self, path: Path) -> str | None:
        """How a file differs from the locked one in size or sha256; None if it does not."""
        if (size := path.stat().st_size) != self.bytes:
            return f"has {size} bytes, locked are {self.bytes}"
        if (digest := sha256(path)) != self.sha256:
            return f"has sha256 {digest}, locked is {self.sha256}"
        return None

    def not_cached(self, where: str) -> CheckpointError:
        """The error for a file that must be downloaded, but may not be."""
        return CheckpointError(f"{self.name} is not in {where}, and nothing is downloaded offline")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unlocked(Known):
    """A file that cannot be locked for want of what `missing` names."""

    missing: tuple[str, ...]
    note: str


@dataclasses.dataclass(frozen=True)
class Lock:
    """A parsed list: the file it was read from, what is locked, and what is not."""

    path: Path
    entries: tuple[Entry, ...]
    unlocked: tuple[Unlocked, ...]


@lru_cache(maxsize=8)
def parse(path: Path, stamp: int) -> Lock:
    """Read and validate a list.

    Args:
        path: the TOML file.
        stamp: its time of change in nanoseconds, so that a changed file is read again.

    Returns:
        The locked and the unlocked files, in the order of the list.

    Raises:
        CheckpointError: the file is not TOML, or a table has a wrong, missing or unknown field.
    """
    try:
        data = tomllib.loads(_text(path))
    except CheckpointError:
        raise
    except Exception as error:  # not TOML, or nested without end
        raise CheckpointError(f"the list of checkpoints {path} cannot be read: {cause(error)}") from error
    if data.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path} has schema {data.get('schema')!r}; this samblocks reads schema {SCHEMA}"
        )
    if extra := sorted(set(data) - {"schema", "checkpoint", "unlocked"}):
        raise CheckpointError(f"{path} has unknown tables: {', '.join(extra)}")
    entries = tuple(_row(path, Entry, row) for row in data.get("checkpoint", []))
    unlocked = tuple(_row(path, Unlocked, row) for row in data.get("unlocked", []))
    seen: set[str] = set()
    for row in (*entries, *unlocked):
        if row.name in seen:
            raise CheckpointError(f"{path} names {row.name!r} twice")
        seen.add(row.name)
    return Lock(path, entries, unlocked)


def _text(path: Path) -> str:
    """What a list says; a pipe is not waited for."""
    with open(
        path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    ) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CheckpointError(f"the list of checkpoints {path} is not a regular file")
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise CheckpointError(f"the list of checkpoints {path} has more than {LARGEST:,} bytes")
    return raw.decode("utf-8")


_Kind = TypeVar("_Kind", bound=Known)


def _row(path: Path, kind: type[_Kind], row: object) -> _Kind:
    label = row.get("name", "a table without a name") if isinstance(row, dict) else repr(row)
    try:
        if not isinstance(row, dict):
            raise ValueError("is not a table")
        _check_types(kind, row)
        values: dict[str, Any] = {k: tuple(v) if k == "missing" else v for k, v in row.items()}
        made = kind(**values)
        _check_values(made)
    except ValueError as error:
        raise CheckpointError(f"{path}: {label}: {error}") from None
    return made


def _check_types(kind: type[Known], row: Mapping[str, Any]) -> None:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if extra := sorted(set(row) - set(fields)):
        raise ValueError(f"has the unknown field {extra[0]!r}")
    for name, field in fields.items():
        if name not in row:
            if field.default is dataclasses.MISSING:
                raise ValueError(f"has no {name!r}")
        elif name in ("bytes", "tensors", "image_size"):
            if type(row[name]) is not int or row[name] <= 0:
                raise ValueError(f"{name} must be a positive integer, not {row[name]!r}")
        elif name == "missing":
            if not isinstance(row[name], list) or not all(isinstance(item, str) for item in row[name]):
                raise ValueError(f"missing must be a list of field names, not {row[name]!r}")
        elif not isinstance(row[name], str) or not row[name] or not row[name].isprintable():
            raise ValueError(f"{name} must be a printable string that is not empty, not {row[name]!r}")


def _check_values(row: Known) -> None:
    if row.layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {row.layout!r}")
    if row.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", row.sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits in lower case, not {row.sha256!r}")
    if row.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", row.revision):
        raise ValueError(f"revision must be a whole commit, 40 hexadecimal digits, not {row.revision!r}")
    if row.filename is not None and (
        row.filename.startswith("/") or ".." in PurePosixPath(row.filename).parts
    ):
        raise ValueError(f"filename must stay inside the repository, not {row.filename!r}")
    if row.url is not None:
        _check_url(row.url)
        if row.repository is not None:
            raise ValueError("has both a url and a repository")
    if isinstance(row, Unlocked):
        if not row.missing or set(row.missing) != set(row.unknown):
            raise ValueError(f"missing must be what it lacks, {list(row.unknown)}, not {list(row.missing)}")
    elif row.unknown:
        raise ValueError(f"is locked without {' and '.join(row.unknown)}")


def is_secure(url: str) -> bool:
    """Whether a URL is of https, or of http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _check_url(url: str) -> None:
    if not is_secure(url):
        raise ValueError(f"url must begin with https:// (http:// only on this machine), not {url!r}")
    if not PurePosixPath(urlsplit(url).path).name:
        raise ValueError(f"url must end with a file name, not {url!r}")
