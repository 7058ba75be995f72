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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from samblocks.checkpoints.published.deadline import Deadline, Plain, Secure
from samblocks.errors import CheckpointError, cause, printable

TIMEOUT = 30.0  # seconds without a byte; a head, and LEAST_SPEED over a piece of the body, have twice as long
LEAST_SPEED = 1000  # bytes a second, below which a download would have no end in sight
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

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """The response to the request that follows, with the one that led there closed whatever becomes of it."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request to make next, unless it would be sent in the clear."""
        if not newurl.startswith(("https:", "http:")) or not host(newurl):
            raise CheckpointError(f"{host(req.full_url)} redirects to {newurl}, which is no web address")
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise CheckpointError(f"{host(req.full_url)} redirects from https to {newurl}: not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def open_url(url: str, begin: int = 0) -> Iterator[Response]:
    """The response to a request for a file from byte `begin` on, closed at the end of the with block.

    Raises:
        TransientError: the host cannot be reached now, or says that it is busy.
        CheckpointError: the host will not send the file.
    """
    headers = {"User-Agent": "samblocks", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    deadline = Deadline()
    try:
        deadline.set(2 * TIMEOUT)
        with _opened(url, headers, deadline) as response:
            if deadline.is_over:  # what had come of the head by then looks whole
                raise _no_answer(url)
            yield Response(response, deadline)
    finally:
        deadline.close()


def _opened(url: str, headers: dict[str, str], deadline: Deadline) -> Any:
    # Made anew, as it takes the proxies of the moment.
    opener = urllib.request.build_opener(SecureRedirects, Plain(deadline), Secure(deadline))
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except CheckpointError:
        raise
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
        if deadline.is_over:
            raise _no_answer(url) from None
        raise TransientError(f"{host(url)} cannot be reached: {reason(error)}") from None
    except Exception as error:  # a redirect to an address that is none, and whatever else a server thinks of
        raise CheckpointError(
            f"{host(url)} gave an answer that cannot be understood: {cause(error)}"
        ) from error


def _no_answer(url: str) -> TransientError:
    return TransientError(f"{host(url)} cannot be reached: no answer within {2 * TIMEOUT:.0f} s")


@dataclass(frozen=True, slots=True)
class Response:
    """A response, and the deadline of its connection."""

    raw: Any
    deadline: Deadline

    @property
    def headers(self) -> Any:
        """Its headers, as `email.message.Message`."""
        return self.raw.headers

    @property
    def status(self) -> int:
        """Its status."""
        return int(self.raw.status)

    @property
    def final_url(self) -> str:
        """Where redirects ended."""
        return str(self.raw.geturl())


def _number(digits: str) -> int | None:
    """A number that a server says; None for what is none, or longer than any file's length."""
    return int(digits) if digits.isdecimal() and len(digits) < 20 else None


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    problem = f"{host(url)} answered {error.code} {printable(str(error.reason))}"
    if 300 <= error.code < 400:
        said = str(error.reason)
        where = "to what is no web address" if "not allowed" in said else "without saying where"
        return CheckpointError(
            f"{host(url)} redirects {url} {'without end' if 'infinite loop' in said else where}"
        )
    if error.code == 416:
        return CannotResume(f"{host(url)} cannot resume the file")
    if error.code in TRANSIENT:
        asked = error.headers.get("Retry-After", "")
        return TransientError(problem, min(float(_number(asked) or 0), LONGEST_WAIT))
    if error.code in REFUSED:
        return Unreachable(f"{problem} for {url}; a proxy or a login may stand in between")
    return CheckpointError(f"{problem} for {url}")


def content_range(response: Response, url: str, begin: int) -> tuple[int, int | None]:
    """What the headers of a response say: its first byte's offset in the file, and the file's length, if given.

    Raises:
        CheckpointError: the response is a web page, is encoded, or is another part than byte `begin` on.
    """
    if response.headers.get_content_type() in WEB_PAGES:
        raise web_page(url, response.final_url)
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise CheckpointError(f"{host(url)} sends {url} in the encoding {encoding}, for which nobody asked")
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if span is None or _number(span[1]) != begin or _number(span[2]) is None:
            raise CheckpointError(f"{host(url)} answered with another part of {url} than was asked for")
        return begin, _number(span[2])
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and _number(length) is None:
        raise CheckpointError(f"{host(url)} says an impossible length of {url}")
    return 0, _number(length)


def read_chunks(response: Response) -> Iterator[bytes]:
    """The body of a response in chunks, as they come.

    Raises:
        TransientError: the connection broke, fell silent, or is so slow that there is no end in sight.
    """
    window, done = 2 * TIMEOUT, 0
    response.deadline.set(window)
    while True:
        try:
            chunk = response.raw.read1(CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if response.deadline.is_over:
                raise _too_slow(done, window) from None
            raise TransientError(f"the connection broke: {reason(error)}") from None
        if not chunk:
            if response.deadline.is_over:
                raise _too_slow(done, window)
            return
        yield chunk
        done += len(chunk)
        if done >= LEAST_SPEED * window:
            done = 0
            response.deadline.set(window)


def _too_slow(done: int, window: float) -> TransientError:
    return TransientError(
        f"the host sent {done:,} bytes in {window:.0f} s, less than {LEAST_SPEED:,} bytes a second"
    )


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
    try:
        return printable(urlsplit(url).netloc)
    except ValueError:
        return ""


def is_unknown_host(error: object) -> bool:
    """Whether an error says that a host's name leads nowhere, which no further try will change."""
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN


def reason(error: object) -> str:
    """What an error says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(str(text).strip().partition("\n")[0], 200)
