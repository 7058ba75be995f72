"""Which earlier frames the tracker of SAM 2 looks at: plain arithmetic on frame numbers."""

from collections.abc import Collection
from typing import NamedTuple


class Remembered(NamedTuple):
    """A frame whose memory map is read, and which row of the temporal table belongs to it."""

    frame: int
    row: int


class Pointed(NamedTuple):
    """A frame whose object pointer is read, how far in time it lies, and whether it counts by its prompts."""

    frame: int
    distance: int
    prompted: bool


def memory_frames(
    frame_idx: int, num_maskmem: int, *, stride: int = 1, reverse: bool = False
) -> list[Remembered]:
    """Frames before the current one that are remembered, apart from those with prompts, farthest first.

    The direct neighbour always counts. The others are the `num_maskmem - 2` nearest multiples of `stride`
    among the frames beyond it. Frames may lie outside the video; whoever asks skips what is not there.

    Args:
        frame_idx: number of the current frame.
        num_maskmem: size of the memory; one place belongs to the frames with prompts.
        stride: take every `stride`-th frame.
        reverse: the video is tracked backwards, so "before" means larger numbers.

    Returns:
        Frames with their rows in the temporal table: row 0 is the neighbour's, the last row that of prompts.

    Examples:
        >>> [frame for frame, row in memory_frames(10, 7)]
        [4, 5, 6, 7, 8, 9]
        >>> [frame for frame, row in memory_frames(10, 5, stride=3)]
        [0, 3, 6, 9]
        >>> [frame for frame, row in memory_frames(10, 5, stride=3, reverse=True)]
        [18, 15, 12, 11]

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_base.py
    """
    if stride < 1:
        raise ValueError(f"memory_temporal_stride_for_eval={stride}: must be at least 1")
    direction = 1 if reverse else -1
    frames = []
    for steps in range(num_maskmem - 1, 0, -1):
        if steps == 1:
            frame = frame_idx + direction
        else:
            # The nearest multiple of the stride that is two or more frames away, then on in whole strides.
            nearest = (
                -(-(frame_idx + 2) // stride) * stride if reverse else (frame_idx - 2) // stride * stride
            )
            frame = nearest + direction * (steps - 2) * stride
        frames.append(Remembered(frame, row=steps - 1))
    return frames


def pointer_frames(
    frame_idx: int,
    selected: Collection[int],
    others: Collection[int],
    *,
    limit: int,
    num_frames: int,
    reverse: bool = False,
    past_only: bool = False,
    signed: bool = False,
) -> list[Pointed]:
    """Frames whose object pointers are read: those with prompts first, then the neighbours, nearest first.

    Args:
        frame_idx: number of the current frame.
        selected: frames with prompts that were selected for attention.
        others: every other frame that has an output.
        limit: neighbours are taken from fewer than this many frames away.
        num_frames: length of the video.
        reverse: the video is tracked backwards.
        past_only: leave out frames with prompts that the tracker, in its direction, has not reached yet.
        signed: distances of frames with prompts that lie ahead are negative, not absolute.

    Returns:
        Frames with their distances in time.

    Examples:
        >>> pointers = pointer_frames(5, selected=[0, 9], others=[3, 4], limit=16, num_frames=12, signed=True)
        >>> [(pointer.frame, pointer.distance) for pointer in pointers]
        [(0, 5), (9, -4), (4, 1), (3, 2)]

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_base.py
    """
    backwards = 1 if reverse else -1
    found = []
    for frame in selected:
        elapsed = (frame - frame_idx) * backwards
        if past_only and elapsed < 0:
            continue
        found.append(Pointed(frame, elapsed if signed else abs(elapsed), prompted=True))
    for distance in range(1, limit):
        frame = frame_idx + backwards * distance
        if not 0 <= frame < num_frames:
            break
        if frame in others:
            found.append(Pointed(frame, distance, prompted=False))
    return found
