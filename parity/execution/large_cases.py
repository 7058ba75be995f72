"""Cases of the largest models: one process at a time has the machine to itself, and gives everything back."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from parity.execution.case import Case


@contextmanager
def room_for(case: Case) -> Iterator[None]:
    """All cores for a large case, and its memory back afterwards; nothing for the others."""
    if not case.large:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        give_back()


def give_back() -> None:
    """Let go of modules that hold themselves, and hand freed memory back to the system."""
    gc.collect()
    with suppress(OSError, AttributeError):  # elsewhere than with glibc it stays until it is used again
        ctypes.CDLL(None).malloc_trim(0)
