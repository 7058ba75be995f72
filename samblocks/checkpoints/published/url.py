"""Files at a plain URL, of known size and hash, in a cache of our own.

Bytes gather in `FILE.partial`, where a later try resumes, and take the file's name only once their sha256 is right.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from pathlib import Path
from typing import IO

from samblocks.checkpoints.published import http, progress
from samblocks.checkpoints.published.lock_format import Entry
from samblocks.errors import CheckpointError
from samblocks.locks import file_lock

PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml")


def default_cache() -> Path:
    """The folder for files that do not come from the Hub."""
    if chosen := os.environ.get("SAMBLOCKS_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "samblocks"


def fetch(entry: Entry, url: str, cache: Path, *, offline: bool, show: bool) -> Path:
    """The path of a locked file at a URL, downloaded if the cache does not hold it.

    Args:
        entry: the file.
        url: where it lies.
        cache: the folder of the cache, made if it is missing.
        offline: ask nothing of the network.
        show: whether to show progress on standard error.

    Returns:
        The path inside the cache, to a file of the locked size and sha256.

    Raises:
        CheckpointError: the host has another file, or none, or (`Unreachable`) cannot be asked; the cache cannot
            be used, or the disk is full; or the file is not cached and `offline` is set.
    """
    target = cache / entry.sha256[:16] / entry.file
    try:
        for path in (
            target,
            target.with_name(target.name + ".partial"),
            target.with_name(target.name + ".lock"),
        ):
            _check_plain(path, links=path == target)
        if not target.is_file():
            if offline:
                raise entry.not_cached(f"the cache {cache}")
        elif entry.mismatch(target) is None:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(
            target.with_name(target.name + ".lock"),
            # Said without a terminal too: there is no end in sight otherwise.
            waiting=lambda: progress.log(f"another process downloads {entry.file}; waiting for it", True),
        ):
            if target.is_file():
                if entry.mismatch(target) is None:
                    return target
                progress.log(f"the cached {entry.file} is damaged and is deleted", show)
                target.unlink()
            if offline:
                raise entry.not_cached(f"the cache {cache}")
            _download(entry, url, target, show)
            return target
    except OSError as error:
        raise CheckpointError(
            f"the cache {cache} cannot be used: {error.strerror or error}; SAMBLOCKS_CACHE may name another"
        ) from None


def _download(entry: Entry, url: str, target: Path, show: bool) -> None:
    """Download the file to `target`, or leave nothing there."""
    partial = target.with_name(target.name + ".partial")
    resumed = _complete(url, partial, entry.bytes, show)
    mismatch = entry.mismatch(partial)
    if mismatch is not None and resumed:
        progress.log(f"{target.name}: the resumed download is damaged, beginning anew", show)
        partial.unlink()
        _complete(url, partial, entry.bytes, show)
        mismatch = entry.mismatch(partial)
    if mismatch is not None:
        partial.unlink()
        raise CheckpointError(f"{http.host(url)} sent a wrong file: {url} {mismatch}; it was deleted")
    partial.replace(target)  # the hash is compared again on every call, so a power cut can only cost time


def _complete(url: str, partial: Path, size: int, show: bool) -> bool:
    """Try until `partial` has all its bytes; return whether they came in more than one piece."""
    have = _length(partial)
    if have > size:
        partial.unlink()
        have = 0
    resumed = have > 0
    most, pauses = have, iter(http.PAUSES)
    while have < size:
        wait = 0.0
        try:
            _append(url, partial, have, size, show)
            problem = "the connection ended early"
        except http.TransientError as error:
            if isinstance(error, http.CannotResume):
                partial.unlink(missing_ok=True)
            problem, wait = str(error), error.wait
        have = _length(partial)
        if have == size:
            break
        resumed = resumed or have > 0
        if have >= most + max(1, size // 100):
            most, pauses = have, iter(http.PAUSES)  # as long as bytes arrive, it is worth trying
        pause = next(pauses, None)
        if pause is None:
            saved = (
                f" ({have} of {size} bytes are saved, and the next run resumes from there)" if have else ""
            )
            raise http.Unreachable(
                f"{url} could not be downloaded after {len(http.PAUSES) + 1} tries: {problem}{saved}"
            )
        progress.log(f"{problem}; trying again", show)
        time.sleep(max(pause, wait))
    return resumed


def _append(url: str, partial: Path, have: int, size: int, show: bool) -> None:
    """Append to `partial` the body of one response, once its headers were found to be right."""
    with http.open_url(url, have) as response:
        begin, whole = http.content_range(response, url, have)
        if whole not in (None, size):
            raise _wrong_size(url, str(whole), size)
        _check_room(partial, size - begin)
        with (
            _open(partial, "ab" if begin else "wb") as file,
            progress.bar(partial.name.removesuffix(".partial"), size, show) as shown,
        ):
            done = begin
            for chunk in http.read_chunks(response):
                if not done and chunk[:200].lstrip().lower().startswith(PAGE_STARTS):
                    raise http.web_page(url, response.final_url)
                done += len(chunk)
                if done > size:
                    file.truncate(0)
                    raise _wrong_size(url, f"more than {size}", size)
                _write(file, chunk, partial)
                shown(done)


def _check_plain(path: Path, *, links: bool) -> None:
    """Refuse a pipe, a device or a link that stands where a file of the cache should be, before any work."""
    if not os.path.lexists(path):
        return
    mode = (path.stat() if links else path.lstat()).st_mode
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"the cache has something else than a file at {path}: remove it")


def _length(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _open(partial: Path, mode: str) -> IO[bytes]:
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    # Without a buffer, so that a full disk is noticed at the write that it hits.
    return open(partial, mode, buffering=0, opener=opener)


def _write(file: IO[bytes], chunk: bytes, partial: Path) -> None:
    view = memoryview(chunk)
    while view:
        try:
            view = view[file.write(view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CheckpointError(f"the disk is full: {partial} cannot grow ({error.strerror})") from None
            raise


def _check_room(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if free < needed:
        raise CheckpointError(
            f"the disk is full: {partial.parent} has {free / 1e6:.1f} MB free and the download needs "
            f"{needed / 1e6:.1f} MB; SAMBLOCKS_CACHE may name another folder"
        )


def _wrong_size(url: str, found: str, size: int) -> CheckpointError:
    return CheckpointError(f"{http.host(url)} has another file: {url} has {found} bytes, locked are {size}")
