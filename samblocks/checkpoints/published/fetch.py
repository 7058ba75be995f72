"""Bring a public checkpoint to this machine: a path is returned only to bytes that match the lock."""

from __future__ import annotations

import os
from pathlib import Path

from samblocks.checkpoints.published import hub
from samblocks.checkpoints.published.file_lock import one_process
from samblocks.checkpoints.published.lock import by_sha256, find
from samblocks.checkpoints.published.lock_format import Entry
from samblocks.checkpoints.published.progress import say, wanted
from samblocks.checkpoints.published.transfer import digest, download
from samblocks.errors import CheckpointError

TRUE = ("1", "on", "yes", "true")


def fetch(
    name: str,
    *,
    source: str | None = None,
    offline: bool | None = None,
    cache_dir: str | Path | None = None,
    progress: bool | None = None,
    lock: str | Path | None = None,
) -> Path:
    """The path of a public checkpoint, downloaded if the cache does not hold it.

    Files on the Hub go through huggingface_hub: its cache, `HF_HOME`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` hold.
    Other files lie under `SAMBLOCKS_CACHE`, else `$XDG_CACHE_HOME/samblocks`, else `~/.cache/samblocks`.
    Length and sha256 are compared on every call; a file that does not match is deleted.

    Args:
        name: a variant, a file name, a repository of the Hub: what `samblocks.checkpoints.published.lock.find` knows.
        source: who distributes the file, such as `"transformers"`; by default Meta's own.
        offline: ask nothing of the network; `HF_HUB_OFFLINE` does the same for every call.
        cache_dir: another folder than the two named above.
        progress: whether to show progress on standard error; by default if that is a terminal.
        lock: another list than the one that came with samblocks.

    Returns:
        A path inside the cache; do not write to it.

    Raises:
        CheckpointError: the name is not locked, the file cannot be had, or it is not the locked one.
        ValueError: nobody in the list is called `source`.
    """
    entry = find(name, source, lock=lock)
    show = wanted(progress)
    stay = bool(offline) or os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUE
    folder = None if cache_dir is None else Path(cache_dir)
    try:
        if entry.url is None:
            return _from_hub(entry, folder, stay, show)
        return _from_url(entry, entry.url, folder or default_cache(), stay, show)
    except CheckpointError as error:
        copies = [other for other in by_sha256(entry.sha256, lock=lock) if other.source != entry.source]
        if stay or not copies:
            raise
        elsewhere = ", ".join(f"source {other.source!r} at {other.place}" for other in copies)
        raise CheckpointError(f"{error} (the same bytes: {elsewhere})") from None


def default_cache() -> Path:
    """The folder for files that do not come from the Hub."""
    if chosen := os.environ.get("SAMBLOCKS_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "samblocks"


def is_right(path: Path, entry: Entry) -> bool:
    """Whether a file has the locked length and hash."""
    return path.stat().st_size == entry.bytes and digest(path) == entry.sha256


def _from_url(entry: Entry, url: str, cache: Path, stay: bool, show: bool) -> Path:
    target = cache / entry.sha256[:16] / entry.file
    try:
        if not target.is_file():
            if stay:
                raise _absent(entry, f"the cache {cache}")
        elif is_right(target, entry):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with one_process(
            target.with_name(target.name + ".lock"),
            waiting=lambda: say(f"another process is busy with {entry.file}; waiting for it", show),
        ):
            if target.is_file():
                if is_right(target, entry):
                    return target
                say(f"the cached {entry.file} is damaged and is deleted", show)
                target.unlink()
            if stay:
                raise _absent(entry, f"the cache {cache}")
            download(url, target, size=entry.bytes, sha256=entry.sha256, show=show)
            return target
    except OSError as error:
        raise CheckpointError(
            f"the cache {cache} cannot be used: {error.strerror or error}; SAMBLOCKS_CACHE may name another"
        ) from None


def _from_hub(entry: Entry, cache: Path | None, stay: bool, show: bool) -> Path:
    found = hub.cached(entry, cache)
    try:
        if found is not None:
            if is_right(found, entry):
                return found
            say(f"the cached {entry.file} is damaged and is deleted", show)
            hub.discard(found)
        if stay:
            raise _absent(entry, f"the Hub's cache{f' {cache}' if cache else ''}")
        found = hub.bring(entry, cache, show)
        if not is_right(found, entry):
            got = digest(found)
            hub.discard(found)
            raise CheckpointError(
                f"the Hub sent a wrong file: {entry.place} has sha256 {got}, locked is {entry.sha256}; "
                "it was deleted"
            )
        return found
    except OSError as error:
        raise CheckpointError(
            f"the Hub's cache cannot be used: {error.strerror or error}; HF_HOME may name another"
        ) from None


def _absent(entry: Entry, where: str) -> CheckpointError:
    return CheckpointError(f"{entry.name} is not in {where}, and nothing is downloaded offline")
