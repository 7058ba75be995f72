"""What our side may do beside going through its layers one after the other."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from samblocks.ops.chunking import RAGGED, SMALLEST, use_chunk_sizes
from samblocks.ops.fast_path import plain_paths
from samblocks.ops.half_precision import half_in_float32

PATHS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "usual": nullcontext,
    "plain": plain_paths,
    "chunks": lambda: use_chunk_sizes(SMALLEST),
    "ragged": lambda: use_chunk_sizes(RAGGED),
    "wide": lambda: half_in_float32(True),
    "narrow": lambda: half_in_float32(False),
}
"""Name → a context: as users have it; no fast path; whatever can be cut is cut, as far as it goes; several windows at a
time, with a smaller last chunk; half precision computed in float32 inside, or not, whatever the processor."""
