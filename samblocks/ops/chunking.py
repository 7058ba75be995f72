"""Doing a part of the work at a time, where the parts do not look at each other.

What lies between the layers of a block is many times larger than its input. Done a few windows, rows or prompts
at a time it stays in the processor's cache, and memory is not fetched from the system and given back for each
layer. Every item goes through the same steps; only the matrix products are of other sizes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from samblocks.ops.fast_path import fast_path_allowed
from samblocks.ops.processor_cache import processor_cache


@dataclass(frozen=True)
class ChunkSizes:
    """How large chunks are; the usual ones are for 32 MB of cache, `for_cache` gives others.

    Args:
        left_whole: bytes between two layers up to which nothing is cut: it would not pay.
        chunk: bytes between two layers that a chunk should have.
        scores: bytes of attention scores, or of a bias, that are held at once.
        enlarged: bytes of a decoder's enlarged map that are made at once.
        tokens: tokens that a chunk has at least: with fewer, matrix products wait for the weights.
        tile: queries and keys, as many of each, whose scores are held at once: with fewer, products spend their time
            on arranging the keys; with more, scores leave the cache before they are weights.
        prompts: prompts, or objects, that go through a decoder at once, at least.
        many: tokens that are not projected where few others are there to be projected in their place, at least.
        folded: vectors of few tokens, one for each head, by channels, up to which these are projected instead.
        widened: scores of a head from which on attention in half precision is computed in float32, inside.
        kept: bytes of freed memory, up to which the system's allocator is asked to keep it.
    """

    left_whole: int = 16 << 20
    chunk: int = 4 << 20
    scores: int = 8 << 20
    enlarged: int = 1 << 20
    tokens: int = 1024
    tile: int = 512
    prompts: int = 1
    many: int = 256
    folded: int = 1
    widened: int = 1 << 20
    kept: int = 24 << 20

    @classmethod
    def for_cache(cls, size: int | None) -> "ChunkSizes":
        """Choose sizes for a processor: a chunk has an eighth of its last cache, beside weights and neighbours.

        On an EPYC with 32 MB, blocks took up to 6 % longer with chunks of 2 MB than of 4, and up to 4 % less with 8.

        Args:
            size: bytes of the processor's last cache; None where it is not known, which is taken as 32 MB.

        Returns:
            Sizes for chunks of 2, 4 or 8 MB.

        Examples:
            >>> ChunkSizes.for_cache(32 << 20).chunk >> 20, ChunkSizes.for_cache(6 << 20).chunk >> 20
            (4, 2)
        """
        eighth = (size or 32 << 20) // 8
        chunk = min(max(1 << eighth.bit_length() - 1, 2 << 20), 8 << 20)
        bytes_of = ("left_whole", "chunk", "scores", "enlarged")
        return cls(**{name: getattr(cls, name) * chunk // cls.chunk for name in bytes_of})


USUAL = ChunkSizes.for_cache(processor_cache())
"""The sizes for this machine."""

SMALLEST = ChunkSizes(
    left_whole=0, chunk=1, scores=1, tokens=1, tile=5, prompts=1, enlarged=1, many=1, folded=64, widened=1
)
"""Everything that can be cut is cut, as far as it goes: for tests."""

RAGGED = ChunkSizes(
    left_whole=0,
    chunk=12 << 10,
    scores=3 << 10,
    tokens=1,
    tile=7,
    prompts=2,
    enlarged=4 << 10,
    many=1,
    folded=64,
    widened=1,
)
"""Several windows, rows or prompts at a time, and often fewer in the last chunk: for tests."""

_sizes: ContextVar[ChunkSizes] = ContextVar("samblocks_chunk_sizes", default=USUAL)


def chunk_sizes() -> ChunkSizes:
    """Give the sizes that hold in this thread.

    Examples:
        >>> chunk_sizes().tokens
        1024
    """
    return _sizes.get()


@contextmanager
def use_chunk_sizes(sizes: ChunkSizes) -> Iterator[None]:
    """Let other sizes hold in this thread until the end of the `with` block.

    Args:
        sizes: the sizes.

    Examples:
        >>> with use_chunk_sizes(SMALLEST):
        ...     rows_at_once(torch.zeros(1, 16, 16, 8), channels=32, side=4)
        4
    """
    token = _sizes.set(sizes)
    try:
        yield
    finally:
        _sizes.reset(token)


def keep_freed_memory(x: Tensor) -> None:
    """Let the system's allocator keep what is freed between the layers of a module that runs once and again.

    glibc gives freed blocks back to the system until it has seen one of their size come and go, and up to 32 MB learns
    from each. A page that is given back costs a fault when it is needed again: a fifth of the time of a mask decoder
    that is called by itself. A block that nobody writes to teaches it, and costs nothing, there or elsewhere.

    Args:
        x: [1, ...], what layers pass on, an image's map as a rule.

    Examples:
        >>> keep_freed_memory(torch.zeros(1, 256, 64, 64))
    """
    if x.device.type == "cpu":
        torch.empty(min(6 * x[:1].numel() * x.element_size(), chunk_sizes().kept), dtype=torch.uint8)


def rows_at_once(x: Tensor, channels: int, side: int = 1) -> int:
    """Choose how many rows of a map are done at a time.

    Args:
        x: [B, H, W, C]
        channels: channels at the widest place between the layers.
        side: rows that must stay together, those of a window.

    Returns:
        A multiple of `side`, or H where the map is better left whole.

    Examples:
        >>> rows_at_once(torch.zeros(1, 16, 16, 8), channels=32)
        16
        >>> with use_chunk_sizes(ChunkSizes.for_cache(32 << 20)):
        ...     rows_at_once(torch.zeros(1, 256, 256, 96), channels=384, side=8)
        8
    """
    batch, height, width = x.shape[:3]
    if torch.compiler.is_compiling():  # no guards on sizes in a graph
        return height
    sizes = chunk_sizes()
    tokens = max(batch * width * side, 1)
    size = tokens * channels * x.element_size()
    if size * height <= sizes.left_whole * side:
        return height
    return min(height, side * max(sizes.chunk // size, -(-sizes.tokens // tokens), 1))


def items_at_once(x: Tensor) -> int:
    """Choose how many items of a batch are done at a time: prompts in a decoder, objects that read their memory.

    Args:
        x: [B, ...], of each item what all layers pass on, an image's map as a rule.

    Returns:
        At least 1; all of them where they are better left whole.

    Examples:
        >>> with use_chunk_sizes(ChunkSizes.for_cache(64 << 20)):
        ...     items_at_once(torch.zeros(64, 256, 64, 64)), items_at_once(torch.zeros(3, 256, 64, 64))
        (2, 3)
    """
    items = x.shape[0]
    if torch.compiler.is_compiling():
        return items
    sizes = chunk_sizes()
    step = max(sizes.prompts, sizes.chunk // max(x[:1].numel() * x.element_size(), 1))
    return step if items >= 2 * step else max(items, 1)


def in_chunks(module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor, step: int) -> Tensor:
    """Apply a function to some rows at a time, or to all where that would be noticed.

    Args:
        module: whose layers the function calls, for `fast_path_allowed`.
        function: from rows of a map, [B, h, ...], to rows of the result; to as many, or to the same part of
            them for each chunk. What it returns is copied.
        x: [B, H, ...]
        step: rows h of a chunk; the last one may have fewer.

    Returns:
        The result for all rows: [B, H', ...].

    Examples:
        >>> layer = nn.Identity().eval()
        >>> in_chunks(layer, lambda rows: layer(rows) * 2, torch.ones(1, 5, 1, 1), step=2).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0]
    """
    if step >= x.shape[1] or not fast_path_allowed(module, x):
        return function(x)
    first = function(x[:, :step])
    rows = first.shape[1]
    out = first.new_empty(first.shape[0], x.shape[1] * rows // step, *first.shape[2:])
    out[:, :rows] = first
    for index, part in enumerate(torch.split(x[:, step:], step, dim=1), start=1):
        done = function(part)
        out[:, index * rows : index * rows + done.shape[1]] = done
    return out


def in_chunks_with_margin(
    module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor, step: int, margin: int
) -> Tensor:
    """Do the same with a function that looks at rows beside those it makes, and pads with what is no row.

    Args:
        module: as for `in_chunks`.
        function: from rows of a map to as many rows of the result.
        x: [B, H, ...]
        step: rows of a chunk; the last one may have fewer.
        margin: how many rows beside its own each row of the result depends on.

    Returns:
        The result for all rows: [B, H, ...].

    Examples:
        >>> layer = nn.Conv1d(1, 1, 3, padding=1).eval().requires_grad_(False)
        >>> rows = torch.randn(1, 9, 1)
        >>> found = in_chunks_with_margin(layer, lambda x: layer(x.mT).mT, rows, step=2, margin=1)
        >>> bool((found - layer(rows.mT).mT).abs().max() < 1e-6)
        True
    """
    height = x.shape[1]
    if step >= height or not fast_path_allowed(module, x):
        return function(x)
    parts = []
    for start in range(0, height, step):
        first, wanted = max(start - margin, 0), min(step, height - start)
        parts.append(function(x[:, first : start + step + margin]).narrow(1, start - first, wanted))
    return torch.cat(parts, dim=1)


def items_in_chunks(
    module: nn.Module, function: Callable[..., tuple[Tensor, ...]], step: int, *inputs: Tensor | None
) -> tuple[Tensor, ...]:
    """Apply a function to some items of a batch at a time, or to all where that would be noticed.

    Args:
        module: whose layers the function calls, for `fast_path_allowed`.
        function: from the inputs, or a part of each, to outputs for as many items, which do not look at each other.
        step: items of a chunk; the last one may have fewer.
        *inputs: [B, ...]; None stays None. The first one is a tensor. Where one is of other length, nothing is cut.

    Returns:
        The outputs for all items: [B, ...].

    Examples:
        >>> layer = nn.Identity().eval()
        >>> doubled = items_in_chunks(layer, lambda x: (layer(x) * 2,), 2, torch.ones(5, 1))[0]
        >>> doubled.flatten().tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0]
    """
    tensors = [x for x in inputs if x is not None]
    items = tensors[0].shape[0]
    alike = all(x.shape[0] == items for x in tensors)
    if step >= items or not alike or not fast_path_allowed(module, *tensors):
        return function(*inputs)
    chunks = (slice(start, start + step) for start in range(0, items, step))
    done = [function(*(None if x is None else x[chunk] for x in inputs)) for chunk in chunks]
    return tuple(torch.cat(parts) for parts in zip(*done, strict=True))
