"""What may be given as a video, and the clip that it becomes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from samblocks.image_size import ImageSize
from samblocks.predict.video.clips import Array, Clip, Folder, Stream
from samblocks.predict.video.video_file import VideoFile


def open_clip(source: Any, image_size: ImageSize, *, keep: bool = False) -> Clip:
    """Make a clip of what users have.

    Args:
        source: a folder's or a video file's path, an array or tensor (T, H, W, C), a volume (Z, Y, X), a list of
            pictures, or an iterable of pictures.
        image_size: of the model's images.
        keep: of an iterator, keep the pixels of all frames.

    Returns:
        The clip.

    Raises:
        ValueError: it is none of these, holds nothing, or frames of several sizes.
        FileNotFoundError: there is no such path.
        ImportError: Pillow or PyAV is missing.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            return Folder(image_size, path)
        if not path.exists():
            raise FileNotFoundError(f"video_path={str(path)!r}: there is no such folder or file")
        if not path.is_file():
            raise ValueError(
                f"video_path={str(path)!r} is a pipe or a device, whose frames cannot be read again: write it to a "
                "file first, or give its frames as an iterator"
            )
        return VideoFile(image_size, path)
    if isinstance(source, np.ndarray | Tensor):
        if source.ndim not in (3, 4):
            raise ValueError(
                f"video_path has shape {tuple(source.shape)}; an array must be (T, H, W, C), or (Z, Y, X) for a volume"
            )
        return Array(image_size, source)
    if isinstance(source, bytes):
        raise ValueError("video_path is bytes: write them to a file, and give its path")
    if isinstance(source, Sequence):
        return Array(image_size, source)
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return Stream(image_size, source, keep=keep)
    raise ValueError(
        f"video_path is a {type(source).__name__}; it must be a path, an array, a list or an iterator of pictures"
    )
