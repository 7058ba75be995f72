"""Every argument of the predictors: what can be meant by none is refused by name, before anything is done."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import small_models
import torch

from samblocks.predict import ImagePredictor, MaskGenerator, VideoPredictor

SAM, TRACKER = small_models.sam(), small_models.tracker()
PICTURE = (np.arange(24 * 32 * 3) % 251).astype(np.uint8).reshape(24, 32, 3)
LOOSE: dict[str, Any] = {"points_per_side": 1, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
WRONG: dict[str, Any] = {
    "text": "x",
    "mapping": {"a": 1},
    "something": object(),
    "two numbers": torch.tensor([1.0, 2.0]),
    "a long text": "x\x1b[31m" * 10_000,
    "huge": 10**400,
}
PLACES = ("sam_model", "model", "image", "embedding", "video_path", "path")
ANYTHING = {  # any number of frames or name of an object, or a path that might be there
    *(("obj_id", kind) for kind in WRONG),
    *((name, kind) for name in PLACES for kind in ("text", "a long text")),
    ("max_frame_num_to_track", "huge"),
}
AS_A_TRUTH_VALUE = {"huge"}


def image_predictor() -> ImagePredictor:
    found = ImagePredictor(SAM)
    found.set_image(PICTURE)
    return found


def tracked() -> tuple[VideoPredictor, Any]:
    found = VideoPredictor(TRACKER)
    state = found.init_state([PICTURE] * 3)
    found.add_new_points_or_box(state, 0, 1, points=[[3, 4]], labels=[1])
    return found, state


def of_video(method: str, **given: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    def call(**arguments: Any) -> None:
        predictor, state = tracked()
        made = getattr(predictor, method)(**{"inference_state": state, **given, **arguments})
        if isinstance(made, Iterator):
            next(made, None)

    call.__signature__ = inspect.signature(getattr(VideoPredictor(TRACKER), method))  # type: ignore[attr-defined]
    return call, {}


def _calls() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    predictor, coords = image_predictor(), torch.tensor([[[3.0, 4.0]]])
    point: dict[str, Any] = {"point_coords": [[3, 4]], "point_labels": [1]}
    return {
        "ImagePredictor": (ImagePredictor, {"sam_model": SAM}),
        "MaskGenerator": (MaskGenerator, {"model": SAM, **LOOSE}),
        "VideoPredictor": (VideoPredictor, {"model": TRACKER}),
        "set_image": (ImagePredictor(SAM).set_image, {"image": PICTURE}),
        "set_image_batch": (ImagePredictor(SAM).set_image_batch, {}),
        "set_embedding": (predictor.set_embedding, {"embedding": predictor.get_embedding()}),
        "predict": (predictor.predict, point),
        "predict_batch": (
            predictor.predict_batch,
            {f"{name}_batch": [value] for name, value in point.items()},
        ),
        "predict_torch": (
            predictor.predict_torch,
            {"point_coords": coords, "point_labels": torch.ones(1, 1)},
        ),
        "mask_as_input": (predictor.mask_as_input, {}),
        "generate": (MaskGenerator(SAM, **LOOSE).generate, {"image": PICTURE}),
        "init_state": (VideoPredictor(TRACKER).init_state, {"video_path": [PICTURE] * 3}),
        "add_new_points_or_box": of_video(
            "add_new_points_or_box", frame_idx=0, obj_id=1, points=[[3, 4]], labels=[1]
        ),
        "add_new_mask": of_video("add_new_mask", frame_idx=0, obj_id=1, mask=np.ones((4, 4), bool)),
        "propagate_in_video": of_video("propagate_in_video"),
        "clear_all_prompts_in_frame": of_video("clear_all_prompts_in_frame", frame_idx=0, obj_id=1),
        "remove_object": of_video("remove_object", obj_id=1),
        "reset_state": of_video("reset_state"),
    }


CALLS = _calls()
ROWS = [
    (call, name)
    for call, (function, _) in CALLS.items()
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
]


@pytest.mark.parametrize(("call", "name"), ROWS)
def test_what_cannot_be_meant_is_refused_by_name(call: str, name: str) -> None:
    function, given = CALLS[call]
    default = inspect.signature(function).parameters[name].default
    for kind, value in WRONG.items():
        if (name, kind) in ANYTHING or (isinstance(default, bool) and kind in AS_A_TRUTH_VALUE):
            continue
        with pytest.raises((ValueError, TypeError)) as caught:
            function(**{**given, name: value})
        words = str(caught.value)
        assert name.removesuffix("_batch") in words, f"{kind}: {words}"
        assert words.isprintable(), kind
        assert len(words) < 500, kind


@pytest.mark.parametrize("name", [name for call, name in ROWS if call == "MaskGenerator"])
def test_a_threshold_that_is_no_number_is_refused(name: str) -> None:
    function, given = CALLS["MaskGenerator"]
    default = inspect.signature(function).parameters[name].default
    if isinstance(default, int | float) and not isinstance(default, bool):
        for value in (float("nan"), None, "0.9"):
            if value is None and name in ("points_per_side",):
                continue
            with pytest.raises(ValueError, match=name):
                function(**{**given, name: value})


def test_numbers_of_other_kinds_are_numbers() -> None:
    whole = {"points_per_side": np.int64(1), "points_per_batch": np.int32(2), "crop_n_layers": np.uint8(0)}
    broken = {"pred_iou_thresh": np.float32(0.5), "box_nms_thresh": torch.tensor(0.5), "mask_threshold": 1}
    generator = MaskGenerator(SAM, **whole, **broken, use_m2m=np.bool_(True), multimask_output=0)  # type: ignore[arg-type]
    assert (generator.points_per_batch, generator.box_nms_thresh, generator.use_m2m) == (2, 0.5, True)
    assert isinstance(generator.generate(PICTURE), list)
    assert MaskGenerator(SAM, **{**LOOSE, "pred_iou_thresh": float("inf")}).generate(PICTURE) == []


def test_a_label_of_no_kind_is_a_place_alone() -> None:
    predictor = image_predictor()
    encoder = SAM.prompt_encoder
    with torch.no_grad():
        tokens, _ = encoder((torch.tensor([[[3.0, 4.0]]]), torch.tensor([[7]])), None, None)
        place = encoder.pe_layer.forward_with_coords(torch.tensor([[[3.5, 4.5]]]), encoder.input_image_size)
    assert torch.equal(tokens[:, :1], place)
    found = predictor.predict([[3, 4]], [7], return_logits=True)[0]
    assert not np.array_equal(found, predictor.predict([[3, 4]], [1], return_logits=True)[0])


def test_a_refused_embedding_closes_nothing_of_this_process() -> None:
    with pytest.raises(ValueError, match="embedding=True must be an Embedding or a path"):
        image_predictor().set_embedding(True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="path=1 must be a path"):
        VideoPredictor(TRACKER).resume(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"sam_model=1 must be a model, a name or a path"):
        ImagePredictor(1)  # type: ignore[arg-type]
