"""Frames of a folder, an array, a list, or an iterator that may never end.

Every source gives frames as bytes [*sides, 3], resized to the model's images by Pillow's bicubic rule as SAM 2's video
predictor does, and keeps as few of them as it can: what can be read again is not kept.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samblocks.image_size import ImageSize, image_sides
from samblocks.predict.arguments import shown
from samblocks.predict.picture_files import picture_file
from samblocks.predict.pictures import as_rgb
from samblocks.predict.resize import Bytes, resize_bytes

PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
"""Endings of the files in a folder that are taken as frames, in lower case."""

_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


class Clip(ABC):
    """Frames of one size, by their numbers from 0.

    Args:
        image_size: of the model's images: a side in pixels, or a height and a width.
        size: height and width of the frames.
    """

    streamed = False
    """Whether frames that have passed are gone."""

    def __init__(self, image_size: ImageSize, size: tuple[int, int]) -> None:
        self.sides = image_sides(image_size)
        self.height, self.width = size

    @property
    @abstractmethod
    def count(self) -> int | None:
        """How many frames there are; None while that is not known."""

    def has(self, frame: int) -> bool:
        """Whether there is such a frame; a stream is read up to it."""
        return self.count is not None and 0 <= frame < self.count

    def check(self, frame: int, *, argument: str = "frame_idx") -> None:
        """Refuse a frame that there is not, or not any more.

        Raises:
            ValueError: it is outside the clip.
        """
        if isinstance(frame, bool) or not isinstance(frame, int | np.integer):
            raise ValueError(f"{argument}={shown(frame)} must be a frame's number, from 0 on")
        if not self.has(int(frame)):
            raise ValueError(
                f"{argument}={frame} is outside the clip, which has frames 0 to {(self.count or 0) - 1}"
            )

    @abstractmethod
    def resized(self, frame: int) -> Bytes:
        """The frame's pixels as the model sees them, [*sides, 3].

        Raises:
            ValueError: it is outside the clip, gone, or of another size than the first one.
        """

    def image(self, frame: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The frame as the model takes it: [3, *sides], normalised, in one of the wider dtypes."""
        image = torch.from_numpy(np.ascontiguousarray(self.resized(frame).transpose(2, 0, 1))).to(dtype) / 255
        return (image - _column(_MEAN, dtype)) / _column(_STD, dtype)

    def release(self, before: int, *, but: Collection[int] = ()) -> None:  # noqa: B027 - most have nothing to do
        """Say that frames before this one, apart from some, need not be kept."""

    def _squared(self, pixels: Bytes, frame: int) -> Bytes:
        if pixels.shape[:2] != (self.height, self.width):
            raise ValueError(
                f"frame {frame} has {pixels.shape[1]} x {pixels.shape[0]} pixels, the first one "
                f"{self.width} x {self.height}: frames of one video must be of one size"
            )
        return resize_bytes(pixels, self.sides, "bicubic")


class Readable(Clip):
    """Frames that can be read again."""

    @abstractmethod
    def pixels(self, frame: int) -> Bytes:
        """The frame as it is, [H, W, 3].

        Raises:
            ValueError: it is outside the clip, or cannot be read.
        """

    def resized(self, frame: int) -> Bytes:
        """See `Clip`."""
        self.check(frame)
        return self._squared(self.pixels(frame), frame)


class Folder(Readable):
    """A folder of pictures, in natural order of their names: `frame2.png` comes before `frame10.png`.

    Hidden files are none of them. The others are taken as they lie there: whether EXIF says that they be turned is
    not looked at, as upstream.
    """

    def __init__(self, image_size: ImageSize, folder: Path) -> None:
        self.path = folder
        self.files = sorted((file for file in folder.iterdir() if _is_frame(file)), key=_natural)
        if not self.files:
            raise ValueError(f"video_path={str(folder)!r} holds no pictures ({', '.join(sorted(PICTURES))})")
        sizes = [self._size(file) for file in self.files]
        for file, size in zip(self.files, sizes, strict=True):
            if size != sizes[0]:
                raise ValueError(
                    f"{file.name} has {size[1]} x {size[0]} pixels, {self.files[0].name} "
                    f"{sizes[0][1]} x {sizes[0][0]}: frames of one video must be of one size"
                )
        super().__init__(image_size, sizes[0])

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.files)

    def pixels(self, frame: int) -> Bytes:
        """See `Readable`."""
        file = self.files[frame]
        with picture_file(file, repr(str(file))) as picture:
            picture.load()
        return _bytes(as_rgb(picture, argument=repr(str(file))))

    def _size(self, file: Path) -> tuple[int, int]:
        with picture_file(file, repr(str(file))) as picture:
            width, height = picture.size
        return height, width


