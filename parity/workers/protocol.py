"""Messages between this process and a worker: a magic word, two lengths, a JSON header and a safetensors body."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from parity.errors import WorkerError
from parity.workers.boot import LENGTHS, MAGIC

LONGEST_HEADER = 1 << 28
"""Bytes: what is recorded of a whole model, call by call, takes some millions."""

LONGEST_BODY = 1 << 36
"""Bytes: more than the outputs of any model."""

LONGEST_BANNER = 1 << 16
"""Bytes that an environment may print before the process in it greets."""

Message = tuple[dict[str, Any], dict[str, Tensor]]
"""A header and tensors by name."""


def send(stream: BinaryIO, header: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write one message and flush; raises WorkerError, before it writes anything, for one that is too long."""
    # Copies: safetensors wants contiguous tensors that share no storage.
    body = (
        safetensors.torch.save({k: v.detach().clone().contiguous() for k, v in tensors.items()})
        if tensors
        else b""
    )
    # safetensors files have no order, and the order of inputs is that of a call.
    head = json.dumps([header, list(tensors or ())]).encode()
    _check(len(head), len(body))
    stream.write(MAGIC + LENGTHS.pack(len(head), len(body)))
    stream.write(head)
    stream.write(body)
    stream.flush()


def receive(stream: BinaryIO) -> Message:
    """Read one message.

    Raises:
        EOFError: the other side is gone.
        WorkerError: what came is no message.
    """
    start = _exactly(stream, len(MAGIC))
    if start != MAGIC:
        raise WorkerError(f"{start!r} came where a message should begin")
    return _rest(stream)


def first(stream: BinaryIO) -> tuple[bytes, Message]:
    """Read the first message, and what an environment printed before it: some greet their users.

    Raises:
        EOFError: the other side is gone; its argument is what it printed.
        WorkerError: what came is no message, or too much was printed.
    """
    seen = b""
    while not seen.endswith(MAGIC):
        part = stream.read(1)
        if not part:
            raise EOFError(seen)
        seen += part
        if len(seen) > LONGEST_BANNER:
            raise WorkerError(f"{seen[:40]!r}… came where a message should begin")
    return seen.removesuffix(MAGIC), _rest(stream)


def requests(incoming: BinaryIO) -> Iterator[Message]:
    """What is asked of this process, one by one; never returns: the process ends when the other side is gone.

    At once, also in the middle of an answer that nobody waits for any more.
    """
    waiting: SimpleQueue[Message] = SimpleQueue()

    def listen() -> None:
        try:
            while True:
                waiting.put(receive(incoming))
        except EOFError:
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    Thread(target=listen, daemon=True).start()
    while True:
        yield waiting.get()


def _rest(stream: BinaryIO) -> Message:
    lengths = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
    _check(*lengths)
    head, body = (_exactly(stream, length) for length in lengths)
    try:
        header, order = json.loads(head)
        if not isinstance(header, dict):
            raise ValueError(f"a {type(header).__name__} in place of a header")
        tensors = safetensors.torch.load(body) if body else {}
        return header, {name: tensors[name] for name in order}
    except (ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
        raise WorkerError(f"a message cannot be read: {type(error).__name__}: {error}") from None


def _check(header: int, body: int) -> None:
    if header > LONGEST_HEADER or body > LONGEST_BODY:
        raise WorkerError(
            f"a message of {header} and {body} bytes; at most {LONGEST_HEADER} and {LONGEST_BODY} are sent"
        )


def _exactly(stream: BinaryIO, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = stream.read(min(count, 1 << 26))
        if not part:
            raise EOFError("the other side closed the pipe")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
