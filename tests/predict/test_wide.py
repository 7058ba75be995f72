"""Models whose input is no square. Nobody upstream has them: squares given as pairs, and float64, decide."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import small_models
import torch
import torch.nn.functional as F

from parity.execution import fill
from samblocks.predict import ImagePredictor, MaskGenerator, VideoPredictor
from samblocks.predict.resize import resize_bytes
from samblocks.predict.transforms import ResizeLongestSide, SAM2Transforms

SIDES = (64, 96)
MAKERS: list[Callable[[], Any]] = [small_models.sam, small_models.sam2]


def _picture(height: int = 40, width: int = 56, name: str = "picture") -> np.ndarray:
    coarse = fill.integers(name, (height // 8, width // 8, 3), 0, 256).astype(np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def _wide(make: Callable[[], Any], sides: tuple[int, int] = SIDES) -> Any:
    model = make()
    model.set_imgsz(sides)
    return model


def _click(model: Any, picture: np.ndarray, **options: Any) -> tuple[np.ndarray, ...]:
    predictor = ImagePredictor(model)
    predictor.set_image(picture)
    return predictor.predict([[40, 20], [3, 35]], [1, 0], return_logits=True, **options)


@pytest.mark.parametrize("make", MAKERS)
def test_equal_sides_are_a_square_to_the_bit(make: Callable[[], Any]) -> None:
    square, pair = make(), _wide(make, (64, 64))
    for one, other in zip(_click(square, _picture()), _click(pair, _picture()), strict=True):
        assert np.array_equal(one, other)
    settings: dict[str, Any] = {"points_per_side": 3, "pred_iou_thresh": -9.0, "stability_score_thresh": -9.0}
    records = [MaskGenerator(model, **settings).generate(_picture()) for model in (square, pair)]
    assert len(records[0]) == len(records[1]) > 0
    for one, other in zip(*records, strict=True):
        assert np.array_equal(one.pop("segmentation"), other.pop("segmentation"))
        assert one == other


@pytest.mark.parametrize("make", MAKERS)
def test_the_error_is_that_of_float32(make: Callable[[], Any]) -> None:
    model = _wide(make)
    found, exact = _click(model, _picture()), _click(deepcopy(model).double(), _picture())
    for one, truth in zip(found, exact, strict=True):
        assert one.dtype == np.float32
        assert truth.dtype == np.float64
        assert np.abs(one - truth).max() <= 1e-4 * np.abs(truth).max()


def test_sam_fits_the_picture_into_its_input() -> None:
    """What `SAMModel.forward` makes of a picture that was resized by hand."""
    model = _wide(small_models.sam).double()
    predictor = ImagePredictor(model)
    for picture, inside in ((_picture(40, 56), (64, 90)), (_picture(24, 80), (29, 96))):
        predictor.set_image(picture)
        assert predictor.input_size == inside
        resized = torch.from_numpy(resize_bytes(picture, inside, "bilinear")).permute(2, 0, 1)
        height, width = picture.shape[:2]
        click = torch.tensor([[[40 * inside[1] / width, 20 * inside[0] / height]]], dtype=torch.float64)
        asked = {"image": resized, "original_size": (height, width), "point_coords": click}
        [answer] = model([{**asked, "point_labels": torch.ones(1, 1)}], multimask_output=True)
        masks, scores, logits = predictor.predict([[40, 20]], [1])
        assert logits.shape == (3, 16, 24)
        assert np.allclose(logits, answer["low_res_logits"][0].detach().numpy(), atol=1e-9)
        assert np.allclose(scores, answer["iou_predictions"][0].detach().numpy(), atol=1e-9)
        assert np.array_equal(masks, answer["masks"][0].numpy())


def test_sam2_stretches_the_picture_to_its_input() -> None:
    """A picture of the input's size is not resized: a stretched one then answers as the same stretched by hand."""
    model = _wide(small_models.sam2).double()
    picture = _picture()
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 255
    stretched = F.interpolate(pixels, SIDES, mode="bilinear", align_corners=False, antialias=True)[0]
    predictor = ImagePredictor(model)
    predictor.set_image(picture)
    _, scores, logits = predictor.predict([[40, 20]], [1])
    predictor.set_image(stretched.permute(1, 2, 0).numpy())
    place = [[40 * SIDES[1] / picture.shape[1], 20 * SIDES[0] / picture.shape[0]]]
    _, same_scores, same_logits = predictor.predict(place, [1])
    assert logits.shape == (3, 16, 24)
    assert np.allclose(logits, same_logits, atol=1e-5)  # real numbers are read as float32
    assert np.allclose(scores, same_scores, atol=1e-5)


