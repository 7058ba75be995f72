"""Plain HTTPS: bring one file of known size and hash from a URL, resuming what an earlier try left.

Bytes gather in `FILE.partial` and take the file's name only once their sha256 is right.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import IO

from samblocks.checkpoints.published import http, progress
from samblocks.errors import CheckpointError

PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml")


def digest(path: Path) -> str:
    """The sha256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, target: Path, *, size: int, sha256: str, show: bool) -> None:
    """Bring the file at `url` to `target`, or leave nothing there.

    Args:
        url: where the file lies.
        target: where it shall lie, in a folder that exists and can be written.
        size: its length in bytes, compared before anything is fetched.
        sha256: its hash, compared before it takes its name.
        show: whether to show progress on standard error.

    Raises:
        CheckpointError: the host has another file, or none, or cannot be reached; or the disk is full.
    """
    partial = target.with_name(target.name + ".partial")
    resumed = _complete(url, partial, size, show)
    found = digest(partial)
    if found != sha256 and resumed:
        progress.say(f"{target.name}: the resumed download is damaged, beginning anew", show)
        partial.unlink()
        _complete(url, partial, size, show)
        found = digest(partial)
    if found != sha256:
        partial.unlink()
        raise CheckpointError(
            f"{http.host(url)} sent a wrong file: {url} has sha256 {found}, locked is {sha256}; it was deleted"
        )
    os.replace(partial, target)


def _complete(url: str, partial: Path, size: int, show: bool) -> bool:
    """Try until `partial` has all its bytes; say whether they came in more than one piece."""
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
        except http.Passing as passing:
            if isinstance(passing, http.CannotResume):
                partial.unlink(missing_ok=True)
            problem, wait = str(passing), passing.wait
        have = _length(partial)
        if have == size:
            break
        resumed = resumed or have > 0
        if have >= most + max(1, size // 100):
            most, pauses = have, iter(http.PAUSES)  # as long as there is headway, there is hope
        pause = next(pauses, None)
        if pause is None:
            kept = (
                f" ({have} of {size} bytes are kept, so that the next run goes on from there)" if have else ""
            )
            raise http.Unreachable(
                f"{url} could not be downloaded after {len(http.PAUSES) + 1} tries: {problem}{kept}"
            )
        progress.say(f"{problem}; trying again", show)
        time.sleep(max(pause, wait))
    return resumed


def _append(url: str, partial: Path, have: int, size: int, show: bool) -> None:
    """Add to `partial` what one answer brings, once its headers were found to be right."""
    with http.ask(url, have) as answer:
        begin, whole = http.extent(answer, url, have)
        if whole not in (None, size):
            raise _wrong_size(url, str(whole), size)
        _check_room(partial, size - begin)
        with (
            _open(partial, "ab" if begin else "wb") as file,
            progress.bar(partial.name.removesuffix(".partial"), size, show) as shown,
        ):
            done = begin
            for chunk in http.chunks(answer):
                if not done and chunk[:200].lstrip().lower().startswith(PAGE_STARTS):
                    raise http.web_page(url, answer.geturl())
                done += len(chunk)
                if done > size:
                    file.truncate(0)
                    raise _wrong_size(url, f"more than {size}", size)
                _write(file, chunk, partial)
                shown(done)


def _length(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _open(partial: Path, mode: str) -> IO[bytes]:
    return partial.open(mode, buffering=0)  # so that a full disk is noticed at the write that it hits


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
