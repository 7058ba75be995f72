"""Candidates of a mask generator: logits become masks, are judged, and the good ones are kept as run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from samblocks.predict.components import remove_small_regions
from samblocks.predict.crops import CropBox, is_box_near_crop_edge
from samblocks.predict.measures import batched_mask_to_box, calculate_stability_score
from samblocks.predict.nms import nms
from samblocks.predict.rle import RLE, decode, encode


@dataclass(frozen=True)
class Thresholds:
    """By what candidates are judged.

    Attributes:
        mask: logits above it are the mask.
        predicted_iou: candidates must have more; nobody is judged by it if it is not positive.
        stability: candidates must have as much; nobody is judged by it if it is not positive.
        stability_offset: how far from `mask` the two thresholds lie whose masks are compared.
    """

    mask: float
    predicted_iou: float
    stability: float
    stability_offset: float


@dataclass(frozen=True)
class Candidates:
    """Masks of one picture, and what is known of them; tensors are on the CPU.

    Attributes:
        rles: the masks in the picture's size.
        boxes: [N, 4] int64, first column, first row, last column and last row.
        predicted_iou: [N] float32, what the model thinks of them.
        stability: [N] float32
        points: [N, 2], the click that each one answers, in the picture's pixels.
        crops: where each one was looked for.
    """

    rles: list[RLE]
    boxes: Tensor
    predicted_iou: Tensor
    stability: Tensor
    points: Tensor
    crops: list[CropBox]

    def __len__(self) -> int:
        return len(self.rles)

    @staticmethod
    def joined(parts: Sequence[Candidates]) -> Candidates:
        """Put candidates behind one another; `parts` holds at least one."""
        return Candidates(
            [rle for part in parts for rle in part.rles],
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.predicted_iou for part in parts]),
            torch.cat([part.stability for part in parts]),
            torch.cat([part.points for part in parts]),
            [crop for part in parts for crop in part.crops],
        )

    def take(self, indices: Tensor) -> Candidates:
        """Keep some, in the order of `indices` [K]."""
        places = indices.tolist()
        return Candidates(
            [self.rles[place] for place in places],
            self.boxes[indices],
            self.predicted_iou[indices],
            self.stability[indices],
            self.points[indices],
            [self.crops[place] for place in places],
        )

    def without_duplicates(self, scores: Tensor, threshold: float) -> Candidates:
        """Keep the best of those whose boxes overlap by more than `threshold`, best first; `scores` are [N]."""
        return self.take(nms(self.boxes, scores, threshold))

    def prefer_small_crops(self, threshold: float) -> Candidates:
        """Of duplicates in several crops keep the one from the smallest crop."""
        areas = torch.tensor([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.crops], dtype=torch.int64)
        return self.without_duplicates(1 / areas, threshold)

    def without_small_regions(self, area: float, threshold: float) -> Candidates:
        """Fill holes and take islands away that are smaller than `area`, then drop new duplicates.

        Masks that were left as they were are better than others: they come first.
        """
        rles, boxes, untouched = list(self.rles), self.boxes.clone(), torch.ones(len(self))
        for place, rle in enumerate(self.rles):
            mask, filled = remove_small_regions(torch.from_numpy(decode(rle)), area, "holes")
            mask, cleared = remove_small_regions(mask, area, "islands")
            if filled or cleared:
                [rles[place]], untouched[place] = encode(mask[None]), 0.0
                boxes[place] = batched_mask_to_box(mask)
        cleaned = Candidates(rles, boxes, self.predicted_iou, self.stability, self.points, self.crops)
        return cleaned.without_duplicates(untouched, threshold)


def judge(
    logits: Tensor,
    predicted_iou: Tensor,
    points: Tensor,
    crop: CropBox,
    size: tuple[int, int],
    thresholds: Thresholds,
) -> Candidates:
    """Keep what the model is sure of, what is stable, and what no edge of the crop has cut.

    Args:
        logits: [N, H, W], in the crop's size.
        predicted_iou: [N]
        points: [N, 2], the click of each, in the crop's pixels.
        crop: where the crop is.
        size: height and width of the picture.
        thresholds: what is enough.

    Returns:
        The candidates that are left, in their order. Boxes and points are in the picture's pixels.
    """
    if thresholds.predicted_iou > 0:
        sure = predicted_iou > thresholds.predicted_iou
        logits, predicted_iou, points = logits[sure], predicted_iou[sure], points[sure.to(points.device)]
    stability = calculate_stability_score(logits, thresholds.mask, thresholds.stability_offset)
    masks = logits > thresholds.mask
    boxes = batched_mask_to_box(masks)
    x0, y0, x1, y1 = crop
    height, width = size
    kept = ~is_box_near_crop_edge(boxes, crop, (0, 0, width, height))
    if thresholds.stability > 0:
        kept &= stability >= thresholds.stability
    whole = F.pad(masks[kept], (x0, width - x1, y0, height - y1))
    corner = torch.tensor([x0, y0])
    return Candidates(
        encode(whole),
        boxes[kept].cpu() + corner.repeat(2),
        predicted_iou[kept].float().cpu(),
        stability[kept].cpu(),
        points[kept.to(points.device)].cpu() + corner,
        [crop] * len(whole),
    )
