"""`ImagePredictor` by itself: what it takes, what it keeps, what it refuses. Cases compare its numbers with Meta's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch
from torch import Tensor

import samblocks
from parity.execution import fill
from samblocks.models import SAM2Model, SAMModel
from samblocks.predict import ImagePredictor, SAM2ImagePredictor, SamPredictor, embeddings, loading


@pytest.fixture(scope="module", params=["sam", "sam2"])
def model(request: pytest.FixtureRequest) -> SAMModel | SAM2Model:
    return small_models.sam() if request.param == "sam" else small_models.sam2()


def _picture(height: int = 45, width: int = 70, name: str = "picture") -> np.ndarray:
    coarse = fill.integers(name, (-(-height // 8), -(-width // 8), 3), 0, 256).astype(np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


def _same(one: Any, other: Any) -> None:
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))


def test_the_names_of_meta_mean_this_class() -> None:
    assert samblocks.ImagePredictor is ImagePredictor is SamPredictor is SAM2ImagePredictor


def test_results_have_metas_shapes_and_dtypes(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    masks, scores, logits = predictor.predict([[30, 20]], [1])
    low = logits.shape[-1]
    assert masks.shape == (3, 45, 70)
    assert masks.dtype == (np.float32 if isinstance(model, SAM2Model) else np.bool_)
    assert (scores.shape, scores.dtype) == ((3,), np.dtype(np.float32))
    assert (logits.shape, logits.dtype) == ((3, low, low), np.dtype(np.float32))
    boxes = [[2, 3, 30, 40], [10, 5, 60, 30]]
    masks, scores, logits = predictor.predict(box=boxes, multimask_output=False)
    assert (masks.shape, scores.shape, logits.shape) == ((2, 1, 45, 70), (2, 1), (2, 1, low, low))
    again, _, _ = predictor.predict(box=boxes, mask_input=logits, multimask_output=False, return_logits=True)
    assert again.dtype == np.float32
    assert again.shape == (2, 1, 45, 70)


def test_each_of_several_prompts_is_answered_by_itself(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    boxes = np.array([[2, 3, 30, 40], [10, 5, 60, 30]])
    together = predictor.predict(box=boxes, return_logits=True)
    for i, box in enumerate(boxes):
        for one, alone in zip(together, predictor.predict(box=box, return_logits=True), strict=True):
            assert np.allclose(one[i], alone, atol=1e-4)


def test_prompts_in_any_form_and_none_is_changed(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    coords, labels = np.array([[30.0, 20.0], [5.0, 9.0]]), np.array([1, 0])
    before = coords.copy()
    expected = predictor.predict(coords, labels)
    _same(predictor.predict(coords.tolist(), labels.tolist()), expected)
    _same(predictor.predict(torch.from_numpy(coords), torch.from_numpy(labels)), expected)
    _same(predictor.predict(coords.astype(np.int32)[None], labels[None].astype(np.int64)), expected)
    _same(predictor.predict(coords, labels), expected)
    assert np.array_equal(coords, before)


def test_fractions_mean_the_same_places(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture(32, 64))  # powers of two: nothing is rounded
    pixels = predictor.predict([[16, 8]], [1], return_logits=True)
    _same(predictor.predict([[0.25, 0.25]], [1], return_logits=True, normalize_coords=False), pixels)


def test_pictures_in_any_form_give_the_same(model: Any) -> None:
    predictor = ImagePredictor(model)
    picture = _picture()
    predictor.set_image(picture)
    expected = predictor.predict([[30, 20]], [1])
    for image in (torch.from_numpy(picture).permute(2, 0, 1), np.dstack([picture, picture[..., 0]])):
        predictor.set_image(image)
        _same(predictor.predict([[30, 20]], [1]), expected)
    predictor.set_image(picture[..., ::-1], image_format="BGR")
    _same(predictor.predict([[30, 20]], [1]), expected)


def test_several_pictures_as_each_alone(model: Any) -> None:
    predictor = ImagePredictor(model)
    pictures = [_picture(45, 70, "one"), _picture(31, 20, "other")]
    predictor.set_image_batch(pictures)
    points, labels = [[[30, 20]], [[5, 9]]], [[1], [1]]
    masks, scores, logits = predictor.predict_batch(points, labels, return_logits=True)
    assert predictor.get_image_embedding().shape[0] == 2
    _same(predictor.predict(points[1], labels[1], return_logits=True), (masks[1], scores[1], logits[1]))
    for i, picture in enumerate(pictures):
        predictor.set_image(picture)
        alone = predictor.predict(points[i], labels[i], return_logits=True)
        for one, other in zip((masks[i], scores[i], logits[i]), alone, strict=True):
            assert one.shape == other.shape
            assert np.allclose(one, other, atol=1e-4)
    with pytest.raises(ValueError, match="box_batch has 2 entries for 1 picture"):
        predictor.predict_batch(box_batch=[None, None])
    with pytest.raises(ValueError, match="image_list must be a list of pictures"):
        predictor.set_image_batch([])
    with pytest.raises(ValueError, match=r"image_list\[1\] holds int64"):
        predictor.set_image_batch([pictures[0], pictures[1].astype(np.int64)])


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (200, 3), (64, 64)])
def test_small_and_thin_pictures(model: Any, size: tuple[int, int]) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture(*size))
    masks, _, _ = predictor.predict([[0, 0]], [1])
    assert masks.shape == (3, *size)


def test_weights_in_bfloat16(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    logits = predictor.predict([[30, 20]], [1], return_logits=True)[0]
    kind = small_models.sam2 if isinstance(model, SAM2Model) else small_models.sam
    narrow = ImagePredictor(kind().to(torch.bfloat16))
    narrow.set_image(_picture())
    found, scores, low_res = narrow.predict([[30, 20]], [1], return_logits=True)
    assert found.dtype == scores.dtype == low_res.dtype == np.float32
    assert np.abs(found - logits).mean() < 0.15 * np.abs(logits).mean()


def test_a_picture_is_forgotten(model: Any) -> None:
    predictor = ImagePredictor(model)
    with pytest.raises(RuntimeError, match="call set_image first"):
        predictor.predict([[1, 1]], [1])
    predictor.set_image(_picture())
    assert predictor.is_image_set
    assert predictor.original_size == (45, 70)
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match="call set_image first"):
        predictor.get_image_embedding()
    assert predictor.original_size == (None if isinstance(model, SAM2Model) else (45, 70))


def test_a_failed_picture_as_metas_predictors_take_it(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    with pytest.raises(ValueError, match="image holds uint16"):
        predictor.set_image(_picture().astype(np.uint16))
    assert predictor.is_image_set is isinstance(model, SAMModel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point_coords": [[1, 2]]}, "point_labels must be given"),
        ({"point_labels": [1]}, "point_labels are given without point_coords"),
        ({"point_coords": [[1, 2, 3]], "point_labels": [1]}, r"point_coords has shape \(1, 3\)"),
        ({"point_coords": [[1, 2]], "point_labels": [1, 1]}, r"point_labels has shape \(2,\)"),
        (
            {"point_coords": [[1, np.nan]], "point_labels": [1]},
            "point_coords holds numbers that are not finite",
        ),
        ({"point_coords": "here", "point_labels": [1]}, "point_coords must be an array of numbers"),
        ({"box": [1, 2, 3]}, r"box has shape \(3,\)"),
        ({"box": [[0, 0, 5, 5]] * 2, "point_coords": [[1, 2]], "point_labels": [1]}, "box is for 2 prompts"),
        ({"mask_input": np.zeros((1, 7, 7))}, r"mask_input has shape \(1, 7, 7\)"),
        ({"mask_input": np.zeros((16, 16))}, r"mask_input has shape \(16, 16\)"),
    ],
)
def test_wrong_prompts_are_named(model: Any, arguments: dict[str, Any], message: str) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    with pytest.raises(ValueError, match=message):
        predictor.predict(**arguments)
    assert predictor.predict([[1, 2]], [1])[0].shape == (3, 45, 70)


def test_masks_alone_are_prompts(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    _, _, logits = predictor.predict([[30, 20]], [1])
    masks, _, _ = predictor.predict(mask_input=logits[:, None])
    assert masks.shape == (3, 3, 45, 70)


def test_holes_and_specks_go(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    plain, _, low_res = predictor.predict([[30, 20]], [1])
    assert 0 < plain.mean() < 1
    everything = ImagePredictor(model, max_sprinkle_area=low_res[0].size)
    everything.set_image(_picture())
    cleaned, _, same = everything.predict([[30, 20]], [1])
    assert not cleaned.any()
    assert np.array_equal(same, low_res)


def test_what_somebody_keeps_is_used(model: Any) -> None:
    predictor, other = ImagePredictor(model), ImagePredictor(model)
    predictor.set_image(_picture())
    other.features, other.is_image_set = predictor.features, True
    other.original_size = predictor.original_size or (0, 0)
    _same(other.predict([[30, 20]], [1]), predictor.predict([[30, 20]], [1]))
    with pytest.raises(RuntimeError, match="set from outside"):
        other.get_embedding()


def _order(x: Tensor) -> list[int]:
    """The axes, from the largest steps in memory to the smallest."""
    return sorted((axis for axis in range(4) if x.shape[axis] > 1), key=lambda axis: -x.stride(axis))


def test_features_in_a_file_belong_to_weights_and_picture(model: Any, tmp_path: Path) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    expected = predictor.predict([[30, 20]], [1])
    kept = predictor.get_embedding(tmp_path / "features.safetensors")
    read = embeddings.Embedding.read(tmp_path / "features.safetensors").tensors
    assert {name: _order(x) for name, x in read.items()} == {
        name: _order(x) for name, x in kept.tensors.items()
    }
    assert _order(kept.tensors["image_embed"])[-1] == 1  # channels last: another order than a file's
    for given in (kept, tmp_path / "features.safetensors"):
        other = ImagePredictor(model)
        other.set_embedding(given, image=_picture())
        _same(other.predict([[30, 20]], [1]), expected)
    with pytest.raises(ValueError, match="embedding is of another picture"):
        other.set_embedding(kept, image=_picture(name="another"))
    changed = replace(kept, weights="0" * 64)
    with pytest.raises(ValueError, match="embedding comes from other weights"):
        other.set_embedding(changed)
    (tmp_path / "text").write_text("nothing")
    with pytest.raises(ValueError, match="holds no embedding"):
        other.set_embedding(tmp_path / "text")


def test_a_hash_tells_weights_apart(model: Any) -> None:
    other = small_models.sam2() if isinstance(model, SAM2Model) else small_models.sam()
    beginnings = ("image_encoder.",)
    assert embeddings.hash_of_weights(model, beginnings, 64) == embeddings.hash_of_weights(
        other, beginnings, 64
    )
    with torch.no_grad():
        next(other.image_encoder.parameters()).view(-1)[0] += 1e-3
    assert embeddings.hash_of_weights(model, beginnings, 64) != embeddings.hash_of_weights(
        other, beginnings, 64
    )


def test_a_resized_picture_is_taken(model: Any) -> None:
    predictor, other = ImagePredictor(model), ImagePredictor(model)
    picture = _picture()
    predictor.set_image(picture)
    prepared: Tensor = (
        predictor.transform(picture)
        if isinstance(model, SAM2Model)
        else torch.from_numpy(predictor.transform.apply_image(picture).transpose(2, 0, 1).copy())
    )
    other.set_torch_image(prepared[None], picture.shape[:2])
    _same(other.predict([[30, 20]], [1]), predictor.predict([[30, 20]], [1]))
    with pytest.raises(ValueError, match=r"transformed_image has shape \(1, 3, 9, 9\)"):
        other.set_torch_image(torch.zeros(1, 3, 9, 9), (9, 9))


def test_tensors_in_the_models_pixels(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    mask, coords, labels, box = predictor._prep_prompts([[30, 20]], [1], [2, 3, 40, 30], None, True)
    assert mask is None
    masks, scores, logits = predictor._predict(coords, labels, box, return_logits=True)
    assert masks.shape == (1, 3, 45, 70)
    _same(
        (masks[0], scores[0], logits[0]),
        predictor.predict([[30, 20]], [1], [2, 3, 40, 30], return_logits=True),
    )


def test_wrong_models_and_keywords_are_named(model: Any) -> None:
    with pytest.raises(ValueError, match="sam_model is a Linear"):
        ImagePredictor(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="max_holes is no argument"):
        ImagePredictor(model, max_holes=3)
    with pytest.raises(ValueError, match="device is for a model that is loaded"):
        ImagePredictor(model, device="cpu")


def test_published_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, **options: Any) -> Any:
        asked.append((name, options))
        return small_models.sam2()

    monkeypatch.setattr(loading, "load", load)
    SAM2ImagePredictor.from_pretrained("facebook/sam2.1-hiera-tiny", device="cpu")
    made = SAM2ImagePredictor.from_pretrained(
        "facebook/sam2.1-hiera-tiny-hf", mode="train", apply_postprocessing=False, mask_threshold=0.5
    )
    assert asked == [
        ("facebook/sam2.1-hiera-tiny", {"device": "cpu"}),
        ("facebook/sam2.1-hiera-tiny", {"source": "transformers"}),
    ]
    assert made.model.training
    assert made.mask_threshold == 0.5
    assert not made.model.sam_mask_decoder.dynamic_multimask_via_stability
    with pytest.raises(ValueError, match="mode must be"):
        ImagePredictor.from_pretrained("sam_vit_b", mode="fast")
