"""What a mask generator promises beside its values, which parity cases compare with upstream's."""

import inspect
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from parity.execution.blobs import BlobSAM, BlobSAM2
from samblocks.predict import MaskGenerator, SAM2AutomaticMaskGenerator, SamAutomaticMaskGenerator, rle
from samblocks.predict.components import connected_components
from samblocks.predict.crops import generate_crop_boxes
from samblocks.predict.generator import Record

SHARED = {
    "points_per_side": 32,
    "points_per_batch": 64,
    "stability_score_thresh": 0.95,
    "stability_score_offset": 1.0,
    "box_nms_thresh": 0.7,
    "crop_n_layers": 0,
    "crop_nms_thresh": 0.7,
    "crop_overlap_ratio": 512 / 1500,
    "crop_n_points_downscale_factor": 1,
    "min_mask_region_area": 0,
    "output_mode": "binary_mask",
}
LOOSE: dict[str, Any] = {"points_per_side": 6, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.5}


def picture(height: int = 90, width: int = 131) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = 128 + 100 * np.sin(x / 17) * np.cos(y / 13)
    return np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)


def same(one: list[Record], other: list[Record]) -> bool:
    def plain(records: list[Record]) -> list[dict[str, Any]]:
        return [
            {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in record.items()}
            for record in records
        ]

    return plain(one) == plain(other)


def test_defaults_are_those_of_each_family() -> None:
    for generator, iou in ((MaskGenerator(BlobSAM()), 0.88), (MaskGenerator(BlobSAM2()), 0.8)):
        found = {name: getattr(generator, name) for name in SHARED if hasattr(generator, name)}
        assert found == {name: value for name, value in SHARED.items() if name != "points_per_side"}
        assert generator.pred_iou_thresh == iou
        assert generator.mask_threshold == 0.0
        assert len(generator.point_grids[0]) == 32 * 32
        assert (generator.use_m2m, generator.multimask_output) == (False, True)
    model = BlobSAM()
    model.mask_threshold = 1.5
    assert MaskGenerator(model).mask_threshold == 1.5


def test_arguments_have_upstreams_order() -> None:
    sam = list(inspect.signature(SamAutomaticMaskGenerator).parameters)
    assert sam == [
        *("model", "points_per_side", "points_per_batch", "pred_iou_thresh", "stability_score_thresh"),
        *(
            "stability_score_offset",
            "box_nms_thresh",
            "crop_n_layers",
            "crop_nms_thresh",
            "crop_overlap_ratio",
        ),
        *("crop_n_points_downscale_factor", "point_grids", "min_mask_region_area", "output_mode", "kwargs"),
    ]
    sam2 = list(inspect.signature(SAM2AutomaticMaskGenerator).parameters)
    assert sam2 == [*sam[:6], "mask_threshold", *sam[6:-1], "use_m2m", "multimask_output", "kwargs"]
    made = SamAutomaticMaskGenerator(BlobSAM(), 1, 2, 3, 4, 0.5, 0.25, 0, 0.3, 0.2, 3, None, 9, "coco_rle")
    assert (made.points_per_batch, made.pred_iou_thresh, made.stability_score_thresh) == (2, 3, 4)
    assert (made.stability_score_offset, made.box_nms_thresh, made.crop_nms_thresh) == (0.5, 0.25, 0.3)
    assert (made.crop_overlap_ratio, made.crop_n_points_downscale_factor) == (0.2, 3)
    assert (made.min_mask_region_area, made.output_mode) == (9, "coco_rle")


@pytest.mark.parametrize("model", [BlobSAM, BlobSAM2])
def test_records_agree_with_themselves(model: type[BlobSAM | BlobSAM2]) -> None:
    records = MaskGenerator(model(), crop_n_layers=1, **LOOSE).generate(picture())
    crops, _ = generate_crop_boxes((90, 131), 1, 512 / 1500)
    number = int if model is BlobSAM else float
    assert len(records) > 20
    assert len({tuple(record["crop_box"]) for record in records}) > 2
    areas = [record["crop_box"][2] * record["crop_box"][3] for record in records]
    assert areas == sorted(areas)
    for record in records:
        mask = record["segmentation"]
        rows, columns = np.nonzero(mask)
        left, top = columns.min(), rows.min()
        assert (mask.shape, mask.dtype) == ((90, 131), bool)
        assert record["area"] == mask.sum()
        assert record["bbox"] == [left, top, columns.max() - left, rows.max() - top]
        assert {type(side) for side in [*record["bbox"], *record["crop_box"]]} == {number}
        x, y, width, height = record["crop_box"]
        assert (x, y, x + width, y + height) in crops
        [[px, py]] = record["point_coords"]
        assert x <= px < x + width
        assert y <= py < y + height
        assert record["predicted_iou"] > 0.5
        assert record["stability_score"] >= 0.5
        assert not mask[:, : int(x)].any()
        assert not mask[int(y + height) :].any()