class Array(Readable):
    """An array (T, H, W, C), a volume (Z, Y, X), or a list of pictures."""

    def __init__(self, image_size: ImageSize, frames: Sequence[Any] | NDArray[Any] | Tensor) -> None:
        if len(frames) == 0:
            raise ValueError("video_path holds no frames")
        self._frames = frames
        super().__init__(image_size, _picture(frames[0], 0).shape[:2])

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self._frames)

    def pixels(self, frame: int) -> Bytes:
        """See `Readable`."""
        return _picture(self._frames[frame], frame)


class Stream(Clip):
    """An iterator of pictures, which is read no further than it has to be.

    Args:
        image_size: of the model's images.
        frames: the pictures.
        keep: keep all frames' pixels, so that tracking can go back to them.
        held: frames that were read before, by number.
        start: number of the iterator's first picture.
        size: of the frames; None takes it from the iterator's first one.
    """

    streamed = True

    def __init__(
        self,
        image_size: ImageSize,
        frames: Iterable[Any],
        *,
        keep: bool = False,
        held: dict[int, Bytes] | None = None,
        start: int = 0,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._frames, self._keep, self.held = iter(frames), keep, dict(held or {})
        self.read, self._ended = start, False
        if size is not None:
            super().__init__(image_size, size)
            return
        first = next(self._frames, None)
        if first is None:
            raise ValueError("video_path gave no frames")
        pixels = _picture(first, 0)
        super().__init__(image_size, pixels.shape[:2])
        self._hold(pixels)

    @property
    def count(self) -> int | None:
        """How many frames there are, once the iterator has ended."""
        return self.read if self._ended else None

    @property
    def first(self) -> int:
        """The first frame from which on all are at hand."""
        return min(self.held, default=self.read) if self._keep else self._first()

    def has(self, frame: int) -> bool:
        """See `Clip`."""
        while not self._ended and self.read <= frame:
            following = next(self._frames, None)
            if following is None:
                self._ended = True
            else:
                self._hold(_picture(following, self.read))
        return 0 <= frame < self.read

    def resized(self, frame: int) -> Bytes:
        """See `Clip`."""
        self.check(frame)
        if frame not in self.held:
            raise ValueError(
                f"frame {frame} has passed and its pixels are gone, but tracking has to go back to it: "
                "keep them by history='all', or give the frames as a folder, a file or an array"
            )
        return self.held[frame]

    def release(self, before: int, *, but: Collection[int] = ()) -> None:
        """See `Clip`."""
        if not self._keep:
            for frame in [frame for frame in self.held if frame < before and frame not in but]:
                del self.held[frame]

    def _hold(self, pixels: Bytes) -> None:
        self.held[self.read] = self._squared(pixels, self.read)
        self.read += 1

    def _first(self) -> int:
        first = self.read
        while first - 1 in self.held:
            first -= 1
        return first


def _picture(frame: Any, number: int) -> Bytes:
    return _bytes(as_rgb(frame, argument=f"frame {number}"))


def _bytes(pixels: Bytes | NDArray[np.float32]) -> Bytes:
    """Pixels as bytes, which the rule of resizing is for; those from 0 to 1 are rounded."""
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels * 255.0)
    return pixels.astype(np.uint8, copy=False)


def _is_frame(file: Path) -> bool:
    return file.suffix.lower() in PICTURES and not file.name.startswith(".") and file.is_file()


def _natural(file: Path) -> list[tuple[bool, int, str]]:
    """A key by which numbers in names count as numbers."""
    parts = re.split(r"(\d+)", file.name)
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _column(values: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype)[:, None, None]
