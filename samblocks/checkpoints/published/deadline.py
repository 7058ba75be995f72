"""Connections that end: however slowly a server speaks, and whatever it says meanwhile, its time runs out."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

MOST_INTERIM: Final = 10  # answers such as 100 Continue before the real one


class Deadline:
    """Ends its connections once their time is over; what waits for them then fails as if they had broken."""

    def __init__(self) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._timer: threading.Timer | None = None

    def connect(self, *arguments: Any, **options: Any) -> socket.socket:
        """Connect as `socket.create_connection` does, to end with the others."""
        made = socket.create_connection(*arguments, **options)
        self._sockets.append(
            made.dup()
        )  # the connection itself may be wrapped, and closed by whom it belongs to
        return made

    def set(self, seconds: float) -> None:
        """Let the time run out in so many seconds from now."""
        self._stop()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Watch no longer."""
        self._stop()
        for one in self._sockets:
            with suppress(OSError):
                one.close()
        self._sockets.clear()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Answer(http.client.HTTPResponse):
    """An answer before which there are not many interim ones."""

    _heads = 0

    def _read_status(self) -> tuple[str, int, str]:
        self._heads += 1
        if self._heads > MOST_INTERIM:
            raise http.client.HTTPException(f"more than {MOST_INTERIM} interim answers")
        return super()._read_status()  # type: ignore[misc, no-any-return]


def _watched(kind: type[http.client.HTTPConnection], deadline: Deadline) -> Callable[..., Any]:
    """A connection of a kind that knows a deadline."""

    class Watched(kind):  # type: ignore[misc, valid-type]
        response_class = _Answer

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._create_connection = deadline.connect

    return Watched


class Plain(urllib.request.HTTPHandler):
    """Opens http:// with a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._watched = _watched(http.client.HTTPConnection, deadline)

    def http_open(self, req: urllib.request.Request) -> Any:
        """Make the request."""
        return self.do_open(self._watched, req)


class Secure(urllib.request.HTTPSHandler):
    """Opens https:// with a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._watched = _watched(http.client.HTTPSConnection, deadline)

    def https_open(self, req: urllib.request.Request) -> Any:
        """Make the request."""
        return self.do_open(self._watched, req)
