"""A web server on the loopback interface that sends right, cut, wrong, slow and refused bytes, as told."""

import hashlib
import http.server
import random
import re
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Handler(http.server.BaseHTTPRequestHandler):
    server: "DownloadServer"
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def answer(self):
        self.server.log.append((self.command, self.path, self.headers.get("Range")))
        route = self.server.routes.get(self.path, refuse(404))
        if isinstance(route, list):
            route = route.pop(0) if len(route) > 1 else route[0]
        try:
            route(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def head(self, status, length, **headers):
        self.send_response(status)
        headers = {"Content_Type": "application/octet-stream", "Content_Length": length} | headers
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self, data):
        if self.command != "HEAD":
            self.wfile.write(data)
            self.wfile.flush()

    def log_message(self, *_):
        pass


Answer = Callable[[Handler], None]


def right(data: bytes, *, ranges: bool = True, cut: int | None = None, **headers: object) -> Answer:
    """The file, or the part asked for; with `cut`, only so many bytes of it before the connection ends."""

    def answer(handler):
        begin = 0
        if ranges and (asked := handler.headers.get("Range")):
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if begin >= len(data):
                return handler.head(416, 0)
        span = {"Content_Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        handler.head(206 if begin else 200, len(data) - begin, **(span | headers))
        part = data[begin:]
        handler.body(part if cut is None else part[:cut])
        handler.close_connection = handler.close_connection or cut is not None
        return None

    return answer


def slow(data: bytes, *, pieces: int, pause: float) -> Answer:
    """The file in pieces, with a pause before each."""

    def answer(handler):
        handler.head(200, len(data))
        step = -(-len(data) // pieces)
        for begin in range(0, len(data), step):
            time.sleep(pause)
            handler.body(data[begin : begin + step])

    return answer


def unmeasured(data: bytes) -> Answer:
    """The file without a length: it ends when the connection does."""

    def answer(handler):
        handler.head(200, None, Connection="close")
        handler.body(data)
        handler.close_connection = True

    return answer


def page(
    text: str = "<html><body>Please log in</body></html>", content_type: str | None = "text/html"
) -> Answer:
    def answer(handler):
        handler.head(200, len(text), Content_Type=content_type)
        handler.body(text.encode())

    return answer


def refuse(status: int, **headers: object) -> Answer:
    return lambda handler: handler.head(status, 0, **headers)


def lead(to: str) -> Answer:
    return lambda handler: handler.head(302, 0, Location=to)


class DownloadServer(http.server.ThreadingHTTPServer):
    """Answers by path: `routes[path]` is an answer, or a list of answers of which the last stays."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: dict[str, Any] = {}
        self.log: list[tuple[str, str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def hub(
        self, repository: str, filename: str, data: bytes, *, sends: bytes | None = None, **headers: object
    ):
        """Answer as the Hub does; `sends` differs from `data` where the bytes belie the headers."""
        path = f"/{repository}/resolve/{REVISION}/{filename}"
        facts: dict[str, Any] = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X_Repo_Commit": REVISION,
        } | headers
        self.routes[path] = right(data if sends is None else sends, **facts)
        return path

    def handle_error(self, request, client_address):
        pass


@contextmanager
def running():
    server = DownloadServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def write_lock(path: Path, *rows: dict) -> Path:
    """A list of checkpoints of the tests' own; each row needs `data` and a url or a repository."""
    text = "schema = 1\n"
    for number, row in enumerate(rows):
        data = row["data"]
        values = {
            "name": f"file_{number}",
            "variant": f"variant_{number}",
            "layout": "meta",
            "source": "meta",
            "licence": "Apache-2.0",
            "tensors": 1,
            "evidence": "made by a test",
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        } | {key: value for key, value in row.items() if key != "data"}
        text += "\n[[checkpoint]]\n"
        text += "".join(
            f"{key} = {value}\n" if isinstance(value, int) else f'{key} = "{value}"\n'
            for key, value in values.items()
        )
    path.write_text(text, encoding="utf-8")
    return path
