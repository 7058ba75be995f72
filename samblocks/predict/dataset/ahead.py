"""Pictures read and prepared in threads, before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from samblocks.errors import cause
from samblocks.predict.dataset.sources import Item
from samblocks.predict.dataset.unread import Unread

T = TypeVar("T")


def ahead(
    items: Iterable[Item], read: Callable[[Item], T], unread: Unread, *, workers: int = 2, depth: int = 8
) -> Generator[tuple[Item, T], None, None]:
    """What `read` gives for each item, in the items' order, while the next ones are being read.

    Args:
        items: what to read.
        read: is called in threads.
        unread: where items end up whose reading fails: they are left out.
        workers: how many threads.
        depth: how many items are read before they are asked for.

    Yields:
        An item, and what became of it.
    """
    rest = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="samblocks-reading")
    waiting: deque[tuple[Item, Future[T]]] = deque()
    try:
        while True:
            for item in islice(rest, depth - len(waiting)):
                waiting.append((item, pool.submit(read, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            try:
                value = future.result()
            except (OSError, ValueError, EOFError) as error:
                unread.add(item.key, cause(error))
            else:
                yield item, value
    finally:
        pool.shutdown(cancel_futures=True)
