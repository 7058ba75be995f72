"""Which frames were tracked, and in which direction: as runs, so that an endless video takes no more memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class TrackedFrames:
    """Frame numbers with a direction each.

    >>> tracked = TrackedFrames()
    >>> for frame in (3, 4, 5):
    ...     tracked.add(frame, reverse=False)
    >>> tracked.add(4, reverse=True)
    >>> tracked.runs
    [(3, 3, False), (4, 4, True), (5, 5, False)]
    >>> tracked.direction(4), tracked.direction(9)
    (True, None)
    """

    def __init__(self, runs: list[tuple[int, int, bool]] | None = None) -> None:
        self.runs: list[tuple[int, int, bool]] = runs or []
        """First frame, last frame and whether tracked backwards, in order of the frames."""

    def direction(self, frame: int) -> bool | None:
        """Whether the frame was tracked backwards; None if it was not tracked."""
        run = self.run(frame)
        return None if run is None else run[2]

    def run(self, frame: int) -> tuple[int, int, bool] | None:
        """The frames tracked one after the other in one direction among which this one is."""
        at = bisect_right(self.runs, frame, key=lambda run: run[0]) - 1
        return self.runs[at] if at >= 0 and frame <= self.runs[at][1] else None

    def add(self, frame: int, *, reverse: bool) -> None:
        """Say that a frame was tracked; what was said of it before is forgotten."""
        if self.direction(frame) is reverse:
            return
        self.discard(frame)
        at = bisect_right(self.runs, frame, key=lambda run: run[0])
        first = last = frame
        if at < len(self.runs) and self.runs[at][0] == frame + 1 and self.runs[at][2] is reverse:
            last = self.runs.pop(at)[1]
        if at > 0 and self.runs[at - 1][1] == frame - 1 and self.runs[at - 1][2] is reverse:
            at -= 1
            first = self.runs.pop(at)[0]
        self.runs.insert(at, (first, last, reverse))

    def discard(self, frame: int) -> None:
        """Forget that a frame was tracked."""
        at = bisect_right(self.runs, frame, key=lambda run: run[0]) - 1
        if at < 0 or frame > self.runs[at][1]:
            return
        first, last, reverse = self.runs[at]
        parts = [(first, frame - 1, reverse), (frame + 1, last, reverse)]
        self.runs[at : at + 1] = [part for part in parts if part[0] <= part[1]]

    def __iter__(self) -> Iterator[tuple[int, bool]]:
        """Every frame with its direction."""
        for first, last, reverse in self.runs:
            for frame in range(first, last + 1):
                yield frame, reverse