def test_each_crop_is_encoded_once_and_progress_is_told_by_the_batch() -> None:
    model, told = BlobSAM2(), []
    generator = MaskGenerator(
        model, crop_n_layers=2, crop_n_points_downscale_factor=2, points_per_batch=10, use_m2m=True, **LOOSE
    )
    generator.generate(picture(), progress=lambda done, total: told.append((done, total)))
    assert model.image_encoder.calls == 1 + 4 + 16
    total = 36 + 4 * 9 + 16
    assert told == [(done, total) for done in itertools.accumulate([10, 10, 10, 6, *[9] * 4, *[1] * 16])]


def test_batches_change_nothing() -> None:
    whole = MaskGenerator(BlobSAM(), **LOOSE).generate(picture())
    for size in (1, 7):
        assert same(MaskGenerator(BlobSAM(), points_per_batch=size, **LOOSE).generate(picture()), whole)


def test_output_modes_say_the_same() -> None:
    masks, numbers, text = (
        MaskGenerator(BlobSAM(), output_mode=mode, **LOOSE).generate(picture())
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    assert len(masks) == len(numbers) == len(text) > 5
    for mask, number, letters in zip(masks, numbers, text, strict=True):
        assert number["segmentation"]["size"] == letters["segmentation"]["size"] == [90, 131]
        assert isinstance(number["segmentation"]["counts"], list)
        assert isinstance(letters["segmentation"]["counts"], str)
        assert np.array_equal(rle.decode(number["segmentation"]), mask["segmentation"])
        assert np.array_equal(rle.decode(letters["segmentation"]), mask["segmentation"])


@pytest.mark.parametrize("model", [BlobSAM, BlobSAM2])
@pytest.mark.parametrize("layers", [0, 1])
def test_no_masks_make_an_empty_list(model: type[BlobSAM | BlobSAM2], layers: int) -> None:
    generator = MaskGenerator(
        model(), points_per_side=3, pred_iou_thresh=0.99, crop_n_layers=layers, min_mask_region_area=5
    )
    assert generator.generate(picture()) == []


def test_empty_masks_stay_where_nobody_is_judged() -> None:
    records = MaskGenerator(
        BlobSAM(), points_per_side=8, pred_iou_thresh=0, stability_score_thresh=0
    ).generate(picture())
    empty = [record for record in records if not record["area"]]
    assert empty
    for record in empty:
        assert record["bbox"] == [0, 0, 0, 0]
        assert np.isnan(record["stability_score"])


def test_pictures_of_any_kind_and_size() -> None:
    generator = MaskGenerator(BlobSAM2(), **LOOSE)
    records = generator.generate(picture())
    assert same(generator.generate(torch.from_numpy(picture())), records)
    assert same(generator.generate(picture()[..., 0]), records)
    assert MaskGenerator(BlobSAM(), crop_n_layers=2, **LOOSE).generate(picture(1, 9)) is not None
    with pytest.raises(ValueError, match="image"):
        generator.generate(["no", "picture"])
    assert not generator.predictor.is_image_set


def test_a_generator_forgets_the_picture_even_if_it_fails() -> None:
    generator = MaskGenerator(BlobSAM(), **LOOSE)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generator.generate(picture(), progress=stop)
    assert not generator.predictor.is_image_set
    assert generator.generate(picture())


def only_specks(record: Record, area: int) -> bool:
    """Whether all islands are small: the largest of them stays, and the mask counts as changed."""
    return bool(connected_components(torch.from_numpy(record["segmentation"])).areas.max() < area)


def test_small_regions_go_and_untouched_masks_come_first() -> None:
    loose = {**LOOSE, "points_per_side": 8}
    before = MaskGenerator(BlobSAM(), **loose).generate(picture())
    after = MaskGenerator(BlobSAM(), min_mask_region_area=40, **loose).generate(picture())

    def known_by(record: Record) -> tuple[object, ...]:
        place = tuple(record["point_coords"][0])
        return place, record["predicted_iou"], record["stability_score"], record["segmentation"].tobytes()

    kept = {known_by(record) for record in before}
    untouched = [known_by(record) in kept and not only_specks(record, 40) for record in after]
    assert True in untouched
    assert False in untouched
    assert untouched == sorted(untouched, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points_per_side": None}, "exactly one of points_per_side and point_grids"),
        ({"point_grids": [[[0.5, 0.5]]]}, "exactly one of points_per_side and point_grids"),
        (
            {"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1},
            "holds 1 grids .*=1 layers",
        ),
        ({"points_per_side": None, "point_grids": [[0.5, 0.5]]}, r"point_grids\[0\] has shape \(2,\)"),
        ({"points_per_side": 0}, "points_per_side=0"),
        ({"points_per_side": 3, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2}, "without points"),
        ({"points_per_batch": 0}, "points_per_batch=0 must be an integer from 1"),
        ({"crop_n_layers": -1}, "crop_n_layers=-1"),
        ({"output_mode": "png"}, "output_mode must be .* not 'png'"),
        ({"pred_iou": 0.5}, "pred_iou is no argument"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    for model in (BlobSAM(), BlobSAM2()):
        with pytest.raises(ValueError, match=message):
            MaskGenerator(model, **arguments)
