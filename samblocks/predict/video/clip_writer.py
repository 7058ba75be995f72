"""Tracked clips in a folder: a mask for each object and frame, and an overlay to look at."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Hashable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from samblocks.files import is_free, plain_name
from samblocks.predict.masks import Masks
from samblocks.predict.overlays import overlay
from samblocks.predict.picture_files import pillow
from samblocks.predict.resize import Bytes

_CODECS: Final = ("libx264", "mpeg4")
"""Of the overlay: the first is what browsers play, and is not in every build of PyAV."""


class ClipWriter:
    """A folder that appears when everything is in it, or what there is when the user stops it.

    It has `masks/OBJECT/00000.png`, white where the object is, and `overlay.mp4`; where PyAV is missing,
    `overlay/00000.png`.

    Args:
        folder: what to write; it must not be there yet, or be empty.
        rate: frames of the overlay a second.

    Raises:
        FileExistsError: there is something in the folder.
        ImportError: Pillow is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], *, rate: float = 25.0) -> None:
        self.folder = Path(folder).resolve()  # of a link what it points to becomes the new folder
        if not is_free(self.folder):
            raise FileExistsError(f"{folder} is there already: name another folder, or empty it")
        self._image = pillow("writing masks")
        self._part = self.folder.with_name(f".{self.folder.name}.{secrets.token_hex(4)}.part")
        self._rate = rate
        self._video: Any = None
        self._stream: Any = None
        self.frames = 0
        """How many frames are in it."""

    def __enter__(self) -> Self:
        self._made = [one for one in self._part.parents if not one.exists()]
        self._part.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None or (issubclass(kind, KeyboardInterrupt) and self.frames):
                self._finish()
                if self.folder.exists():
                    self.folder.rmdir()
                self._part.replace(self.folder)
                return
            if self._video is not None:
                self._video.close()
        finally:
            if self._part.exists():
                self._remove()

    def _remove(self) -> None:
        """Leave nothing, not even the folders around it."""
        shutil.rmtree(self._part, ignore_errors=True)
        with suppress(OSError):  # somebody else has put something there
            for folder in self._made:
                folder.rmdir()

    def write(self, frame: int, pixels: Bytes, ids: Sequence[Hashable], masks: NDArray[np.bool_]) -> None:
        """Add a frame.

        Args:
            frame: its number.
            pixels: [H, W, 3]
            ids: the objects.
            masks: [N, H, W]

        Raises:
            ValueError: an object's name cannot be a folder's.
        """
        for obj_id, mask in zip(ids, masks, strict=True):
            file = self._part / "masks" / plain_name(str(obj_id)) / f"{frame:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            self._image.fromarray(mask.astype(np.uint8) * 255).save(file)
        self._show(frame, painted(pixels, ids, masks))
        self.frames += 1

    def _show(self, frame: int, picture: Bytes) -> None:
        try:
            import av
        except ImportError:
            file = self._part / "overlay" / f"{frame:05d}.png"
            file.parent.mkdir(exist_ok=True)
            self._image.fromarray(picture).save(file)
            return
        height, width = (side // 2 * 2 for side in picture.shape[:2])  # this kind of video has even sides
        if self._video is None:
            self._video = av.open(str(self._part / "overlay.mp4"), "w")
            codec = next(name for name in _CODECS if name in av.codecs_available)
            self._stream = self._video.add_stream(codec, rate=Fraction(self._rate).limit_denominator(1001))
            self._stream.width, self._stream.height = max(width, 2), max(height, 2)
            self._stream.pix_fmt, self._stream.bit_rate = "yuv420p", 8 * width * height
        padded = np.pad(
            picture, ((0, picture.shape[0] == 1), (0, picture.shape[1] == 1), (0, 0)), mode="edge"
        )
        shown = np.ascontiguousarray(padded[: max(height, 2), : max(width, 2)])
        self._video.mux(self._stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))

    def _finish(self) -> None:
        if self._video is not None:
            self._video.mux(self._stream.encode())
            self._video.close()


def painted(pixels: Bytes, ids: Sequence[Hashable], masks: NDArray[np.bool_]) -> Bytes:
    """A picture with objects in colours, each with its outline and its id."""
    return overlay(pixels, Masks(masks), labels=[str(obj_id) for obj_id in ids])
