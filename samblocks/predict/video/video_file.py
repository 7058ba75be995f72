"""Frames of a video file, by PyAV: any of them, decoded again where tracking goes back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from samblocks.image_size import ImageSize
from samblocks.predict.resize import Bytes
from samblocks.predict.video.clips import Readable

_KEPT: Final = 8
"""Frames kept behind the one that was asked for: on the way back each decoding serves as many."""


class VideoFile(Readable):
    """A video file, decoded at its own size; frames are numbered in the order in which they are shown."""

    def __init__(self, image_size: ImageSize, path: Path) -> None:
        av = pyav(f"video_path={str(path)!r}: reading a video file")
        self.path = path
        with self._reading():
            self._container = av.open(str(path))
            if not self._container.streams.video:
                raise ValueError(f"{str(path)!r} holds no video")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            stamps = [packet.pts for packet in self._container.demux(self._stream) if packet.size]
        if not stamps or None in stamps or len(set(stamps)) < len(stamps):
            raise ValueError(
                f"{str(path)!r} holds no frames, or frames without a time of their own: give its frames as pictures "
                "in a folder"
            )
        self._stamps = sorted(stamps)
        self._kept: OrderedDict[int, Bytes] = OrderedDict()
        self._decoded: Iterator[Any] = iter(())
        self._next = -1
        with self._reading():
            self._seek(0)
            first = next(self._decoded, None)
            if first is None:
                raise ValueError(f"{str(path)!r} holds no frame that can be decoded")
            self._seek(0)
        super().__init__(image_size, _upright(first).shape[:2])
        self.rate = float(self._stream.average_rate or 25)
        """Frames a second."""

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self._stamps)

    def pixels(self, frame: int) -> Bytes:
        """See `Readable`."""
        if frame not in self._kept:
            with self._reading(f" from frame {frame} on"):
                self._decode(frame)
        if frame not in self._kept:
            raise ValueError(f"{str(self.path)!r}: frame {frame} cannot be decoded")
        return self._kept[frame]

    def _decode(self, frame: int) -> None:
        """Read up to a frame, and keep it and those before it."""
        if not self._next <= frame <= self._next + _KEPT:
            self._seek(frame)
        for decoded in self._decoded:
            number = self._number(decoded)
            if number > frame - _KEPT:
                self._keep(number, np.ascontiguousarray(_upright(decoded)))
            self._next = number + 1
            if number >= frame:
                break

    @contextmanager
    def _reading(self, part: str = "") -> Iterator[None]:
        """Tell what goes wrong with the file, or with a part of it, as one kind of error."""
        from av.error import FFmpegError

        try:
            yield
        except FFmpegError as error:
            raise ValueError(
                f"{str(self.path)!r} is not a video that PyAV can read{part}: {error.strerror}"
            ) from None

    def _seek(self, frame: int) -> None:
        """Go to the last frame from which decoding can start, at or before this one."""
        self._container.seek(self._stamps[frame], stream=self._stream, backward=True)
        self._decoded, self._next = self._container.decode(self._stream), -1
        # From here on `_next` is not known until a frame has been decoded.

    def _number(self, decoded: Any) -> int:
        return int(np.searchsorted(self._stamps, decoded.pts))

    def _keep(self, number: int, pixels: Bytes) -> None:
        self._kept[number] = pixels
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def pyav(what: str) -> Any:
    """The module `av`, or ImportError that says how to get it; `what` needs it."""
    try:
        import av
    except ImportError:
        raise ImportError(f"{what} needs PyAV: pip install 'samblocks[video]'") from None
    return av


def _upright(decoded: Any) -> Bytes:
    """The frame's pixels, [H, W, 3], turned as the file says."""
    pixels: Bytes = decoded.to_ndarray(format="rgb24")
    turns = round(getattr(decoded, "rotation", 0) / 90) % 4
    return np.rot90(pixels, turns) if turns else pixels
