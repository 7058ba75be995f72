"""Cases of mask generators, and of what they are made of.

With filled weights a click gives a mask over most of a picture, of which suppression leaves one. So most cases draw
masks by rule (`parity.execution.blobs`), and both libraries' generators drive the same stand-in for a model: whatever
comes after a model is then decided bit by bit.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.cases.calls import Check, function
from parity.cases.family import Row, family, row
from parity.cases.processing import picture
from parity.execution import fill
from parity.execution.case import Case, Known, Side, Spec, boolean, integers, uniform

_CELLS = 8


def _written(records: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Records as tensors: masks, and the places that go with them, as digests; a generator that raised has none."""
    found: dict[str, Any] = {"raised": records is None}
    records = records or []
    for name in ("predicted_iou", "stability_score"):
        # An empty mask has a stability that is no number.
        scores = torch.tensor([record[name] for record in records], dtype=torch.float32)
        found[name] = scores.nan_to_num(-1.0)
    whole = {type(side) for record in records for side in record["bbox"]}
    places = [
        (
            record["area"],
            *(tuple(map(float, np.ravel(record[name]))) for name in ("bbox", "point_coords", "crop_box")),
        )
        for record in records
    ]
    masks = [_content(record["segmentation"]) for record in records]
    crops = [digest(repr(tuple(map(float, record["crop_box"])))) & 0xFF for record in records]
    return found | {
        "boxes_are_whole": whole == {int},
        "crops": torch.tensor(crops, dtype=torch.uint8),
        "places": torch.tensor([digest(repr(place)) for place in places], dtype=torch.int64),
        "masks": torch.tensor([digest(mask) for mask in masks], dtype=torch.int64),
    }


def _content(segmentation: Any) -> str:
    if isinstance(segmentation, dict):
        return repr(segmentation)
    return f"{segmentation.shape} {segmentation.dtype} {np.packbits(segmentation).tobytes()!r}"


