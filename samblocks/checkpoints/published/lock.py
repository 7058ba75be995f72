"""The list of public checkpoints: where each lies, how long it is, and its sha256.

The list is `checkpoints.lock`, a TOML file at the top of a checkout; the wheel carries it next to this module.
It has two kinds of tables: `[[checkpoint]]` is locked, that is, place, size and hash are confirmed, and
`[[unlocked]]` says what is not yet known of a file. Only locked files are ever downloaded.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from samblocks.checkpoints.published.lock_format import Entry, Known, Lock, Unlocked, parse
from samblocks.errors import CheckpointError
from samblocks.files import sha256

_HERE = Path(__file__).resolve()


class UnknownName(CheckpointError):
    """A name that means no locked file, or more than one."""


def default_path() -> Path:
    """Where the list is: what `SAMBLOCKS_LOCK` names, else next to this module, else at the top of the checkout."""
    if chosen := os.environ.get("SAMBLOCKS_LOCK"):
        return Path(chosen)
    packaged = _HERE.with_name("checkpoints.lock")
    return packaged if packaged.is_file() else _HERE.parents[3] / "checkpoints.lock"


def read_lock(path: str | Path | None = None) -> Lock:
    """Read and validate the list.

    Args:
        path: the file to read; by default the one that came with samblocks, or what `SAMBLOCKS_LOCK` names.

    Returns:
        The locked and the unlocked files, in the order of the list.

    Raises:
        CheckpointError: the list is missing, is not TOML, or a table has a wrong, missing or unknown field.

    >>> lock = read_lock()
    >>> lock.entries[0].name, lock.entries[0].bytes
    ('sam_vit_b', 375042383)
    """
    chosen = Path(path) if path is not None else default_path()
    try:
        stamp = chosen.stat().st_mtime_ns
    except OSError as error:
        raise CheckpointError(
            f"the list of checkpoints {chosen} cannot be read: {error.strerror}; reinstall samblocks, "
            "or let SAMBLOCKS_LOCK name a list"
        ) from None
    return parse(chosen, stamp)


def entries(lock: str | Path | None = None) -> tuple[Entry, ...]:
    """All locked files, in the order of the list.

    Args:
        lock: another list than the one that came with samblocks.

    Returns:
        One entry per locked file.

    Raises:
        CheckpointError: the list cannot be read.
    """
    return read_lock(lock).entries


def find(name: str, source: str | None = None, *, lock: str | Path | None = None) -> Entry:
    """The locked file that a name means.

    Known are a variant's name, the files' own names with or without their ending, a repository of the Hub,
    and the names in the list. Where several files fit, the first of the list is meant: Meta's own.

    Args:
        name: what to look for; upper and lower case are the same.
        source: who distributes the file, such as `"transformers"` or `"ultralytics"`; by default any.
        lock: another list than the one that came with samblocks.

    Returns:
        The entry.

    Raises:
        UnknownName: a `CheckpointError`: nothing fits, files of several variants fit, or what fits is not locked.
        CheckpointError: the list cannot be read.
        ValueError: nobody in the list is called `source`.

    >>> find("sam2.1_hiera_tiny").url
    'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt'
    >>> find("sam2.1_hiera_tiny", source="transformers").repository
    'facebook/sam2.1-hiera-tiny'
    >>> find("sam2.1_t.pt").name
    'ultralytics/sam2.1_t.pt'
    """
    listed = read_lock(lock)
    rows: tuple[Entry | Unlocked, ...] = (*listed.entries, *listed.unlocked)
    sources = list(dict.fromkeys(row.source for row in rows))
    if source is not None and source not in sources:
        raise ValueError(f"source must be one of {', '.join(sources)}, not {source!r}")
    fitting = [row for row in rows if name.casefold() in row.aliases]
    chosen = [row for row in fitting if source in (None, row.source)]
    locked = [row for row in chosen if isinstance(row, Entry)]
    meant = locked or chosen
    if len({row.variant for row in meant}) > 1:
        raise UnknownName(f"{name!r} fits several files; name one of {', '.join(row.name for row in meant)}")
    if locked:
        return locked[0]
    if chosen:
        row = chosen[0]
        raise UnknownName(
            f"{row.name} is known but not locked, because nobody has confirmed its "
            f"{' and '.join(row.unknown)}: get it yourself and give its path"
        )
    if fitting:
        others = ", ".join(dict.fromkeys(row.source for row in fitting))
        raise UnknownName(f"{name!r} is not listed from source {source!r}, but from {others}")
    raise UnknownName(f"no checkpoint is called {name!r}{_nearest(name, rows)}; see `samblocks list`")


def by_size(size: int, *, lock: str | Path | None = None) -> tuple[Entry, ...]:
    """The locked files of exactly this many bytes; none, one, or copies of one file at several places.

    Args:
        size: in bytes.
        lock: another list than the one that came with samblocks.

    Returns:
        The entries, in the order of the list.

    Raises:
        CheckpointError: the list cannot be read.
    """
    return tuple(entry for entry in entries(lock) if entry.bytes == size)


def by_sha256(digest: str, *, lock: str | Path | None = None) -> tuple[Entry, ...]:
    """The locked files of this sha256; none, one, or copies of one file at several places.

    Args:
        digest: 64 hexadecimal digits, in upper or lower case.
        lock: another list than the one that came with samblocks.

    Returns:
        The entries, in the order of the list.

    Raises:
        CheckpointError: the list cannot be read.
    """
    return tuple(entry for entry in entries(lock) if entry.sha256 == digest.lower())


def stated_image_size(path: Path, size: int) -> int | None:
    """The image size that the list states of a file, by its hash; read are only files of a listed length.

    Args:
        path: the file.
        size: its length in bytes.

    Returns:
        The side of the images in pixels, None where the list says nothing of this file, or cannot be read.
    """
    try:
        listed = read_lock()
        rows = [row for row in (*listed.entries, *listed.unlocked) if row.image_size and row.bytes == size]
        digest = sha256(path) if any(row.sha256 for row in rows) else None
    except (CheckpointError, OSError):
        return None
    return next((row.image_size for row in rows if row.sha256 is not None and row.sha256 == digest), None)


def _nearest(name: str, rows: Iterable[Known]) -> str:
    known = sorted({alias for row in rows for alias in row.aliases})
    close = difflib.get_close_matches(name.casefold(), known, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
