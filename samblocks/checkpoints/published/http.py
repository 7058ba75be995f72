"""Requests to a web server: its response, or one sentence that says why there is none."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from samblocks.errors import CheckpointError

TIMEOUT = 30.0  # seconds without a byte
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further try
LONGEST_WAIT = 30.0  # seconds that a host may ask for
CHUNK = 1 << 20
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be different next time
REFUSED = frozenset({401, 403, 407, 511})  # statuses by which a proxy or a login makes itself known
WEB_PAGES = ("text/html", "application/xhtml+xml")

_Result = TypeVar("_Result")


class Unreachable(CheckpointError):
    """A host could not be asked, so nothing is known of the file there."""


class TransientError(Exception):
    """An error that may be gone next time; `wait` is how many seconds the host asks for."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait


class CannotResume(TransientError):
    """The host does not have the part that was asked for."""


class SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, ten at most, but never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request to make next, unless it would be sent in the clear."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise CheckpointError(f"{host(req.full_url)} redirects from https to {newurl}: not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(url: str, begin: int = 0) -> Any:
    """The response to a request for a file from byte `begin` on, an `http.client.HTTPResponse` to be closed.

    Raises:
        TransientError: the host cannot be reached now, or says that it is busy.
        CheckpointError: the host will not send the file.
    """
    headers = {"User-Agent": "samblocks", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    opener = urllib.request.build_opener(SecureRedirects)  # made anew, as it takes the proxies of the moment
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(url, error) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            problem = error.reason.verify_message
            raise Unreachable(f"the certificate of {host(url)} is not trusted: {problem}") from None
        problem = f"{host(url)} cannot be reached: {reason(error.reason)}"
        raise (Unreachable if is_unknown_host(error.reason) else TransientError)(problem) from None
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"{host(url)} cannot be reached: {reason(error)}") from None


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    problem = f"{host(url)} answered {error.code} {error.reason}"
    if 300 <= error.code < 400:
        return CheckpointError(f"{host(url)} redirects {url} without end")
    if error.code == 416:
        return CannotResume(f"{host(url)} cannot resume the file")
    if error.code in TRANSIENT:
        asked = error.headers.get("Retry-After", "")
        return TransientError(problem, min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0)
    if error.code in REFUSED:
        return Unreachable(f"{problem} for {url}; a proxy or a login may stand in between")
    return CheckpointError(f"{problem} for {url}")


def content_range(response: Any, url: str, begin: int) -> tuple[int, int | None]:
    """What the headers of a response say: its first byte's offset in the file, and the file's length, if given.

    Raises:
        CheckpointError: the response is a web page, is encoded, or is another part than byte `begin` on.
    """
    if response.headers.get_content_type() in WEB_PAGES:
        raise web_page(url, response.geturl())
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise CheckpointError(f"{host(url)} sends {url} in the encoding {encoding}, for which nobody asked")
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != begin:
            raise CheckpointError(f"{host(url)} answered with another part of {url} than was asked for")
        return begin, int(span[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def read_chunks(response: Any) -> Iterator[bytes]:
    """The body of a response in chunks, as they come.

    Raises:
        TransientError: the connection broke or fell silent.
    """
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"the connection broke: {reason(error)}") from None
        if not chunk:
            return
        yield chunk


def content_length(url: str) -> int | None:
    """The length of the file at a URL in bytes, None if the host does not say; the file is not downloaded.

    Raises:
        CheckpointError: the host does not have it, or (`Unreachable`) cannot be asked.
    """

    def headers() -> int | None:
        with open_url(url) as response:
            return content_range(response, url, 0)[1]

    return with_retries(headers)


def with_retries(attempt: Callable[[], _Result]) -> _Result:
    """The result of a call that is made again, after growing pauses, as long as it raises `TransientError`.

    Raises:
        Unreachable: no try succeeded.
    """
    for pause in PAUSES:
        try:
            return attempt()
        except TransientError as error:
            time.sleep(max(pause, error.wait))
    try:
        return attempt()
    except TransientError as error:
        raise Unreachable(str(error)) from None


def web_page(url: str, final: str) -> Unreachable:
    """The error for a page where a file should be; `final` is where redirects ended."""
    led = f" (after leading to {final})" if final != url else ""
    return Unreachable(
        f"{host(url)} answered with a web page instead of {url.rsplit('/', 1)[-1]}{led}: "
        "a proxy or a login page stands in between; nothing was saved"
    )


def host(url: str) -> str:
    """The host of a URL, with its port if it has one."""
    return urlsplit(url).netloc


def is_unknown_host(error: object) -> bool:
    """Whether an error says that a host's name leads nowhere, which no further try will change."""
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN


def reason(error: object) -> str:
    """What an error says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
