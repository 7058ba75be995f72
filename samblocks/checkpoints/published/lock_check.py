"""Ask the hosts whether what `checkpoints.lock` says of them still holds."""

from __future__ import annotations

import dataclasses
import enum
import tempfile
from collections.abc import Iterable, Iterator

from samblocks.checkpoints.published import http, hub
from samblocks.checkpoints.published.fetching import fetch_entry
from samblocks.checkpoints.published.lock_format import Entry, Unlocked
from samblocks.checkpoints.published.progress import is_wanted
from samblocks.errors import CheckpointError


class Verdict(enum.StrEnum):
    """What may be said of a listed file; FOUND is for one that is not locked yet."""

    HOLDS = "HOLDS"
    FOUND = "FOUND"
    DIFFERS = "DIFFERS"
    NOT_REACHED = "NOT REACHED"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one file: its name in the list, a verdict, and what the verdict rests on."""

    name: str
    verdict: Verdict
    detail: str


def survey(rows: Iterable[Entry | Unlocked], *, full: bool = False) -> Iterator[Finding]:
    """Check locked files and look up unlocked ones; a host that cannot be reached is not asked again.

    Args:
        rows: what to ask for.
        full: as for `check`.

    Yields:
        One finding per row, in order, as each is made.
    """
    silent: set[str] = set()
    for row in rows:
        place = http.host(row.url) if row.url is not None else "the Hub"
        if place in silent:
            yield Finding(row.name, Verdict.NOT_REACHED, f"{place} could not be reached a moment ago")
            continue
        finding = check(row, full=full) if isinstance(row, Entry) else look_up(row)
        if finding.verdict is Verdict.NOT_REACHED and (row.url or row.repository):
            silent.add(place)
        yield finding


def check(entry: Entry, *, full: bool = False) -> Finding:
    """Compare a locked file with what its host says of it now.

    The Hub says size and sha256; other hosts say the size alone.

    Args:
        entry: the locked file.
        full: whether to download it (and delete it again), so that its hash is compared wherever it lies.

    Returns:
        The finding; nothing is raised for a host that cannot be reached or has another file.
    """
    try:
        if full:
            with tempfile.TemporaryDirectory(prefix="samblocks-") as folder:
                fetch_entry(entry, folder, offline=False, show=is_wanted(None))
            return Finding(entry.name, Verdict.HOLDS, "downloaded: size and sha256 are the locked ones")
        if entry.url is not None:
            size, sha256 = http.content_length(entry.url), None
        else:
            size, sha256, _ = hub.facts(entry)
    except http.Unreachable as error:
        return Finding(entry.name, Verdict.NOT_REACHED, str(error))
    except CheckpointError as error:
        return Finding(entry.name, Verdict.DIFFERS, str(error))
    if size not in (None, entry.bytes):
        return Finding(entry.name, Verdict.DIFFERS, f"the host has {size} bytes, locked are {entry.bytes}")
    if sha256 not in (None, entry.sha256):
        return Finding(entry.name, Verdict.DIFFERS, f"the host has sha256 {sha256}, locked is {entry.sha256}")
    known = [word for word, value in (("size", size), ("sha256", sha256)) if value is not None]
    if not known:
        return Finding(
            entry.name, Verdict.NOT_REACHED, "the host says neither size nor hash; --full compares them"
        )
    return Finding(entry.name, Verdict.HOLDS, f"the host says the locked {' and '.join(known)}")


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
            size, sha256, revision = http.content_length(row.url), None, None
        else:
            return Finding(row.name, Verdict.NOT_REACHED, "no place is known")
    except http.Unreachable as error:
        return Finding(row.name, Verdict.NOT_REACHED, str(error))
    except CheckpointError as error:
        return Finding(row.name, Verdict.DIFFERS, str(error))
    found = {"revision": revision, "bytes": size, "sha256": sha256}
    known = [f"{key} = {value!r}".replace("'", '"') for key, value in found.items() if value is not None]
    return Finding(row.name, Verdict.FOUND, ", ".join(known) or "the host says nothing")
