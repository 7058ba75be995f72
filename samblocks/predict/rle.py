"""Masks as COCO's run-length encoding, written, read and measured without pycocotools.

Pixels are taken column by column; the counts are the lengths of runs, the first of background, 0 where the first pixel
is foreground. Compressed counts are text: each number from the fourth on is stored as its difference to the last but
one before it, five bits a character, lowest first, 0x20 marking that more follow and the last one's 0x10 the sign.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class RLE(TypedDict):
    """One mask, as COCO's files have it.

    Attributes:
        size: height and width.
        counts: lengths of runs, as numbers, or compressed as text or bytes.
    """

    size: list[int]
    counts: list[int] | str | bytes


def encode(masks: Tensor | NDArray[Any]) -> list[RLE]:
    """Encode masks, with counts as numbers.

    Args:
        masks: [N, H, W], any dtype; what is not 0 is foreground.

    Returns:
        One encoding for each mask.

    Raises:
        ValueError: `masks` has other than three dimensions.

    Examples:
        >>> encode(np.array([[[0, 1], [1, 1]]]))
        [{'size': [2, 2], 'counts': [1, 3]}]
        >>> encode(torch.ones(1, 2, 3))[0]["counts"]
        [0, 6]
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be [N, H, W], found {list(masks.shape)}: give one mask as mask[None]")
    _, height, width = masks.shape
    on = torch.as_tensor(masks) != 0
    columns = on.mT.reshape(len(on), height * width)
    which, after = (columns[:, 1:] != columns[:, :-1]).nonzero(as_tuple=True)
    ends = (after + 1).cpu().numpy()
    parts = np.split(ends, torch.bincount(which, minlength=len(on)).cumsum(0)[:-1].cpu().numpy())
    first = columns[:, :1].any(1).tolist()
    return (
        [
            {"size": [height, width], "counts": _lengths(part, height * width, starts_on=bool(on_at_once))}
            for part, on_at_once in zip(parts, first, strict=True)
        ]
        if len(on)
        else []
    )


def _lengths(changes: NDArray[Any], pixels: int, *, starts_on: bool) -> list[int]:
    """Turn the places where a mask changes into lengths."""
    lengths: list[int] = np.diff(changes, prepend=0, append=pixels).tolist()
    return [0, *lengths] if starts_on else lengths


def decode(rle: RLE) -> NDArray[np.bool_]:
    """Decode a mask.

    Args:
        rle: an encoding, compressed or not.

    Returns:
        [H, W] bool: a view of memory that holds the mask column by column, as upstream's generators return it.

    Raises:
        ValueError: the counts are not those of a mask of this size.

    Examples:
        >>> decode({"size": [2, 2], "counts": [1, 3]}).tolist()
        [[False, True], [True, True]]
    """
    height, width = rle["size"]
    lengths = _counts(rle)
    on = np.arange(len(lengths)) % 2 == 1
    return np.repeat(on, lengths).reshape(width, height).T


def compress(rle: RLE) -> RLE:
    """Write the counts of an encoding as text.

    Args:
        rle: an encoding, compressed or not.

    Returns:
        The same mask, with counts as text.

    Raises:
        ValueError: the counts are not those of a mask of this size.

    Examples:
        >>> compress({"size": [9, 5], "counts": [10, 4, 5, 4, 22]})
        {'size': [9, 5], 'counts': ':450a0'}
    """
    lengths = _counts(rle)
    rest = lengths.copy()
    rest[3:] -= lengths[1:-2]
    pieces, ended = [], [np.zeros(len(rest), bool)]
    while not ended[-1].all():
        piece = rest & 31
        rest >>= 5
        last = np.where(piece & 16, rest == -1, rest == 0)
        pieces.append(piece + np.where(last, 0, 32) + 48)
        ended.append(ended[-1] | last)
    by_number = np.stack(pieces, 1) if pieces else np.zeros((0, 0), int)
    used = ~np.stack(ended[: len(pieces)], 1) if pieces else np.zeros((0, 0), bool)
    return {"size": list(rle["size"]), "counts": by_number[used].astype(np.uint8).tobytes().decode("ascii")}


