"""`Masks`: what a predictor found, in the forms that others take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from samblocks.errors import counted
from samblocks.predict import rle
from samblocks.predict.polygons import Polygon, Ring, polygons

Affine = Sequence[float]
"""Six numbers a, b, c, d, e, f: x' = a·x + b·y + c and y' = d·x + e·y + f, as georeferenced pictures have them."""


class Masks(Sequence[dict[str, Any]]):
    """Masks of one picture, with their scores.

    It is a sequence of records as Meta's mask generators give them, so that what takes those takes it as it is:
    `supervision.Detections.from_sam(masks)`. `numpy.asarray(masks)` is the array.

    Args:
        masks: [N, H, W], [B, C, H, W] or [H, W]: bool, or zeros and ones; as `ImagePredictor.predict` gives them.
        scores: predicted qualities, one for each mask, in any shape.

    Raises:
        ValueError: `masks` is no array of masks, or there are not as many scores.

    Examples:
        >>> masks = Masks(np.array([[0, 1, 1], [0, 1, 0]]), [0.9])
        >>> masks.areas, masks.boxes
        (array([3]), array([[1., 0., 2., 1.]], dtype=float32))
        >>> masks.rle()
        [{'size': [2, 3], 'counts': '231'}]
        >>> masks[0]["bbox"], masks[0]["predicted_iou"]
        ([1, 0, 1, 1], 0.9)
    """

    def __init__(self, masks: Any, scores: Any | None = None) -> None:
        array = np.asarray(masks)
        if array.ndim < 2 or array.dtype.kind not in "biuf":
            raise ValueError(f"masks must be an array [N, H, W], found {array.dtype} of shape {array.shape}")
        self._masks: NDArray[np.bool_] = array.reshape(-1, *array.shape[-2:]) > 0.5
        self.scores: NDArray[np.float64] | None = None
        if scores is not None:
            self.scores = np.asarray(scores, np.float64).reshape(-1)
            if len(self.scores) != len(self._masks):
                raise ValueError(
                    f"scores holds {counted(len(self.scores), 'score')} for {counted(len(self._masks), 'mask')}"
                )

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> Masks:
        """The masks of a mask generator's records.

        Args:
            records: with a "segmentation", bool [H, W] or a run-length encoding, and a "predicted_iou".
            size: height and width of the picture, which matters where there is no record.
        """
        found = list(records)
        masks = [_as_array(one["segmentation"]) for one in found]
        return cls(
            np.stack(masks) if masks else np.zeros((0, *size), np.bool_),
            [one["predicted_iou"] for one in found],
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self._masks.shape[1], self._masks.shape[2]

    @property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each mask, [N]."""
        areas: NDArray[np.int64] = self._masks.sum(axis=(1, 2), dtype=np.int64)
        return areas

    @property
    def boxes(self) -> NDArray[np.float32]:
        """First column and row, last column and row of each mask, [N, 4]; zeros for an empty one."""
        found = np.zeros((len(self), 4), np.float32)
        for box, mask in zip(found, self._masks, strict=True):
            columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
            if len(columns):
                box[:] = columns[0], rows[0], columns[-1], rows[-1]
        return found

    def numpy(self) -> NDArray[np.bool_]:
        """The masks, [N, H, W] bool."""
        return self._masks

    def rle(self, *, compressed: bool = True) -> list[rle.RLE]:
        """COCO's run-length encodings; holes are in them. Counts are text if `compressed`, else numbers."""
        found = rle.encode(self._masks)
        return [rle.compress(one) for one in found] if compressed else found

    def polygons(self) -> list[list[Polygon]]:
        """Outlines of each mask along its pixels' edges, with holes; see `samblocks.predict.polygons`."""
        return [polygons(mask) for mask in self._masks]

    def geojson(self, transform: Affine | None = None) -> dict[str, Any]:
        """A FeatureCollection, one feature for each mask, with its score, area in pixels and box.

        Args:
            transform: from pixels, counted from the top left corner, to the coordinates that are wanted.

        Returns:
            What `json.dump` writes; outer outlines turn left and holes right, as RFC 7946 wants it.
        """
        a, b, c, d, e, f = transform if transform is not None else (1, 0, 0, 0, 1, 0)
        turned = a * e - b * d < 0

        def closed(ring: Ring) -> list[list[float]]:
            x, y = ring[:, 0], ring[:, 1]
            places = np.stack((a * x + b * y + c, d * x + e * y + f), axis=1)
            places = places[::-1] if turned else places
            return [*places.tolist(), places[0].tolist()]

        features = []
        for number, pieces in enumerate(self.polygons()):
            parts = [[closed(piece.outer), *map(closed, piece.holes)] for piece in pieces]
            geometry: dict[str, Any] | None = None
            if parts:
                single = len(parts) == 1
                geometry = {
                    "type": "Polygon" if single else "MultiPolygon",
                    "coordinates": parts[0] if single else parts,
                }
            features.append({"type": "Feature", "geometry": geometry, "properties": self._facts(number)})
        return {"type": "FeatureCollection", "features": features}

    def _facts(self, number: int) -> dict[str, Any]:
        """A mask's area, its box as x, y, width and height, and its score."""
        one = Masks(self._masks[number])
        left, top, right, bottom = (int(side) for side in one.boxes[0])
        facts: dict[str, Any] = {
            "area": int(one.areas[0]),
            "bbox": [left, top, right - left, bottom - top],
        }
        return facts if self.scores is None else {**facts, "predicted_iou": float(self.scores[number])}

    def __len__(self) -> int:
        return len(self._masks)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Masks: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Masks:
        """A record, or, for a slice, some of the masks."""
        if isinstance(index, slice):
            return Masks(self._masks[index], None if self.scores is None else self.scores[index])
        return {"segmentation": self._masks[index], **self._facts(index)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        array: NDArray[Any] = np.array(self._masks, dtype=dtype, copy=True if copy else None)
        return array

    def __repr__(self) -> str:
        height, width = self.size
        return f"Masks({len(self)} of {height} x {width} pixels)"


def _as_array(segmentation: Any) -> NDArray[np.bool_]:
    return rle.decode(cast(rle.RLE, segmentation)) if isinstance(segmentation, Mapping) else segmentation
