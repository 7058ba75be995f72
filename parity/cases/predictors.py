"""Cases of the predictors of pictures: SamPredictor and SAM2ImagePredictor, from bytes and clicks to masks.

The pictures have odd sizes, are tiny, thin or grey; the models are small ones, at 64 and 128 pixels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from parity.cases.family import Row, family, row
from parity.cases.imitated_pictures import RESIZED_FOR_SAM, RESIZED_FOR_SAM2
from parity.cases.predicting import asked, decided, encoder_arguments, masks_are_mixed, pictured
from parity.cases.processing import picture
from parity.cases.sam import SMALL_PARTS
from parity.cases.sam2_settings import RELEASED, small_parts
from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import Side, Spec, make, uniform

SAM_PARTS: dict[str, Any] = {
    **SMALL_PARTS,
    # Exact in float32: the released means are not, and a float64 model has them as float32 rounds them.
    "pixel_mean": [100.0, 110.0, 120.0],
    "pixel_std": [50.0, 60.0, 70.0],
    "prompt_encoder": make(
        "PromptEncoder",
        embed_dim=32,
        image_embedding_size=(4, 4),
        input_image_size=(64, 64),
        mask_in_chans=8,
        embed_corner_labels=False,
    ),
}
SAM2_PARTS: dict[str, Any] = {**small_parts(), **RELEASED}

_ONE = np.array([1])
_TWO = np.array([1, 0])


def _at(*places: tuple[float, float]) -> np.ndarray:
    return np.array(places)


def grey(height: int, width: int) -> Spec:
    """A picture [H, W, 3] whose channels are equal."""
    colour = picture(height, width)
    return Spec(colour.shape, lambda name, shape: colour.values(name, shape)[..., :1].repeat(3, axis=2))


def _logits(side: int) -> Spec:
    return uniform(1, side, side, low=-8.0, high=8.0)


def _sam(why: str, size: tuple[int, int], prompts: Any, inputs: Any = None, **settings: Any) -> Row:
    fields = {key: settings.pop(key) for key in ("known", "check", "adjust") if key in settings}
    return row(
        why,
        inputs={"picture": picture(*size), **(inputs or {})},
        call=pictured("SamPredictor", prompts, **settings),
        **fields,
    )


def _sam2(why: str, size: tuple[int, int], prompts: Any, inputs: Any = None, **settings: Any) -> Row:
    fields = {key: settings.pop(key) for key in ("known", "check", "adjust") if key in settings}
    return row(
        why,
        inputs={"picture": picture(*size), **(inputs or {})},
        call=pictured("SAM2ImagePredictor", prompts, **settings),
        **fields,
    )


def _several_boxes(side: Side) -> Any:
    """Boxes and clicks of several prompts, through the transform for tensors and `predict_torch`."""
    made = side.library.function("SamPredictor")(side.net)
    shown = side.inputs["picture"].numpy(force=True)
    made.set_image(shown)
    size = shown.shape[:2]
    corners = made.transform.apply_boxes(np.array([[3.0, 4, 30, 25], [10, 2, 38, 20]]), size)
    places = made.transform.apply_coords(np.array([[[9.0, 9]], [[30, 12]]]), size)
    boxes, points = (
        torch.as_tensor(scaled, dtype=side.dtype, device=made.device) for scaled in (corners, places)
    )
    labels = torch.tensor([[1], [0]], device=made.device)
    prompts = {
        "boxes": (None, None, boxes),
        "clicks": (points, labels, None),
        "both": (points, labels, boxes),
    }
    found: dict[str, Any] = {}
    for name, prompt in prompts.items():
        masks, iou, low_res = made.predict_torch(*prompt, multimask_output=False)
        logits, _, _ = made.predict_torch(*prompt, multimask_output=False, return_logits=True)
        found[name] = {"masks": decided(masks, logits), "low_res": low_res, "iou": iou}
    ious = torch.cat([found[name].pop("iou").flatten() for name in prompts])
    return found | {"ious": ious}


def _resized_before(side: Side) -> Any:
    """`set_torch_image` on a picture that was resized by the transform."""
    made = side.library.function("SamPredictor")(side.net)
    shown = side.inputs["picture"].numpy(force=True)
    resized = torch.as_tensor(made.transform.apply_image(shown), device=made.device).permute(2, 0, 1)[None]
    made.set_torch_image(resized, shown.shape[:2])
    sizes = {"input": torch.tensor(made.input_size), "original": torch.tensor(made.original_size)}
    return asked(made, {"click": {"point_coords": _at((9, 9)), "point_labels": _ONE}}) | {
        "sizes": sizes,
        "embedding": made.get_image_embedding(),
    }


_ENCODED: dict[str, Any] = {
    "clicks": {"point_coords": _at((9.3, 30.2), (28.99, 0.1)), "point_labels": _TWO},
    "box": {"box": np.array([1.1, 3.7, 27.3, 34.9])},
    "both": {
        "point_coords": _at((9.3, 30.2)),
        "point_labels": _ONE,
        "box": np.array([1.1, 3.7, 27.3, 34.9]),
    },
}

_SAM_CASES = family(
    block="SAMModel", kwargs=SAM_PARTS, bound64=1e-10, check=masks_are_mixed, known=RESIZED_FOR_SAM
).of(
    predictor_click=_sam(
        "one click on an upright picture: bytes resized by Pillow's rule, coordinates scaled by rounded sides",
        (37, 29),
        {"click": {"point_coords": _at((9.3, 30.2)), "point_labels": _ONE}},
    ),
    predictor_box=_sam(
        "a box and two clicks on a picture larger than the input, one mask",
        (61, 83),
        {
            "box": {"box": np.array([9, 8, 60, 50]), "multimask_output": False},
        },
    ),
    predictor_box_and_clicks=_sam(
        "clicks come before the box's corners, and no padding point is added",
        (23, 41),
        {
            "both": {
                "point_coords": _at((20, 11), (3, 3)),
                "point_labels": _TWO,
                "box": np.array([9, 3, 35, 20]),
                "multimask_output": False,
            }
        },
    ),
    predictor_prompts=row(
        "several boxes, several clicks and both at once, in the resized picture's pixels",
        inputs={"picture": picture(27, 41)},
        call=_several_boxes,
    ),
    predictor_mask=row(
        "a click on earlier logits, and the logits alone, on a grey picture",
        inputs={"picture": grey(19, 31), "logits": _logits(16)},
        call=pictured(
            "SamPredictor",
            {
                "again": {"point_coords": _at((20, 11)), "point_labels": _ONE, "mask_input": "logits"},
                "alone": {"mask_input": "logits", "multimask_output": False},
            },
        ),
    ),
    predictor_thin=_sam(
        "a long and thin picture: one row is left of it",
        (3, 150),
        {"click": {"point_coords": _at((100, 1)), "point_labels": _ONE}},
    ),
    predictor_one_pixel=_sam(
        "a picture of one pixel fills the input",
        (1, 1),
        {"click": {"point_coords": _at((0, 0)), "point_labels": _ONE}},
        check=None,
        known=EPS_DIFFERS,
    ),
    predictor_blue_first=_sam(
        "channels are reversed where the picture has blue first",
        (33, 20),
        {"click": {"point_coords": _at((9, 9)), "point_labels": _ONE}},
        image_format="BGR",
    ),
    predictor_no_prompt=_sam(
        "no prompt at all has no tokens; no points in a list of points have the padding point",
        (20, 27),
        {
            "nothing": {"multimask_output": False},
            "no_points": {"point_coords": np.zeros((0, 2)), "point_labels": np.zeros(0, np.int64)},
        },
    ),
    predictor_coordinates=row(
        "coordinates are scaled as they were given, and rounded once",
        inputs={"picture": picture(37, 29)},
        call=encoder_arguments("SamPredictor", "prompt_encoder", _ENCODED),
        exact=True,
        check=None,
    ),
    predictor_resized=row(
        "a picture that was resized already, with the sizes that are remembered",
        inputs={"picture": picture(40, 30)},
        call=_resized_before,
    ),
)


def _enlarged(tensors: dict[str, torch.Tensor]) -> None:
    """Stretch logits beyond what is given back of them."""
    for name in tensors:
        if "output_hypernetworks_mlps" in name and ".layers.2." in name:
            tensors[name] = 40.0 * tensors[name]


def _both_sides_of_the_clamp(outputs: Mapping[str, torch.Tensor]) -> None:
    """Logits reach the clamp in both directions, most stay inside, and those that masks are made of go beyond."""
    masks_are_mixed(outputs)
    low_res, masks = outputs["click/low_res"], outputs["click/masks"]
    assert float(low_res.max()) == 32.0 == -float(low_res.min()), (low_res.min(), low_res.max())
    assert 0.05 < float((low_res.abs() < 32.0).double().mean()) < 0.99
    assert float(masks.abs().max()) > 40.0


def _several_pictures(side: Side) -> Any:
    """Two pictures of different sizes in one pass, with prompts of their own; then one more prompt, on the last."""
    made = side.library.function("SAM2ImagePredictor")(side.net)
    made.set_image_batch([side.inputs[name].numpy(force=True) for name in ("picture", "other")])
    prompts = {
        "point_coords_batch": [_at((9, 9)), None],
        "point_labels_batch": [_ONE, None],
        "box_batch": [None, np.array([3, 2, 20, 12])],
        "multimask_output": False,
    }
    masks, ious, low_res = made.predict_batch(**prompts)
    logits, _, _ = made.predict_batch(**prompts, return_logits=True)
    last = asked(made, {"last": {"box": np.array([3, 2, 20, 12]), "multimask_output": False}})
    found = {
        name: {
            "masks": decided(masks[i], logits[i]),
            "low_res": torch.as_tensor(low_res[i]),
        }
        for i, name in enumerate(("picture", "other"))
    }
    ious_of_all = torch.cat([*(torch.as_tensor(one).flatten() for one in ious), last.pop("ious")])
    return found | {
        "again": last["last"]["low_res"],
        "ious": ious_of_all,
        "embedding": made.get_image_embedding()[:, ::32],
    }


def _much_was_cleaned(outputs: Mapping[str, torch.Tensor]) -> None:
    """Masks are mixed, and each was cleaned of holes and of specks, whose logits are 10 from the threshold."""
    masks_are_mixed(outputs)
    for mask in outputs["click/masks"]:
        assert float(mask.max()) > 5.0, "no hole was filled"
        assert float(mask.min()) < -5.0, "no speck was removed"


_SAM2_CASES = family(
    block="SAM2Model", kwargs=SAM2_PARTS, bound64=1e-10, check=masks_are_mixed, known=RESIZED_FOR_SAM2
).of(
    predictor_click=_sam2(
        "one click on an upright picture: a smoothed square, coordinates divided and multiplied one by one",
        (37, 29),
        {"click": {"point_coords": _at((9.3, 30.2)), "point_labels": _ONE}},
    ),
    predictor_single=_sam2(
        "one mask, by its stability or by the predicted quality of the others, on a picture larger than the input",
        (131, 150),
        {"click": {"point_coords": _at((100, 30)), "point_labels": _ONE, "multimask_output": False}},
    ),
    predictor_box=_sam2(
        "boxes are points labelled 2 and 3 in front of the clicks, and the padding point ends them",
        (23, 41),
        {
            "box": {"box": np.array([9, 3, 35, 20]), "multimask_output": False},
            "both": {
                "point_coords": _at((20, 11), (3, 3)),
                "point_labels": _TWO,
                "box": np.array([9, 3, 35, 20]),
                "multimask_output": False,
            },
        },
    ),
    predictor_prompts=_sam2(
        "several boxes at once, with clicks for each, and with one mask for all",
        (20, 31),
        {
            "boxes": {
                "box": np.array([[3, 4, 28, 19], [10, 2, 30, 15]]),
                "multimask_output": False,
            },
            "both": {
                "point_coords": np.array([[[9, 9]], [[20, 12]]]),
                "point_labels": np.array([[1], [0]]),
                "box": np.array([[3, 4, 28, 19], [10, 2, 30, 15]]),
                "multimask_output": False,
            },
            "mask": {
                "box": np.array([[3, 4, 28, 19], [10, 2, 30, 15]]),
                "mask_input": "logits",
                "multimask_output": False,
            },
        },
        {"logits": uniform(1, 1, 32, 32, low=-8.0, high=8.0)},
    ),
    predictor_mask=row(
        "earlier logits with a click and alone, on a grey picture, through the features of SAM 2",
        inputs={"picture": grey(19, 31), "logits": _logits(32)},
        call=pictured(
            "SAM2ImagePredictor",
            {
                "again": {"point_coords": _at((20, 11)), "point_labels": _ONE, "mask_input": "logits"},
                "alone": {"mask_input": "logits", "multimask_output": False},
            },
        ),
    ),
    predictor_thin=_sam2(
        "a long and thin picture becomes a square",
        (3, 150),
        {"click": {"point_coords": _at((100, 1)), "point_labels": _ONE}},
    ),
    predictor_one_pixel=_sam2(
        "a picture of one pixel is all of the input",
        (1, 1),
        {"click": {"point_coords": _at((0, 0)), "point_labels": _ONE}},
        check=None,
        known={},
    ),
    predictor_square=_sam2(
        "a picture of the model's size is not resized; coordinates are fractions",
        (128, 128),
        {
            "click": {
                "point_coords": _at((0.3, 0.6)),
                "point_labels": _ONE,
                "normalize_coords": False,
                "multimask_output": False,
            }
        },
    ),
    predictor_no_prompt=_sam2(
        "no prompt at all is not the same as no points, for SAM 2 as well",
        (20, 27),
        {
            "nothing": {"multimask_output": False},
            "no_points": {"point_coords": np.zeros((0, 2)), "point_labels": np.zeros(0, np.int64)},
        },
    ),
    predictor_coordinates=row(
        "coordinates are rounded, divided and multiplied; corners come before clicks, as points labelled 2 and 3",
        inputs={"picture": picture(37, 29)},
        call=encoder_arguments("SAM2ImagePredictor", "sam_prompt_encoder", _ENCODED),
        exact=True,
        check=None,
    ),
    predictor_pictures=row(
        "several pictures in one pass, each answered in its own size; later prompts are about the last one",
        inputs={"picture": picture(19, 31), "other": picture(26, 21)},
        call=_several_pictures,
    ),
    predictor_holes=_sam2(
        "small holes are filled and small specks removed, both by the logits as they were; OpenCV's components "
        "stand in for Meta's kernel",
        (25, 30),
        {"click": {"point_coords": _at((9, 9)), "point_labels": _ONE}},
        max_hole_area=6.0,
        max_sprinkle_area=9.0,
        check=_much_was_cleaned,
    ),
    predictor_clamp=_sam2(
        "low-resolution logits are cut to 32 before they are given back, and masks are made of those that are not",
        (21, 26),
        {"click": {"point_coords": _at((9, 9)), "point_labels": _ONE}},
        adjust=_enlarged,
        check=_both_sides_of_the_clamp,
    ),
    predictor_threshold=_sam2(
        "another threshold decides the masks, and leaves the logits",
        (25, 30),
        {"click": {"point_coords": _at((9, 9)), "point_labels": _ONE}},
        threshold=0.7,
        mask_threshold=0.7,
    ),
)

CASES = _SAM_CASES + _SAM2_CASES
