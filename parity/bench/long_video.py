"""Memory of a long video: what a process holds, frame by frame, while objects are tracked through an endless stream.

    python -m parity.bench.long_video --size 1024 --frames 2000

One thread, filled weights, photographs in turn, given by an iterator that keeps none. From the model's 16 pointers on a
window holds as much as it ever will. Memory is what is resident after each frame, its masks let go. The exit status is
1 where it grew by more than --most from the frame of --after to the last, by medians of the ten frames up to each.
Under glibc what is allocated is printed beside it: resident are also holes that its allocator keeps between frames.
"""

import argparse
import ctypes
import itertools
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from parity.execution import fill, pictures
from samblocks.models.build import assemble
from samblocks.models.sam2.model import SAM2Model
from samblocks.predict.video.plots import resident_memory
from samblocks.predict.video.predictor import VideoPredictor

_LINES = 10
_FRAMES = 10


class _Counts(ctypes.Structure):
    """What glibc's mallinfo2 returns: ten numbers, of which bytes in maps are the fifth, bytes in use the eighth."""

    _fields_ = [("all", ctypes.c_size_t * 10)]


def allocated() -> float | None:
    """What is allocated of the system's memory now, in MB; None where the allocator is not glibc's."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    mallinfo.restype = _Counts
    counts = mallinfo().all
    return float(counts[4] + counts[7]) / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Track, and print the memory of some frames and how much it grew."""
    options = _options(argv)
    what = f"{options.variant} at {options.size}, {options.objects} objects"
    print(f"{what}, {options.frames} frames of a stream, one thread")
    shown = {*np.linspace(0, options.frames - 1, _LINES).round().astype(int).tolist(), options.after}
    held: list[float] = []
    started = time.process_time()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for frame, memory in enumerate(
            track(model(options.variant, options.size), options.objects, options.frames)
        ):
            held.append(memory)
            if frame in shown:
                taken = time.process_time() - started
                used = "" if (now := allocated()) is None else f", {now:.1f} MB of it allocated"
                print(
                    f"after frame {frame:5}: {memory:8.1f} MB{used}, {taken:.0f} s of processor time",
                    flush=True,
                )
    finally:
        torch.set_num_threads(before)
    grown = growth(held, options.after)
    print(f"from frame {options.after} to {options.frames - 1}: {grown:+.1f} MB, highest {max(held):.1f} MB")
    return int(grown > options.most)


def growth(held: Sequence[float], after: int) -> float:
    """By how much memory grew: from one frame to the next it goes up and down, so medians of ten frames are compared.

    >>> growth([*range(20), *[19] * 20], after=29)
    0.0
    """
    return float(np.median(held[-_FRAMES:]) - np.median(held[max(0, after + 1 - _FRAMES) : after + 1]))


def model(variant: str, size: int) -> SAM2Model:
    """A model with filled weights, that sees its objects."""
    made = assemble(variant, image_size=size)
    assert isinstance(made, SAM2Model)
    fill.fill_(made)
    for name, parameter in made.named_parameters():
        if name.endswith("pred_obj_score_head.layers.2.bias"):
            parameter.data.fill_(2.0)
    return made.eval()


def track(tracked: SAM2Model, objects: int, frames: int) -> Iterator[float]:
    """Track objects through a stream.

    Args:
        tracked: the model.
        objects: how many, each shown by a click on the first frame.
        frames: of the stream.

    Yields:
        Resident memory after each frame, in MB.
    """
    predictor = VideoPredictor(tracked)
    state = predictor.init_state(_stream(frames))
    assert state.history == "window"
    places = fill.uniform("places of objects", (objects, 2), 0.1, 0.9) * [state.clip.width, state.clip.height]
    for number, place in enumerate(places):
        predictor.add_new_points_or_box(state, 0, number, points=[place], labels=[1])
    for _, _, masks in predictor.propagate_in_video(state):
        del masks
        memory = resident_memory()
        if memory is None:
            raise SystemExit("this system does not tell how much memory a process holds")
        yield memory


def _stream(frames: int) -> Iterator[np.ndarray]:
    """Photographs of a room, in turn."""
    seen = [pictures.read(file) for file in pictures.FRAMES]
    return itertools.islice(itertools.cycle(seen), frames)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--variant", default="sam2.1_hiera_tiny", help="a SAM 2 or 2.1 (default: %(default)s)"
    )
    parser.add_argument(
        "--size", type=int, default=1024, help="side of the model's images (default: %(default)s)"
    )
    parser.add_argument("--objects", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=2000, help="default: %(default)s")
    parser.add_argument(
        "--after", type=int, default=200, help="the frame to count from (default: %(default)s)"
    )
    parser.add_argument("--most", type=float, default=5.0, help="MB it may grow by (default: %(default)s)")
    options = parser.parse_args(argv)
    if not 0 <= options.after < options.frames:
        parser.error(f"--after {options.after} must be a frame before the last of {options.frames}")
    return options


if __name__ == "__main__":
    sys.exit(main())