def decompress(rle: RLE) -> RLE:
    """Write the counts of an encoding as numbers.

    Args:
        rle: an encoding, compressed or not.

    Returns:
        The same mask, with counts as numbers.

    Raises:
        ValueError: the counts are not those of a mask of this size.

    Examples:
        >>> decompress({"size": [9, 5], "counts": ":450a0"})["counts"]
        [10, 4, 5, 4, 22]
    """
    return {"size": list(rle["size"]), "counts": _counts(rle).tolist()}


def area(rle: RLE) -> int:
    """Count the pixels of a mask.

    Args:
        rle: an encoding, compressed or not.

    Returns:
        The number of foreground pixels.

    Raises:
        ValueError: the counts are not those of a mask of this size.

    Examples:
        >>> area({"size": [2, 3], "counts": [1, 2, 2, 1]})
        3
    """
    return int(_counts(rle)[1::2].sum())


def to_bbox(rle: RLE) -> list[int]:
    """Find the box around a mask, as pycocotools' `toBbox` does.

    Args:
        rle: an encoding, compressed or not.

    Returns:
        First column, first row, number of columns, number of rows: XYWH in pixels; four zeros for an empty mask.

    Raises:
        ValueError: the counts are not those of a mask of this size.

    Examples:
        >>> to_bbox({"size": [9, 5], "counts": [10, 4, 5, 4, 22]})
        [1, 1, 2, 4]
    """
    height = rle["size"][0]
    counts = _counts(rle)
    ends = counts.cumsum()[1::2]
    first = ends - counts[1::2]
    first, last = first[first < ends], ends[first < ends] - 1
    if not len(first):
        return [0, 0, 0, 0]
    left, right = int(first[0]) // height, int(last[-1]) // height
    # A run that goes on in the next column touches the last row and the first one.
    wraps = bool((first // height != last // height).any())
    top = 0 if wraps else int((first % height).min())
    bottom = height - 1 if wraps else int((last % height).max())
    return [left, top, right - left + 1, bottom - top + 1]


def _counts(rle: RLE) -> NDArray[np.int64]:
    """Read and check the counts of an encoding: a new array."""
    height, width = rle["size"]
    counts = rle["counts"]
    lengths = _expand(counts) if isinstance(counts, str | bytes) else _numbers(counts)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(
            f"rle: counts must be lengths that add up to {height} x {width} = {height * width} pixels, found "
            f"{len(lengths)} that add up to {lengths.sum()}: size is [height, width]"
        )
    return lengths


def _numbers(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.array(counts, dtype=np.int64).reshape(-1)


def _expand(text: str | bytes) -> NDArray[np.int64]:
    """Read compressed counts."""
    letters = text.encode() if isinstance(text, str) else text
    pieces = np.frombuffer(letters, np.uint8).astype(np.int64) - 48
    if ((pieces < 0) | (pieces > 63)).any() or (len(pieces) and pieces[-1] & 32):
        raise ValueError(
            "rle: compressed counts must be characters from '0' to 'o', the last of which ends a number; "
            f"found {text[:40]!r}"
        )
    ends = (pieces & 32 == 0).nonzero()[0]
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    place = np.arange(len(pieces)) - np.repeat(starts, ends - starts + 1)
    if (place > 11).any():
        raise ValueError(
            "rle: compressed counts hold a number of more than 12 characters: the text is damaged"
        )
    sign = np.where(pieces & 48 == 16, -32, 0)
    values = (pieces & 31) + sign << 5 * place
    lengths = np.add.reduceat(values, starts) if len(starts) else values
    lengths[1::2] = lengths[1::2].cumsum()
    lengths[2::2] = lengths[2::2].cumsum()
    return lengths
