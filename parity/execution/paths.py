"""What our side may do beside going through its layers one after the other."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from samblocks.ops.chunking import RAGGED, SMALLEST, use_chunk_sizes
from samblocks.ops.fast_path import plain_paths

PATHS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "usual": nullcontext,
    "plain": plain_paths,
    "chunks": lambda: use_chunk_sizes(SMALLEST),
    "ragged": lambda: use_chunk_sizes(RAGGED),
}
"""Name → a context: as users have it; no fast path; whatever can be cut is cut, as far as it goes; or several windows
at a time, with a smaller last chunk."""
