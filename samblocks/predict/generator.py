"""`MaskGenerator`: all masks of a picture, from a grid of clicks on it and on crops of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from samblocks.image_size import whole_number
from samblocks.predict.arguments import flag, number, shown
from samblocks.predict.candidates import Candidates, Thresholds, judge
from samblocks.predict.crops import CropBox, Grid, build_all_layer_point_grids, generate_crop_boxes
from samblocks.predict.image import ImagePredictor
from samblocks.predict.loading import model_of, pretrained
from samblocks.predict.pictures import Picture, Pixels, as_rgb
from samblocks.predict.rle import area, compress, decode
from samblocks.predict.transforms import ResizeLongestSide

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
Progress = Callable[[int, int], None]
"""Told after each batch how many points are done, and how many there are."""
Record = dict[str, Any]

_MOST_POINTS: Final = 1 << 30
_MOST_LAYERS: Final = 10
"""A layer has four times the crops of the one before: these have more than a million."""


class MaskGenerator:
    """All masks of a picture, without a prompt.

    The model is asked for masks at a grid of points, on the whole picture and, if wanted, on overlapping crops of it,
    each of which is encoded once. What the model is not sure of, what changes much with the threshold, what a crop's
    edge has cut and what is there already is dropped.

    Arguments, defaults and results are those of Meta's generators, by the model's family; `SamAutomaticMaskGenerator`
    and `SAM2AutomaticMaskGenerator` are this class with the arguments in the order that each of them has.

    Args:
        model: a SAM, MobileSAM, SAM 2 or 2.1, ours or Meta's; or a path or a name, as for `samblocks.load`.
        points_per_side: points in each row and in each column of the grid; None where `point_grids` are given.
        points_per_batch: how many points are asked at once: more take more memory.
        pred_iou_thresh: what the model must predict of a mask's quality at least (exclusive), 0 for no such filter;
            0.88 for SAM and MobileSAM, 0.8 for SAM 2 if None.
        stability_score_thresh: how stable a mask must be (inclusive), 0 for no such filter.
        stability_score_offset: by how much the threshold is moved up and down for that.
        mask_threshold: logits above it are the mask; the model's own for SAM, 0 for SAM 2 if None.
        box_nms_thresh: overlap of boxes above which the worse one of two masks of one crop is dropped.
        crop_n_layers: how many layers of crops are looked at beside the picture: 2 x 2, 4 x 4 and so on.
        crop_nms_thresh: overlap of boxes above which, of masks in two crops, that in the larger crop is dropped.
        crop_overlap_ratio: see `samblocks.predict.crops.generate_crop_boxes`.
        crop_n_points_downscale_factor: by what `points_per_side` is divided from one layer to the next.
        point_grids: for each layer the points [N, 2] as fractions of a crop's width and height.
        min_mask_region_area: for SAM, holes and islands of fewer pixels are removed at the end, and masks that were
            changed give way to those that were not. For SAM 2, holes and sprinkles of at most so many pixels of its
            quarter-sized masks are removed before everything else.
        output_mode: "binary_mask" for arrays [H, W] of bool, "uncompressed_rle" or "coco_rle" for COCO's run lengths,
            as numbers or as text.
        use_m2m: give each mask back to the model once, with its point, before it is judged.
        multimask_output: ask for three masks at each point, or for one.
        **kwargs: `device` and `dtype`, as for `samblocks.load`, where a path or a name is given.

    Raises:
        ValueError: an argument is none of these; the message names it.

    Examples:
        >>> from samblocks.blocks import TwoWayTransformer
        >>> from samblocks.models import ImageEncoderViT, MaskDecoder, PromptEncoder, SAMModel
        >>> model = SAMModel(ImageEncoderViT(64, embed_dim=32, depth=1, num_heads=2, out_chans=16),
        ...                  PromptEncoder(16, (4, 4), (64, 64), 16, embed_corner_labels=False),
        ...                  MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32))).eval()
        >>> generator = MaskGenerator(model, points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0)
        >>> records = generator.generate(np.zeros((96, 128, 3), np.uint8))
        >>> list(records[0])
        ['segmentation', 'area', 'bbox', 'predicted_iou', 'point_coords', 'stability_score', 'crop_box']
        >>> records[0]["segmentation"].shape
        (96, 128)

    Upstream: facebookresearch/sam2 sam2/automatic_mask_generator.py
    """

    def __init__(
        self,
        model: nn.Module | str | os.PathLike[str],
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float | None = None,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        **kwargs: Any,
    ) -> None:
        if not isinstance(output_mode, str) or output_mode not in get_args(OutputMode):
            raise ValueError(
                "output_mode must be 'binary_mask', 'uncompressed_rle' or 'coco_rle', not "
                + shown(output_mode)
            )
        self.points_per_batch = whole_number(points_per_batch, "points_per_batch", 1, _MOST_POINTS)
        self.crop_n_layers = whole_number(crop_n_layers, "crop_n_layers", 0, _MOST_LAYERS)
        self.crop_n_points_downscale_factor = number(
            crop_n_points_downscale_factor, "crop_n_points_downscale_factor", least=1, what="at least 1"
        )
        self.stability_score_thresh = number(stability_score_thresh, "stability_score_thresh")
        self.stability_score_offset = number(stability_score_offset, "stability_score_offset")
        self.box_nms_thresh = number(box_nms_thresh, "box_nms_thresh")
        self.crop_nms_thresh = number(crop_nms_thresh, "crop_nms_thresh")
        self.crop_overlap_ratio = number(crop_overlap_ratio, "crop_overlap_ratio")
        self.min_mask_region_area = number(
            min_mask_region_area, "min_mask_region_area", what="a number of pixels"
        )
        self.use_m2m = flag(use_m2m, "use_m2m")
        self.multimask_output = flag(multimask_output, "multimask_output")
        for name, value in (("pred_iou_thresh", pred_iou_thresh), ("mask_threshold", mask_threshold)):
            if value is not None:
                number(value, name, what="a number, or None for the model's own")
        self.point_grids = _grids(points_per_side, crop_n_layers, crop_n_points_downscale_factor, point_grids)
        self.predictor = ImagePredictor(model_of(model, **kwargs))
        # What is done by family: the picture's own shape is SAM's, a square SAM 2's.
        self._is_sam1 = isinstance(self.predictor.transform, ResizeLongestSide)
        if not self._is_sam1:
            self.predictor.max_hole_area = self.predictor.max_sprinkle_area = min_mask_region_area
        if pred_iou_thresh is None:
            pred_iou_thresh = 0.88 if self._is_sam1 else 0.8
        if mask_threshold is None:
            mask_threshold = (
                float(getattr(self.predictor.model, "mask_threshold", 0.0)) if self._is_sam1 else 0.0
            )
        self.pred_iou_thresh, self.mask_threshold = pred_iou_thresh, mask_threshold
        self.output_mode = output_mode

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> Self:
        """Load a published model and make its generator; see `ImagePredictor.from_pretrained`.

        Args:
            model_id: the model's name.
            **kwargs: the constructor's, and those that `ImagePredictor.from_pretrained` has for the model.

        Returns:
            The generator.

        Raises:
            CheckpointError: there is no such file, or it cannot be had.
            ValueError: a keyword is none of these.
        """
        model, rest = pretrained(model_id, kwargs)
        return cls(model, **rest)

    def generate(self, image: Picture, progress: Progress | None = None) -> list[Record]:
        """Find all masks of a picture.

        Args:
            image: see `samblocks.predict.pictures.as_rgb`.
            progress: called after each batch with the number of points that are done, and that of all.

        Returns:
            A record for each mask: `segmentation`, [H, W] bool or run lengths, and its `area` in pixels; `bbox` as
            x, y of its first column and row and the distance to its last ones; `predicted_iou`; `point_coords`, the
            one click [[x, y]] that it answers; `stability_score`; `crop_box`, where it was looked for, as x, y,
            width and height. In a single crop the surest come first; with several, those from the smallest crops;
            with SAM's `min_mask_region_area`, before all others those that were left as they were.
            No masks make an empty list.

        Raises:
            ValueError: `image` is no picture.
        """
        if progress is not None and not callable(progress):
            raise ValueError(f"progress={shown(progress)} must be a function of two numbers, or None")
        pixels = as_rgb(image)
        size = (pixels.shape[0], pixels.shape[1])
        crops, layers = generate_crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio)
        done, total = 0, sum(len(self.point_grids[layer]) for layer in layers)

        def advance(points: int) -> None:
            nonlocal done
            done += points
            if progress is not None:
                progress(done, total)

        with torch.no_grad():
            found = Candidates.joined(
                [
                    self._in_crop(pixels, crop, self.point_grids[layer], advance)
                    for crop, layer in zip(crops, layers, strict=True)
                ]
            )
        if len(crops) > 1:
            found = found.prefer_small_crops(self.crop_nms_thresh)
        if self._is_sam1 and self.min_mask_region_area > 0:
            found = found.without_small_regions(
                self.min_mask_region_area, max(self.box_nms_thresh, self.crop_nms_thresh)
            )
        return [self._record(found, place) for place in range(len(found))]

    def _in_crop(
        self, pixels: Pixels, crop: CropBox, grid: Grid, advance: Callable[[int], None]
    ) -> Candidates:
        """Encode a crop and ask at all points of a grid; without duplicates."""
        x0, y0, x1, y1 = crop
        points = grid * (x1 - x0, y1 - y0)
        try:
            self.predictor.set_image(pixels[y0:y1, x0:x1])
            parts = []
            for start in range(0, len(points), self.points_per_batch):
                batch = points[start : start + self.points_per_batch]
                parts.append(self._at_points(batch, crop, (pixels.shape[0], pixels.shape[1])))
                advance(len(batch))
        finally:
            self.predictor.reset_predictor()
        found = Candidates.joined(parts)
        return found.without_duplicates(found.predicted_iou, self.box_nms_thresh)

    def _at_points(self, points: Grid, crop: CropBox, size: tuple[int, int]) -> Candidates:
        """Ask for masks at points of a crop, [N, 2] in its pixels, and judge them."""
        coords, clicks = self._scaled(points, (crop[3] - crop[1], crop[2] - crop[0]))
        masks, predicted_iou, low_res = self._predict(coords, None, self.multimask_output)
        several = masks.shape[1]
        clicks = clicks.repeat_interleave(several, 0)
        logits, predicted_iou = masks.flatten(0, 1), predicted_iou.flatten()
        if self.use_m2m:
            logits, predicted_iou = self._refined(coords.repeat_interleave(several, 0), low_res.flatten(0, 1))
        thresholds = Thresholds(
            self.mask_threshold,
            self.pred_iou_thresh,
            self.stability_score_thresh,
            self.stability_score_offset,
        )
        return judge(logits, predicted_iou, clicks, crop, size, thresholds)

    def _scaled(self, points: Grid, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points [N, 2] in the model's pixels, on its device; and as they are recorded.

        SAM's stay float64 until the prompt encoder has divided them by the side of its input; SAM 2's are rounded to
        float32 before anything else.
        """
        transform, device = self.predictor.transform, self.predictor.device
        if isinstance(transform, ResizeLongestSide):
            scaled = torch.from_numpy(transform.apply_coords(points, size))
            wide = torch.float32 if device.type == "mps" else torch.float64
            return scaled.to(device, wide), torch.from_numpy(points)
        rounded = torch.from_numpy(points).to(torch.float32)
        return transform.transform_coords(rounded, normalize=True, orig_hw=size).to(device), rounded

    def _predict(
        self, coords: Tensor, masks: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits for clicks [N, 2], each a prompt of its own, with masks [N, h, w] that they correct."""
        labels = torch.ones(len(coords), 1, dtype=torch.int32, device=coords.device)
        return self.predictor.predict_torch(
            coords[:, None],
            labels,
            mask_input=None if masks is None else masks[:, None],
            multimask_output=multimask,
            return_logits=True,
        )

    def _refined(self, coords: Tensor, low_res: Tensor) -> tuple[Tensor, Tensor]:
        """Give each mask [N, h, w] back with its click [N, 2]: new logits [N, H, W] and predicted qualities [N]."""
        logits, predicted_iou = [], []
        for start in range(0, len(coords), self.points_per_batch):
            some = slice(start, start + self.points_per_batch)
            again, iou, _ = self._predict(coords[some], low_res[some], multimask=False)
            logits.append(again.flatten(0, 1))
            predicted_iou.append(iou.flatten())
        return torch.cat(logits), torch.cat(predicted_iou)

    def _record(self, found: Candidates, place: int) -> Record:
        rle = found.rles[place]
        segmentation: Any = rle
        if self.output_mode == "binary_mask":
            segmentation = decode(rle)
        elif self.output_mode == "coco_rle":
            segmentation = compress(rle)
        number = int if self._is_sam1 else float
        return {
            "segmentation": segmentation,
            "area": area(rle),
            "bbox": [number(side) for side in _with_sides(found.boxes[place].tolist())],
            "predicted_iou": found.predicted_iou[place].item(),
            "point_coords": [found.points[place].tolist()],
            "stability_score": found.stability[place].item(),
            "crop_box": [number(side) for side in _with_sides(found.crops[place])],
        }


class SamAutomaticMaskGenerator(MaskGenerator):
    """`MaskGenerator` with the arguments of SAM's generator, in its order and with its defaults.

    Upstream: facebookresearch/segment-anything segment_anything/automatic_mask_generator.py
    """

    def __init__(
        self,
        model: nn.Module | str | os.PathLike[str],
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model,
            points_per_side,
            points_per_batch,
            pred_iou_thresh,
            stability_score_thresh,
            stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            point_grids=point_grids,
            min_mask_region_area=min_mask_region_area,
            output_mode=output_mode,
            **kwargs,
        )


def _with_sides(box: Sequence[int]) -> list[int]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def _grids(per_side: int | None, n_layers: int, factor: int, given: Sequence[ArrayLike] | None) -> list[Grid]:
    """The points of each layer, made or checked."""
    if (per_side is None) == (given is None):
        raise ValueError(
            "exactly one of points_per_side and point_grids must be given: with point_grids, points_per_side=None"
        )
    if given is None:
        side = whole_number(per_side, "points_per_side", 1, _MOST_POINTS)
        return build_all_layer_point_grids(side, n_layers, factor)
    try:
        grids = [np.asarray(grid, dtype=np.float64) for grid in given]
    except (TypeError, ValueError):
        raise ValueError(f"point_grids={shown(given)} must be a list of arrays [N, 2]") from None
    if len(grids) <= n_layers:
        raise ValueError(
            f"point_grids holds {len(grids)} grids for the picture and crop_n_layers={n_layers} layers of crops"
        )
    for layer, grid in enumerate(grids):
        if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid):
            raise ValueError(f"point_grids[{layer}] has shape {grid.shape}; it must be [N, 2]")
    return grids