def test_a_film_begins_as_the_picture_does() -> None:
    """Two drivers, one model: of frames that have the input's size already, nothing is resized by either."""
    model = _wide(lambda: small_models.tracker(present=50.0)).double()
    frames = [_picture(*SIDES, name=f"frame {number}") for number in range(4)]
    predictor = ImagePredictor(model)
    predictor.set_image(frames[0])
    logits, scores, _ = predictor.predict([[70, 20]], [1], return_logits=True)
    driver = VideoPredictor(model, fill_hole_area=0, memory_dtype=None)
    assert driver.image_size == SIDES
    state = driver.init_state(frames)
    _, _, first = driver.add_new_points_or_box(state, 0, 1, points=[[70, 20]], labels=[1])
    best = logits[scores.argmax()]
    assert np.abs(first[0, 0].numpy() - best).max() <= 1e-5 * np.abs(best).max()  # given as float32
    tracked = [masks for _, _, masks in driver.propagate_in_video(state)]
    rough = VideoPredictor(deepcopy(model).float(), fill_hole_area=0, memory_dtype=None)
    state = rough.init_state(frames)
    rough.add_new_points_or_box(state, 0, 1, points=[[70, 20]], labels=[1])
    for truth, (_, _, masks) in zip(tracked, rough.propagate_in_video(state), strict=True):
        assert truth.abs().max() > 0
        assert (masks - truth).abs().max() <= 1e-3 * truth.abs().max()


def test_a_film_in_a_pair_of_equal_sides_is_that_in_a_square(tmp_path: Any) -> None:
    frames = [_picture(name=f"frame {number}") for number in range(3)]
    found = []
    for model in (small_models.tracker(), _wide(small_models.tracker, (64, 64)), _wide(small_models.tracker)):
        driver = VideoPredictor(model)
        state = driver.init_state(frames)
        driver.add_new_points_or_box(state, 0, 1, points=[[40, 20]], labels=[1])
        driver.add_new_mask(state, 0, 2, frames[0][..., 0] > 127)
        state.save(tmp_path / "state")
        resumed = driver.resume(tmp_path / "state", frames)
        found.append([masks for _, _, masks in driver.propagate_in_video(state)])
        again = [masks for _, _, masks in driver.propagate_in_video(resumed)]
        assert all(torch.equal(one, other) for one, other in zip(found[-1], again, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(found[0], found[1], strict=True))
    with pytest.raises(ValueError, match=r"image size \(64, 96\), the predictor has \(96, 64\)"):
        VideoPredictor(_wide(small_models.tracker, (96, 64))).resume(tmp_path / "state", frames)


@pytest.mark.parametrize("make", MAKERS)
def test_what_goes_in_beside_the_picture(make: Callable[[], Any], tmp_path: Any) -> None:
    predictor, turned = ImagePredictor(_wide(make)), ImagePredictor(_wide(make, SIDES[::-1]))
    predictor.set_image(_picture())
    drawn = predictor.mask_as_input(_picture()[..., 0] > 127)
    assert drawn.shape == (1, 16, 24)
    masks, _, _ = predictor.predict(mask_input=drawn, multimask_output=False)
    assert masks.shape == (1, 40, 56)
    predictor.get_embedding(tmp_path / "kept")
    with pytest.raises(ValueError, match="another image size"):
        turned.set_embedding(tmp_path / "kept")
    with pytest.raises(ValueError, match=r"\(64, 96\)"):
        predictor.set_torch_image(torch.zeros(1, 3, 96, 64), (40, 56))
    predictor.set_torch_image(torch.zeros(1, 3, *SIDES), (40, 56))
    assert predictor.input_size == SIDES


def test_coordinates() -> None:
    corner = torch.tensor([[56.0, 40.0]])
    stretched = SAM2Transforms(SIDES).transform_coords(corner, normalize=True, orig_hw=(40, 56))
    assert stretched.tolist() == [[96.0, 64.0]]
    assert ResizeLongestSide(SIDES).apply_coords(corner.numpy(), (40, 56)).tolist() == [[90.0, 64.0]]
    assert SAM2Transforms((64, 64)).resolution == 64
    with pytest.raises(ValueError, match="resolution"):
        SAM2Transforms((64, 0))
