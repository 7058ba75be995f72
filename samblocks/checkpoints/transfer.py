"""Plain HTTPS: bring one file of known size and hash from a URL, resuming what an earlier try left.

Bytes gather in `FILE.partial` and take the file's name only once their sha256 is right.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from samblocks.checkpoints import progress
from samblocks.errors import CheckpointError

TIMEOUT = 30.0  # seconds without a byte
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further try that follows one without headway
LONGEST_WAIT = 30.0  # seconds that a host may ask for
CHUNK = 1 << 20
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be different next time
WEB_PAGE = (b"<!doctype html", b"<html", b"<?xml")


class _Passing(Exception):
    """Something that may go well next time; `wait` is how many seconds the host asks for."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait


class _StaysSecure(urllib.request.HTTPRedirectHandler):
    """Follows redirects, ten at most, but never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise CheckpointError(f"{_host(req.full_url)} redirects from https to {newurl}: not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_StaysSecure)


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
            f"{_host(url)} sent a wrong file: {url} has sha256 {found}, locked is {sha256}; it was deleted"
        )
    os.replace(partial, target)


def _complete(url: str, partial: Path, size: int, show: bool) -> bool:
    """Try until `partial` has all its bytes; say whether they came in more than one piece."""
    have = partial.stat().st_size if partial.exists() else 0
    if have > size:
        partial.unlink()
        have = 0
    resumed = have > 0
    most, pauses = have, iter(PAUSES)
    while have < size:
        wait = 0.0
        try:
            _stream(url, partial, have, size, show)
            problem = "the connection ended early"
        except _Passing as passing:
            problem, wait = str(passing), passing.wait
        have = partial.stat().st_size if partial.exists() else 0
        if have == size:
            break
        resumed = resumed or have > 0
        if have >= most + max(1, size // 100):
            most, pauses = have, iter(PAUSES)
        pause = next(pauses, None)
        if pause is None:
            raise CheckpointError(
                f"{url} could not be downloaded after {len(PAUSES) + 1} tries: {problem} "
                f"({have} of {size} bytes are kept, so that the next try goes on from there)"
            )
        progress.say(f"{problem}; trying again", show)
        time.sleep(max(pause, wait))
    return resumed


def _stream(url: str, partial: Path, have: int, size: int, show: bool) -> None:
    """Append what one answer brings, after its size was compared."""
    headers = {"User-Agent": "samblocks", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _answer(urllib.request.Request(url, headers=headers), partial) as answer:
        begin = _begin(answer, url, have, size)
        _room(partial, size - begin)
        with (
            _file(partial, "ab" if begin else "wb") as file,
            progress.bar(partial.name.removesuffix(".partial"), size, show) as shown,
        ):
            done = begin
            for chunk in _chunks(answer):
                if not done and chunk[:200].lstrip().lower().startswith(WEB_PAGE):
                    raise _web_page(url, answer.geturl())
                done += len(chunk)
                if done > size:
                    file.truncate(0)
                    raise _wrong_size(url, f"more than {size}", size)
                _write(file, chunk, partial)
                shown(done)


def _answer(request: urllib.request.Request, partial: Path) -> Any:
    url = request.full_url
    try:
        return _opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            partial.unlink(missing_ok=True)
            raise _Passing(f"{_host(url)} cannot resume the file") from None
        if 300 <= error.code < 400:
            raise CheckpointError(f"{_host(url)} redirects {url} without end") from None
        problem = f"{_host(url)} answered {error.code} {error.reason}"
        if error.code in PASSING:
            raise _Passing(problem, _retry_after(error.headers)) from None
        through = "; a proxy or a login may stand in between" if error.code in (401, 403, 407, 511) else ""
        raise CheckpointError(f"{problem} for {url}{through}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            problem = error.reason.verify_message
            raise CheckpointError(f"the certificate of {_host(url)} is not trusted: {problem}") from None
        raise _Passing(f"{_host(url)} cannot be reached: {_reason(error.reason)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(f"{_host(url)} cannot be reached: {_reason(error)}") from None


def _begin(answer: Any, url: str, have: int, size: int) -> int:
    """The offset of the first byte that the answer brings, once its headers were found to be right."""
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _web_page(url, answer.geturl())
    if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise CheckpointError(f"{_host(url)} sends {url} in the encoding {encoding}, for which nobody asked")
    begin, whole = 0, answer.headers.get("Content-Length")
    if answer.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != have:
            raise CheckpointError(f"{_host(url)} answered with another part of {url} than was asked for")
        begin, whole = have, span[2]
    if whole is not None and int(whole) != size:
        raise _wrong_size(url, whole, size)
    return begin


def _chunks(answer: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(f"the connection broke: {_reason(error)}") from None
        if not chunk:
            return
        yield chunk


def _file(partial: Path, mode: str) -> IO[bytes]:
    return partial.open(mode, buffering=0)


def _write(file: IO[bytes], chunk: bytes, partial: Path) -> None:
    view = memoryview(chunk)
    while view:
        try:
            view = view[file.write(view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CheckpointError(f"the disk is full: {partial} cannot grow ({error.strerror})") from None
            raise


def _room(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if free < needed:
        raise CheckpointError(
            f"the disk is full: {partial.parent} has {free / 1e6:.0f} MB free and the download needs "
            f"{needed / 1e6:.0f} MB; SAMBLOCKS_CACHE may name another folder"
        )


def _wrong_size(url: str, found: str, size: int) -> CheckpointError:
    return CheckpointError(f"{_host(url)} has another file: {url} has {found} bytes, locked are {size}")


def _web_page(url: str, final: str) -> CheckpointError:
    led = f" (after leading to {final})" if final != url else ""
    return CheckpointError(
        f"{_host(url)} answered with a web page instead of {url.rsplit('/', 1)[-1]}{led}: "
        "a proxy or a login page stands in between; nothing was kept"
    )


def _retry_after(headers: Any) -> float:
    asked = headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