def digest(text: str) -> int:
    """A number that another text has with a probability of 2 to the power of -63."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _several(least: int, **distinct: int) -> Check:
    """Check that there are enough records, with different masks and with ties, and enough different values."""

    def check(outputs: Mapping[str, Tensor]) -> None:
        count = len(outputs["masks"])
        assert count >= least, f"only {count} records"
        assert _distinct(outputs["masks"]) >= count / 2, "most masks are equal"
        for name, needed in distinct.items():
            values = _distinct(outputs[name])
            assert values >= needed, f"{name} takes {values} values"
        assert _distinct(outputs["predicted_iou"]) < count, "no two masks have the same quality"

    return check


def _generated(block: str) -> Callable[..., Row]:
    """Make rows of what a generator finds in a drawn picture."""

    def make(
        why: str, size: tuple[int, int], settings: dict[str, Any], check: Check | None, **fields: Any
    ) -> Row:
        def call(side: Side) -> Any:
            return _written(side.library.function(block)(side.inputs["picture"], **settings))

        return row(why, inputs={"picture": picture(*size)}, call=call, check=check, **fields)

    return make


def _nothing(outputs: Mapping[str, Tensor]) -> None:
    assert not len(outputs["masks"]), "there are masks"


def _many(outputs: Mapping[str, Tensor]) -> None:
    assert len(outputs["masks"]) > 60, f"only {len(outputs['area'])} records"
    assert _distinct(outputs["predicted_iou"]) == len(outputs["masks"]), "two masks have the same quality"


def _distinct(values: Tensor) -> int:
    return len(np.unique(values.numpy(), axis=0))


_OPEN: dict[str, Any] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
_HALF: dict[str, Any] = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.5}
_TWO_LAYERS: dict[str, Any] = {
    "points_per_side": 8,
    "crop_n_layers": 2,
    "crop_n_points_downscale_factor": 2,
    "stability_score_offset": 0.5,
    "crop_nms_thresh": 0.5,
    "box_nms_thresh": 0.3,
    "crop_overlap_ratio": 0.5,
    **_HALF,
}
_GRID = [[[0.1, 0.2], [0.3, 0.9], [0.5, 0.5], [0.77, 0.31], [0.8, 0.8]]]


def _shared(rows: Callable[..., Row], whose: str, region: int) -> dict[str, Row]:
    """What is asked of both generators; a region's area is in pixels of the picture, or of the model's masks."""
    return {
        "defaults": rows(
            f"{whose} own thresholds, one crop",
            (61, 83),
            {"points_per_side": 16},
            _several(10),
        ),
        "nobody_is_judged": rows(
            f"{whose} empty masks stay, with a box of zeros; one-pixel masks and columns are no duplicates",
            (85, 58),
            {"points_per_side": 9, **_OPEN},
            _several(40, predicted_iou=4),
        ),
        "just_the_threshold": rows(
            f"{whose} predicted quality must be above its threshold, stability may be equal to its own",
            (71, 90),
            {"points_per_side": 10, "pred_iou_thresh": 0.9, "stability_score_thresh": 1.0},
            _several(3),
        ),
        "crops": rows(
            f"{whose} crops: what their edges cut goes, and of duplicates the one from the smaller crop stays",
            (90, 130),
            {"points_per_side": 8, "crop_n_layers": 1, **_HALF},
            _several(40, crops=4),
        ),
        "two_layers": rows(
            f"{whose} two layers of crops with fewer points each, on an upright picture, with other thresholds",
            (150, 70),
            _TWO_LAYERS,
            _several(40, crops=6),
        ),
        "regions": rows(
            f"{whose} small regions are removed, at each family's own time and by its own rule",
            (97, 131),
            {"points_per_side": 8, "min_mask_region_area": region, "points_per_batch": 7, **_HALF},
            _several(20),
        ),
        "regions_in_crops": rows(
            f"{whose} small regions are removed from masks of crops, too",
            (120, 91),
            {
                "points_per_side": 6,
                "crop_n_layers": 1,
                "min_mask_region_area": 9,
                "crop_nms_thresh": 0.8,
                **_HALF,
            },
            _several(20, crops=3),
        ),
        "own_points": rows(
            f"{whose} points that the caller gives, and run lengths as numbers",
            (60, 80),
            {
                "points_per_side": None,
                "point_grids": _GRID,
                "output_mode": "uncompressed_rle",
                "box_nms_thresh": 0.9,
                **_OPEN,
            },
            _several(6),
        ),
        "tiny": rows(
            f"{whose} a picture smaller than the masks of its model",
            (9, 14),
            {"points_per_side": 8, **_OPEN},
            _several(20),
        ),
        "many": rows(
            f"{whose} suppression among more than a thousand boxes",
            (41, 57),
            {"points_per_side": 19, "box_nms_thresh": 0.6, "ties": False, **_OPEN},
            _many,
        ),
        "nothing": rows(
            f"{whose} no mask is left of a picture",
            (40, 50),
            {"points_per_side": 4, "pred_iou_thresh": 0.99},
            _nothing,
        ),
        "nothing_in_crops": rows(
            f"{whose} no mask is left in any crop",
            (60, 50),
            {"points_per_side": 4, "pred_iou_thresh": 0.99, "crop_n_layers": 1},
            _nothing,
            known={
                "meta": Known(
                    cause="with crops of which none has a mask it raises IndexError; ours gives an empty list",
                    most={"raised": 1},
                )
            },
        ),
    }


_SAM = _generated("blobs_by_sam")
_SAM2 = _generated("blobs_by_sam2")

_BY_SAM = family(block="blobs_by_sam", exact=True, double=False).of(
    **_shared(_SAM, "by SAM's generator:", 150)
)
_BY_SAM2 = family(block="blobs_by_sam2", exact=True, double=False).of(
    **_shared(_SAM2, "by SAM 2's generator:", 9),
    given_back=_SAM2(
        "each mask is given back with its point once, cut to 32 and in pieces, before it is judged",
        (71, 90),
        {"points_per_side": 8, "use_m2m": True, "points_per_batch": 5, **_HALF},
        _several(15),
    ),
    given_back_in_crops=_SAM2(
        "masks of crops are given back, too",
        (90, 71),
        {"points_per_side": 6, "use_m2m": True, "crop_n_layers": 1, **_OPEN},
        _several(30, crops=4),
    ),
    single_masks=_SAM2(
        "one mask for each point, and another threshold for masks; holes are still judged at zero",
        (83, 77),
        {
            "points_per_side": 9,
            "multimask_output": False,
            "mask_threshold": 0.5,
            "min_mask_region_area": 6,
            **_HALF,
        },
        _several(10),
    ),
)


def _blotted(*shape: int) -> Spec:
    """Logits with holes and sprinkles of all sizes: sparse left, dense right, often at a threshold."""

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        logits = fill.uniform(name, shape, -2.0, 2.0) + np.linspace(-2.2, 2.2, shape[-1])
        logits[..., 2:7, 1:6], logits[..., 3:6, 2:5], logits[..., 4, 3] = -2.0, 2.0, -1.0  # a ring
        return np.round(4 * logits) / 4

    return Spec(shape, values)


def _of_masks(name: str, **arguments: Any) -> Callable[[Side], Any]:
    """Call a function on the logits' masks."""

    def call(side: Side) -> Any:
        return side.library.function(name)(side.inputs["logits"] > 0, *arguments.values())

    return call


