"""The Hub: one file of a pinned revision through huggingface_hub, into the cache that other tools share."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from samblocks.checkpoints.published import http
from samblocks.checkpoints.published.lock_format import Entry, Known
from samblocks.errors import CheckpointError

_Result = TypeVar("_Result")

# What requests (until huggingface_hub 0.x) and httpx (since) call a connection that is refused, cut or silent.
BROKEN = ("Connect", "Timeout", "Protocol", "ChunkedEncoding", "IncompleteRead", "ReadError")


def endpoint() -> str | None:
    """The mirror that `HF_ENDPOINT` names, also if it was set after huggingface_hub was imported."""
    return os.environ.get("HF_ENDPOINT") or None


def cached(entry: Entry, cache_dir: Path | None) -> Path | None:
    """Where the Hub's cache holds the file, or None; nothing is asked of the network.

    Args:
        entry: a locked file on the Hub.
        cache_dir: another cache than huggingface_hub's own.

    Returns:
        The path inside the cache, not yet compared with the lock.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(_repository(entry), _filename(entry), cache_dir, entry.revision)
    return Path(found) if isinstance(found, str) else None


def facts(row: Known, revision: str | None = None) -> tuple[int | None, str | None, str | None]:
    """What the Hub says of a file: its size in bytes, its sha256, and the commit it was found at.

    Args:
        row: a file on the Hub, locked or not.
        revision: the commit to look at if the row names none; by default the newest.

    Returns:
        Size, sha256 and commit; None for what the Hub does not say (small files have no sha256).

    Raises:
        CheckpointError: the Hub cannot be reached, or does not have the file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(_repository(row), _filename(row), revision=row.revision or revision, endpoint=endpoint())
    found = _patiently(row, lambda: get_hf_file_metadata(url))
    if found.commit_hash is None:
        raise http.Unreachable(
            f"{url} was answered by something that is not a Hub: a proxy or a login page stands in between, "
            "or HF_ENDPOINT is wrong"
        )
    etag = found.etag or ""
    is_sha256 = len(etag) == 64 and set(etag) <= set("0123456789abcdef")
    return found.size, etag if is_sha256 else None, found.commit_hash


def bring(entry: Entry, cache_dir: Path | None, show: bool) -> Path:
    """Download a file into the Hub's cache, resuming what an earlier try left; its bytes are yet to be checked.

    Args:
        entry: a locked file on the Hub.
        cache_dir: another cache than huggingface_hub's own.
        show: whether to show progress on standard error.

    Returns:
        The path inside the cache.

    Raises:
        CheckpointError: the Hub has another file, or none, or cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    size, sha256, _ = facts(entry)
    if size not in (None, entry.bytes):
        raise CheckpointError(f"{entry.place} has {size} bytes on the Hub, locked are {entry.bytes}")
    if sha256 not in (None, entry.sha256):
        raise CheckpointError(f"{entry.place} has sha256 {sha256} on the Hub, locked is {entry.sha256}")
    with _bars(show):
        found = _patiently(
            entry,
            lambda: hf_hub_download(
                _repository(entry),
                _filename(entry),
                revision=entry.revision,
                cache_dir=cache_dir,
                endpoint=endpoint(),
                library_name="samblocks",
            ),
        )
    return Path(found)


def discard(path: Path) -> None:
    """Delete a file from the Hub's cache: the name in the snapshot and the bytes it leads to."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob.parent.name == "blobs":
        blob.unlink(missing_ok=True)


def _patiently(row: Known, ask: Callable[[], _Result]) -> _Result:
    """Ask until there is an answer that will stay the same; huggingface_hub's errors become one sentence."""

    def attempt() -> _Result:
        try:
            return ask()
        except Exception as error:
            # huggingface_hub raises errors of its own, those of its HTTP library (which changed from one major
            # version to the next) and OSErrors; whichever it is, the caller needs one sentence.
            status = getattr(getattr(error, "response", None), "status_code", None)
            problem = f"{row.place} could not be had from the Hub: {_sentence(error, status)}"
            causes = list(_causes(error))
            if status is not None:
                passing, unreachable = status in http.PASSING, status in http.REFUSED
            else:
                unreachable = any(_is_connection(cause) for cause in causes)
                passing = unreachable and not any(http.is_unknown_host(cause) for cause in causes)
            if passing:
                raise http.Passing(problem) from None
            raise (http.Unreachable if unreachable else CheckpointError)(problem) from None

    return http.patiently(attempt)


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _is_connection(error: BaseException) -> bool:
    name = type(error).__name__
    return isinstance(error, (ConnectionError, TimeoutError)) or any(word in name for word in BROKEN)


def _sentence(error: Exception, status: int | None) -> str:
    name = type(error).__name__
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    if isinstance(error, PermissionError):
        return f"{error.filename} cannot be written (HF_HOME may name another folder)"
    if status in http.REFUSED:
        return f"access was refused with status {status}; a login, a token or a proxy may stand in between"
    if status is not None:
        return f"status {status} ({name})"
    lines = str(error).strip().splitlines()
    return f"{lines[0] if lines else 'no reason given'} ({name})"


@contextmanager
def _bars(show: bool) -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if show or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _repository(row: Known) -> str:
    assert row.repository is not None
    return row.repository


def _filename(row: Known) -> str:
    assert row.filename is not None
    return row.filename
