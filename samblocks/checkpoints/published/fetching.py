"""Download a public checkpoint: a path is returned only to bytes that match the lock."""

from __future__ import annotations

import os
from pathlib import Path

from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.published import hub, url
from samblocks.checkpoints.published.lock import by_sha256, find
from samblocks.checkpoints.published.lock_format import Entry
from samblocks.checkpoints.published.progress import is_wanted
from samblocks.errors import CheckpointError

_TRUE = ("1", "on", "yes", "true")


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
    Size and sha256 are compared on every call; a file that does not match is deleted.

    Args:
        name: a variant, a file name, a repository of the Hub: what `samblocks.checkpoints.published.find` knows.
        source: who distributes the file, such as `"transformers"`; by default Meta's own.
        offline: ask nothing of the network; `HF_HUB_OFFLINE` does the same for every call.
        cache_dir: another folder than the two named above.
        progress: whether to show progress on standard error; by default if that is a terminal. Downloads from
            the Hub show huggingface_hub's bars, and those on a terminal alone.
        lock: another list than the one that came with samblocks.

    Returns:
        A path inside the cache; do not write to it.

    Raises:
        UnknownName: a `CheckpointError`: the name is not locked.
        CheckpointError: the file cannot be downloaded, or it is not the locked one.
        ValueError: nobody in the list is called `source`.
    """
    entry = find(name, source, lock=lock)
    no_network = bool(offline) or os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE
    try:
        return fetch_entry(entry, cache_dir, offline=no_network, show=is_wanted(progress))
    except CheckpointError as error:
        copies = [other for other in by_sha256(entry.sha256, lock=lock) if other.source != entry.source]
        if no_network or not copies:
            raise
        elsewhere = ", ".join(f"source {other.source!r} at {other.place}" for other in copies)
        raise CheckpointError(f"{error} (the same bytes: {elsewhere})") from None


def fetch_entry(entry: Entry, cache_dir: str | Path | None, *, offline: bool, show: bool) -> Path:
    """The path of a locked file; see `fetch`."""
    folder = None if cache_dir is None else Path(cache_dir)
    with boundary(entry.place, "fetched"):
        if entry.url is None:
            return hub.fetch(entry, folder, offline=offline, show=show)
        return url.fetch(entry, entry.url, folder or url.default_cache(), offline=offline, show=show)