_REGIONS = family(block="remove_small_regions", exact=True, double=False).of(
    **{
        f"{mode}_of_{area}": row(
            f"{mode} of fewer than {area} pixels",
            inputs={"logits": _blotted(2, 25, 34)},
            call=_of_masks("remove_small_regions", area=area, mode=mode),
        )
        for mode, area in (("holes", 2), ("holes", 9), ("islands", 3), ("islands", 10_000))
    }
)
_LOGITS = family(exact=True, double=False, name="blotted").of(
    clean_logits=row(
        "holes of up to five pixels are filled, sprinkles of up to eight of the mask as it was are taken away",
        inputs={"logits": _blotted(1, 2, 27, 31)},
        call=function("clean_logits", 5.0, 8.0, 0.25),
    ),
    fill_holes=row(
        "holes of up to eight pixels get a logit just above zero",
        inputs={"logits": _blotted(2, 1, 30, 34)},
        call=function("fill_holes", 8),
    ),
    calculate_stability_score=row(
        "a mask's area at a higher threshold by that at a lower one",
        inputs={"logits": uniform(6, 31, 45, low=-3.0, high=3.0)},
        call=function("calculate_stability_score", 0.5, 0.7),
    ),
    batched_mask_to_box=row(
        "the first and the last columns and rows of masks, zeros for an empty one",
        inputs={"logits": uniform(3, 5, 9, 7, low=-60.0, high=2.0)},
        call=_of_masks("batched_mask_to_box"),
    ),
    run_lengths=row(
        "lengths of runs, column by column, the first of background",
        inputs={"masks": boolean(7, 5, 4)},
        call=function("run_lengths"),
    ),
)
_PLACES: tuple[Case, ...] = family(exact=True, double=False, name="picture").of(
    is_box_near_crop_edge=row(
        "boxes that end within 20 pixels of a crop's edge, and not of the picture's",
        inputs={"boxes": integers(400, 4, low=0, high=120)},
        call=function("is_box_near_crop_edge", (100, 30, 219, 149), (0, 0, 230, 150)),
    ),
    generate_crop_boxes=row(
        "three layers of overlapping crops of an odd picture",
        call=function("generate_crop_boxes", (97, 131), 3, 512 / 1500),
    ),
    build_all_layer_point_grids=row(
        "grids of three layers, each with a third of the points of the one before in a row",
        call=function("build_all_layer_point_grids", 19, 2, 3),
    ),
)

CASES = _BY_SAM + _BY_SAM2 + _REGIONS + _LOGITS + _PLACES
