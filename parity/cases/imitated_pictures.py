"""What other libraries do to pictures before a model sees them, and to its masks; see `imitations`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from parity.cases.imitations import Imitation, during, norms_of_blocks
from parity.execution.case import Case, Known, Library, Side

_GREY = 114


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture [H, W, 3], uint8, in the upper left of a grey square, as Ultralytics' predictors fit it.

    Args:
        picture: resized by OpenCV's bilinear rule, without smoothing.
        side: of the square in pixels.
    """
    scale = side / max(picture.shape[:2])
    height, width = (round(length * scale) for length in picture.shape[:2])
    square = np.full((side, side, 3), _GREY, np.uint8)
    square[:height, :width] = resized_by_opencv(picture, (height, width))
    return square


def resized_by_opencv(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, C], uint8, by the whole-numbered arithmetic of OpenCV's bilinear rule, equal to it in every bit.

    Columns come first, with 11 binary places of a weight; rows then lose 4 places before they are multiplied.
    """
    if picture.shape[:2] == size:
        return picture
    left, right, weights = _neighbours(picture.shape[1], size[1])
    inside = (left >= 0) & (right < picture.shape[1])
    near, far = np.where(inside[:, None], weights, [2048, 0]).T[..., None]
    left, right = (np.clip(at, 0, picture.shape[1] - 1) for at in (left, right))
    levels = picture.astype(np.int64)
    rows = (levels[:, left] * near + levels[:, right] * far) >> 4
    above, below, weights = _neighbours(picture.shape[0], size[0])
    near, far = weights.T[..., None, None]
    above, below = (np.clip(at, 0, picture.shape[0] - 1) for at in (above, below))
    total: np.ndarray = ((rows[above] * near) >> 16) + ((rows[below] * far) >> 16)
    return ((total + 2) >> 2).astype(np.uint8)


def _neighbours(before: int, after: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each place of the result, [after], the two before it and after it, and their weights, [after, 2]."""
    places = ((np.arange(after) + 0.5) * (before / after) - 0.5).astype(np.float32)
    first = np.floor(places)
    share = places - first
    weights = np.rint(np.stack([1 - share, share], axis=1) * np.float32(2048)).astype(np.int64)
    return first.astype(np.int64), first.astype(np.int64) + 1, weights


def inside(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of a square's logits [..., h, w] that a picture of (height, width) takes up."""
    scale = masks.shape[-1] / max(size)
    height, width = (round(length * scale) for length in size)
    return masks[..., :height, :width]


def _enlarged(masks: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """Logits [..., h, w] of a square, brought to a picture's (height, width).

    Where the picture ends between two cells, that is where the last pixel does; what is beyond is looked at, too.

    Args:
        masks: of the whole square.
        size: of the picture.
        side: of the square in pixels.
    """
    ends = [round(length * side / max(size)) * masks.shape[-1] / side for length in size]
    if all(end.is_integer() for end in ends):
        within = masks[..., : int(ends[0]), : int(ends[1])]
        return interpolate(within, size, mode="bilinear", align_corners=False)
    rows, columns = (
        (torch.arange(length).double() + 0.5) * (end / length) * (2 / masks.shape[-1]) - 1
        for length, end in zip(size, ends, strict=True)
    )
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[None]
    enlarged = grid_sample(masks.double(), places, padding_mode="border", align_corners=False)
    return enlarged.to(masks.dtype)


class _Fitted:
    """A predictor of ours that is given squares, in whose pixels prompts are: by one factor for both directions."""

    def __init__(self, made: Any, kind: type) -> None:
        self._made, self._kind = made, kind
        self._size = (0, 0)
        self._side = max(made.transform.sides)

    def set_image(self, picture: np.ndarray) -> None:
        self._size = (picture.shape[0], picture.shape[1])
        self._made.set_image(fitted(picture, self._side))

    def predict(self, *, return_logits: bool = False, **prompt: Any) -> Any:
        scale, wide = self._side / max(self._size), next(self._made.model.parameters()).dtype
        for name in ("point_coords", "box"):
            if prompt.get(name) is not None:
                prompt[name] = (torch.as_tensor(prompt[name], dtype=wide) * scale).numpy()
        _, ious, low_res = self._made.predict(return_logits=True, **prompt)
        shown = _enlarged(torch.from_numpy(low_res)[None], self._size, self._side)[0].numpy()
        return (shown if return_logits else (shown > 0.0).astype(self._kind)), ious, low_res


class _Drawing:
    """A library whose predictors fit pictures into squares."""

    def __init__(self, library: Any) -> None:
        self._library, self.name = library, library.name

    def function(self, name: str) -> Any:
        make = self._library.function(name)
        kind = bool if name == "SamPredictor" else np.float32
        return lambda *args, **settings: _Fitted(make(*args, **settings), kind)


def fitted_by_opencv(case: Case) -> Case:
    """Predictors of pictures."""
    return replace(
        case, call=lambda side: case.call(replace(side, library=cast(Library, _Drawing(side.library))))
    )


def given(name: str, change: Callable[[Tensor], Tensor]) -> Imitation:
    """Give ours another input in the place of one."""

    def imitation(case: Case) -> Case:
        def call(side: Side) -> Any:
            return case.call(replace(side, inputs={**side.inputs, name: change(side.inputs[name])}))

        return replace(case, call=call)

    return imitation


@contextmanager
def clips_by_torch(side: Side) -> Iterator[None]:
    """Frames of clips are resized as bytes by torch."""
    with mock.patch("samblocks.predict.video.clips.resize_bytes", _bytes):
        yield


@contextmanager
def pictures_by_torch(side: Side) -> Iterator[None]:
    """So are pictures: for SAM 1, and for SAM 2, where ours are real numbers from 0 to 1."""

    def smooth(pixels: Tensor, size: tuple[int, int]) -> Tensor:
        return _smoothed((pixels * 255).round().to(torch.uint8), size).to(pixels.dtype) / 255

    with (
        mock.patch("samblocks.predict.transforms.resize_bytes", _bytes),
        mock.patch("samblocks.predict.transforms.resize_smooth", smooth),
    ):
        yield


def _bytes(picture: np.ndarray, size: tuple[int, int], rule: str) -> np.ndarray:
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    found: np.ndarray = _smoothed(pixels, size)[0].permute(1, 2, 0).contiguous().numpy()
    return found


def _smoothed(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Bytes [B, C, H, W] by torch's bilinear rule in whole numbers, smoothed where they shrink."""
    return interpolate(pixels, size, mode="bilinear", antialias=True)


_FITTED = {
    "ultralytics": Known(
        cause="it fits pictures into a square without smoothing, by OpenCV, pads them with grey, scales coordinates by "
        "one factor, and enlarges the part of a mask that the picture takes up, to a quarter of a cell",
        imitation=fitted_by_opencv,
        shown="ours given such squares and coordinates, its masks enlarged so",
    )
}
RESIZED_FOR_SAM = {
    "transformers": Known(
        cause="its processor resizes in torch and rounds to bytes, by another rule than Pillow's; its norms of "
        "two-way blocks have eps 1e-6",
        imitation=during(pictures_by_torch, norms_of_blocks(1e-6)),
        shown="ours resizing by that rule, with that eps",
    ),
    **_FITTED,
}
RESIZED_FOR_SAM2 = {
    "transformers": Known(
        cause="its processor resizes in torch and rounds to bytes, where Meta's keeps floats",
        imitation=during(pictures_by_torch),
        shown="ours resizing so",
    ),
    **_FITTED,
}
"""What others do to pictures of other sizes than the model's; `other_drivers` has cases of its size."""
