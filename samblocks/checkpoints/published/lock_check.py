"""Ask the hosts whether what `checkpoints.lock` says of them still holds."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from samblocks.checkpoints.published import http, hub
from samblocks.checkpoints.published.fetch import fetch
from samblocks.checkpoints.published.lock_format import Entry, Unlocked
from samblocks.errors import CheckpointError

HOLDS = "HOLDS"
FOUND = "FOUND"
DIFFERS = "DIFFERS"
NOT_REACHED = "NOT REACHED"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one file: its name in the list, a verdict, and what the verdict rests on."""

    name: str
    verdict: str
    detail: str


def survey(
    rows: Iterable[Entry | Unlocked], *, full: bool = False, lock: str | Path | None = None
) -> Iterator[Finding]:
    """Check locked files and look up unlocked ones; a host that cannot be reached is not asked again.

    Args:
        rows: what to ask for.
        full: as for `check`.
        lock: as for `check`.

    Yields:
        One finding per row, in order, as each is made.
    """
    silent: set[str] = set()
    for row in rows:
        place = http.host(row.url) if row.url is not None else "the Hub"
        if place in silent:
            yield Finding(row.name, NOT_REACHED, f"{place} could not be reached a moment ago")
            continue
        finding = check(row, full=full, lock=lock) if isinstance(row, Entry) else look_up(row)
        if finding.verdict == NOT_REACHED and (row.url or row.repository):
            silent.add(place)
        yield finding


def check(entry: Entry, *, full: bool = False, lock: str | Path | None = None) -> Finding:
    """Compare a locked file with what its host says of it now.

    The Hub tells size and sha256; other hosts tell the size alone.

    Args:
        entry: the locked file.
        full: whether to download it (and delete it again), so that its hash is compared wherever it lies.
        lock: the list that the entry is from, if it is not the one that came with samblocks.

    Returns:
        The finding; nothing is raised for a host that cannot be reached or has another file.
    """
    try:
        if full:
            with tempfile.TemporaryDirectory(prefix="samblocks-") as folder:
                fetch(entry.name, source=entry.source, cache_dir=folder, progress=None, lock=lock)
            return Finding(entry.name, HOLDS, "downloaded: size and sha256 are the locked ones")
        if entry.url is not None:
            size, sha256 = http.length(entry.url), None
        else:
            size, sha256, _ = hub.facts(entry)
    except http.Unreachable as error:
        return Finding(entry.name, NOT_REACHED, str(error))
    except CheckpointError as error:
        return Finding(entry.name, DIFFERS, str(error))
    if size not in (None, entry.bytes):
        return Finding(entry.name, DIFFERS, f"the host has {size} bytes, locked are {entry.bytes}")
    if sha256 not in (None, entry.sha256):
        return Finding(entry.name, DIFFERS, f"the host has sha256 {sha256}, locked is {entry.sha256}")
    told = [word for word, value in (("size", size), ("sha256", sha256)) if value is not None]
    if not told:
        return Finding(entry.name, NOT_REACHED, "the host tells neither size nor hash; --full compares them")
    return Finding(entry.name, HOLDS, f"the host tells the locked {' and '.join(told)}")


def look_up(row: Unlocked) -> Finding:
    """Ask a host for what a list lacks of a file, so that somebody can confirm and lock it.

    Args:
        row: a file that is not locked.

    Returns:
        The finding; its detail holds the values in the list's own form.
    """
    try:
        if row.repository is not None:
            size, sha256, revision = hub.facts(row)
        elif row.url is not None:
            size, sha256, revision = http.length(row.url), None, None
        else:
            return Finding(row.name, NOT_REACHED, "no place is known")
    except http.Unreachable as error:
        return Finding(row.name, NOT_REACHED, str(error))
    except CheckpointError as error:
        return Finding(row.name, DIFFERS, str(error))
    found = {"revision": revision, "bytes": size, "sha256": sha256}
    told = [f"{key} = {value!r}".replace("'", '"') for key, value in found.items() if value is not None]
    return Finding(row.name, FOUND, ", ".join(told) or "the host tells nothing")
