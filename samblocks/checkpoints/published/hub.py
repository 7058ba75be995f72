"""Files on the Hub: huggingface_hub downloads them into the cache that other tools share; we compare the bytes.

Resuming, retries, progress bars and locks between processes are huggingface_hub's own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path

from samblocks.checkpoints.published import http
from samblocks.checkpoints.published.lock_format import Entry, Known, is_secure
from samblocks.checkpoints.published.progress import log
from samblocks.errors import CheckpointError


def fetch(entry: Entry, cache_dir: Path | None, *, offline: bool, show: bool) -> Path:
    """The path of a locked file on the Hub, downloaded if the cache does not hold it.

    Args:
        entry: the file.
        cache_dir: another cache than huggingface_hub's own.
        offline: ask nothing of the network.
        show: whether to show progress on standard error.

    Returns:
        The path inside the cache, to a file of the locked size and sha256.

    Raises:
        CheckpointError: the Hub has another file, or none, or (`Unreachable`) cannot be asked; the cache cannot
            be used; or the file is not cached and `offline` is set.
    """
    try:
        found = _cached(entry, cache_dir)
        if found is not None:
            if entry.mismatch(found) is None:
                return found
            log(f"the cached {entry.file} is damaged and is deleted", show)
            _delete(found)
        if offline:
            raise entry.not_cached(f"the Hub's cache{f' {cache_dir}' if cache_dir else ''}")
        found = _download(entry, cache_dir, show)
        if (mismatch := entry.mismatch(found)) is not None:
            _delete(found)
            raise CheckpointError(f"the Hub sent a wrong file: {entry.place} {mismatch}; it was deleted")
        return found
    except OSError as error:
        raise CheckpointError(
            f"the Hub's cache cannot be used: {error.strerror or error}; HF_HOME may name another"
        ) from None


def facts(row: Known) -> tuple[int | None, str | None, str | None]:
    """What the Hub says of a file: its size in bytes, its sha256, and the commit it was found at.

    Args:
        row: a file on the Hub, locked or not; without a revision, the newest is asked for.

    Returns:
        Size, sha256 and commit; None for what the Hub does not say (small files have no sha256).

    Raises:
        CheckpointError: the Hub does not have the file, or (`Unreachable`) cannot be asked.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    repository, filename = _place(row)
    url = hf_hub_url(repository, filename, revision=row.revision, endpoint=_endpoint())
    with _one_sentence(row):
        found = get_hf_file_metadata(url)
    if found.commit_hash is None:
        raise http.Unreachable(
            f"{url} was answered by something that is not a Hub: a proxy or a login page stands in between, "
            "or HF_ENDPOINT is wrong"
        )
    etag = found.etag or ""
    is_sha256 = len(etag) == 64 and set(etag) <= set("0123456789abcdef")
    return found.size, etag if is_sha256 else None, found.commit_hash


def _cached(entry: Entry, cache_dir: Path | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(*_place(entry), cache_dir, entry.revision)
    return Path(found) if isinstance(found, str) else None


def _download(entry: Entry, cache_dir: Path | None, show: bool) -> Path:
    from huggingface_hub import hf_hub_download

    endpoint = _endpoint()
    with _one_sentence(entry), _silent_unless(show):
        return Path(
            hf_hub_download(
                *_place(entry),
                revision=entry.revision,
                cache_dir=cache_dir,
                endpoint=endpoint,
                library_name="samblocks",
            )
        )


def _delete(path: Path) -> None:
    """Delete a file from the Hub's cache: the name in the snapshot and the bytes it leads to."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob.parent.name == "blobs":
        blob.unlink(missing_ok=True)


def _endpoint() -> str | None:
    """The mirror that `HF_ENDPOINT` names, also if it was set after huggingface_hub was imported."""
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint and not is_secure(endpoint):
        raise CheckpointError(
            f"HF_ENDPOINT must begin with https:// (http:// only on this machine), not {endpoint!r}"
        )
    return endpoint or None


@contextmanager
def _one_sentence(row: Known) -> Iterator[None]:
    """Turn any error of huggingface_hub into one of ours, of one sentence."""
    try:
        yield
    except Exception as error:
        # huggingface_hub raises errors of its own, those of its HTTP library (which changed from one major
        # version to the next) and OSErrors, one as the cause of another.
        causes = list(_causes(error))
        responses = (getattr(cause, "response", None) for cause in causes)
        status = next((response.status_code for response in responses if response is not None), None)
        kind: type[CheckpointError] = http.Unreachable
        if status in http.REFUSED:
            reason = (
                f"access was refused with status {status}; a login, a token or a proxy may stand in between"
            )
        elif status is not None:
            reason = f"status {status}"
            if status not in http.TRANSIENT:
                kind = CheckpointError
        else:
            root = causes[-1]
            reason = http.reason(root)
            if isinstance(root, OSError) and root.errno in (errno.ENOSPC, errno.EDQUOT):
                reason, kind = "the disk is full", CheckpointError
            elif isinstance(root, OSError) and root.filename:
                reason, kind = f"{root.filename}: {reason}; HF_HOME may name another folder", CheckpointError
        raise kind(f"{row.place} could not be downloaded from the Hub: {reason}") from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


@contextmanager
def _silent_unless(show: bool) -> Iterator[None]:
    """Let huggingface_hub show its progress bars and speak of its retries, or neither."""
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if show:
        yield
        return
    verbosity, had_bars = logging.get_verbosity(), not are_progress_bars_disabled()
    logging.set_verbosity(ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            enable_progress_bars()


def _place(row: Known) -> tuple[str, str]:
    """Repository and file name, which every row has that lies on the Hub."""
    assert row.repository is not None
    assert row.filename is not None
    return row.repository, row.filename
