"""The heads of SAM 2: which masks are asked for, which is chosen, pointers, masks given as output, errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from parity.execution.fill import tensor
from samblocks.models import SAM2Model

FEATURES = tensor("features", (3, 32, 4, 4))
FINE = [tensor("finest", (3, 4, 16, 16)), tensor("fine", (3, 8, 8, 8))]
POINTS = {
    "point_coords": torch.tensor([[[15.0, 20.0]], [[45.0, 30.0]], [[5.0, 60.0]]]),
    "point_labels": torch.tensor([[1], [1], [0]]),
}


def heads(model: SAM2Model, multimask: bool = False, **changes: Any) -> tuple[Tensor, ...]:
    given = {"backbone_features": FEATURES, "point_inputs": POINTS, "high_res_features": FINE, **changes}
    return model._forward_sam_heads(**given, multimask_output=multimask)


def drawn() -> Tensor:
    mask = torch.zeros(3, 1, 64, 64)
    mask[0, 0, 10:38, 15:50] = 1
    mask[1, 0, 25:55, 8:22] = 1
    return mask


def seeing(model: SAM2Model, *scores: float) -> SAM2Model:
    """The model, made to find these object scores whatever it looks at: else it may see nothing at all."""
    scores = scores or (1.0, 1.0, 1.0)
    decoder = model.sam_mask_decoder
    forward = decoder.forward

    def fixed(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        masks, ious, tokens, found = forward(*args, **kwargs)
        return masks, ious, tokens, torch.tensor(scores, dtype=found.dtype)[:, None]

    decoder.forward = fixed  # type: ignore[method-assign, assignment]
    return model


@pytest.mark.parametrize(
    ("changes", "init", "points", "expected"),
    [
        ({}, True, 0, True),
        ({}, True, 1, True),
        ({}, True, 2, False),
        ({}, False, 1, True),
        ({"multimask_output_for_tracking": False}, False, 1, False),
        ({"multimask_output_for_tracking": False}, True, 1, True),
        ({"multimask_output_in_sam": False}, True, 1, False),
        ({"multimask_min_pt_num": 1}, True, 0, False),
        ({"multimask_max_pt_num": 3}, True, 3, True),
    ],
)
def test_when_several_masks_are_asked_for(
    sam2: Callable[..., SAM2Model], changes: dict[str, Any], init: bool, points: int, expected: bool
) -> None:
    given = None if points == 0 else {"point_labels": torch.ones(2, points)}
    assert sam2(**changes)._use_multimask(init, given) is expected


def test_shapes_of_everything_returned(sam2: Callable[..., SAM2Model]) -> None:
    several, single = heads(sam2(), multimask=True), heads(sam2())
    assert [tuple(x.shape) for x in several] == [
        (3, 3, 16, 16),
        (3, 3, 64, 64),
        (3, 3),
        (3, 1, 16, 16),
        (3, 1, 64, 64),
        (3, 32),
        (3, 1),
    ]
    assert [tuple(x.shape) for x in single[:3]] == [(3, 1, 16, 16), (3, 1, 64, 64), (3, 1)]
    assert torch.equal(single[0], single[3])
    assert torch.equal(single[1], single[4])


def test_the_best_mask_and_its_token_are_chosen(sam2: Callable[..., SAM2Model]) -> None:
    model = seeing(sam2())
    tokens: list[Tensor] = []
    model.obj_ptr_proj.register_forward_pre_hook(lambda module, args: tokens.append(args[0]))
    decoder = model.sam_mask_decoder
    forward = decoder.forward
    qualities = torch.tensor([[0.1, 0.9, 0.3], [0.5, 0.2, 0.1], [0.0, 0.1, 0.2]])
    seen: list[Tensor] = []

    def judged(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        masks, _, mask_tokens, score = forward(*args, **kwargs)
        seen.append(mask_tokens)
        return masks, qualities, mask_tokens, score

    decoder.forward = judged  # type: ignore[method-assign, assignment]
    low, high, ious, best_low, best_high, _, _ = heads(model, multimask=True)
    assert torch.equal(ious, qualities)
    for item, choice in enumerate((1, 0, 2)):
        assert torch.equal(best_low[item, 0], low[item, choice])
        assert torch.equal(best_high[item, 0], high[item, choice])
        assert torch.equal(tokens[0][item], seen[0][item, choice])
    model.sam_mask_decoder.use_multimask_token_for_obj_ptr = False
    heads(model, multimask=True)
    assert torch.equal(tokens[1], seen[1][:, 0])


def test_masks_at_image_size_are_the_small_ones_enlarged(sam2: Callable[..., SAM2Model]) -> None:
    low, high, *_ = heads(seeing(sam2()), multimask=True)
    assert torch.equal(high, F.interpolate(low, size=(64, 64), mode="bilinear", align_corners=False))


def test_absent_objects_have_no_mask(sam2: Callable[..., SAM2Model]) -> None:
    present, mixed = seeing(sam2()), seeing(sam2(), 0.5, 0.0, -0.5)
    shown, hidden = heads(present, multimask=True), heads(mixed, multimask=True)
    assert torch.equal(shown[0][0], hidden[0][0])
    assert (hidden[0][1:] == -1024).all()
    assert (hidden[4][1:] == -1024).all()
    without = sam2(pred_obj_scores=False, fixed_no_obj_ptr=False)
    assert (heads(without)[6] == 10).all()
    assert (heads(without)[0] > -1024).all()


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_pointers_of_absent_objects(sam2: Callable[..., SAM2Model], fixed: bool, soft: bool) -> None:
    settings = {"fixed_no_obj_ptr": fixed, "soft_no_obj_ptr": soft}
    model = sam2(**settings)
    seen: list[Tensor] = []
    model.obj_ptr_proj.register_forward_hook(lambda module, args, out: seen.append(out))
    mixed = heads(seeing(model, 2.0, -1.0, 0.0))[5]
    presence = torch.tensor([[2.0], [-1.0], [0.0]]).sigmoid() if soft else torch.tensor([[1.0], [0.0], [0.0]])
    kept = presence * seen[0] if fixed else seen[0]
    assert model.no_obj_ptr is not None
    torch.testing.assert_close(mixed, kept + (1 - presence) * model.no_obj_ptr)


def test_scores_without_pointers_need_no_pointer_for_absence(sam2: Callable[..., SAM2Model]) -> None:
    """Upstream raises an AttributeError here."""
    model = sam2(use_obj_ptrs_in_encoder=False, fixed_no_obj_ptr=False)
    assert model.no_obj_ptr is None
    assert heads(model)[5].shape == (3, 32)
    assert (model._use_mask_as_output(drawn(), FEATURES, FINE)[5] == 0).all()


def test_no_points_are_one_point_that_counts_for_nothing(sam2: Callable[..., SAM2Model]) -> None:
    nothing = {"point_coords": torch.full((3, 1, 2), 7.0), "point_labels": torch.full((3, 1), -1)}
    bare, padded = heads(seeing(sam2()), point_inputs=None), heads(seeing(sam2()), point_inputs=nothing)
    assert all(torch.equal(x, y) for x, y in zip(bare, padded, strict=True))
    assert not torch.equal(bare[0], heads(seeing(sam2()))[0])


def test_masks_of_any_size_are_resized_to_the_prompt_encoders(sam2: Callable[..., SAM2Model]) -> None:
    mask = tensor("mask", (3, 1, 64, 64)) * 8
    small = F.interpolate(mask, size=(16, 16), mode="bilinear", align_corners=False, antialias=True)
    large, given = heads(seeing(sam2()), mask_inputs=mask), heads(seeing(sam2()), mask_inputs=small)
    assert all(torch.equal(x, y) for x, y in zip(large, given, strict=True))
    assert not torch.equal(large[0], heads(seeing(sam2()))[0])


@pytest.mark.parametrize("label", [0, 1, 2, 3])
def test_labels_and_coordinates_of_any_dtype(sam2: Callable[..., SAM2Model], label: int) -> None:
    expected = None
    for coords, labels in (
        (torch.float32, torch.int32),
        (torch.float64, torch.int64),
        (torch.int64, torch.float32),
    ):
        points = {
            "point_coords": POINTS["point_coords"].to(coords),
            "point_labels": torch.full((3, 1), label, dtype=labels),
        }
        masks = heads(seeing(sam2()), point_inputs=points)[0]
        expected = masks if expected is None else expected
        assert torch.equal(masks, expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone_features": FEATURES[:, :16]}, r"backbone_features: .* must be \[B, 32, 4, 4\]"),
        ({"backbone_features": FEATURES[:, :, :2]}, r"shape \(3, 32, 2, 4\)"),
        ({"point_inputs": {name: x[:2] for name, x in POINTS.items()}}, r"must be \[3, N, 2\] and \[3, N\]"),
        (
            {"point_inputs": {**POINTS, "point_labels": torch.ones(3, 2)}},
            r"point_coords \(3, 1, 2\) and point_labels \(3, 2\)",
        ),
        ({"mask_inputs": torch.zeros(3, 16, 16)}, r"mask_inputs: .* must be \[3, 1, H, W\]"),
        ({"mask_inputs": torch.zeros(3, 2, 16, 16)}, "mask_inputs"),
    ],
)
def test_misshapen_prompts_are_named(
    sam2: Callable[..., SAM2Model], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        heads(sam2(), **changes)


def test_a_mask_given_as_output(sam2: Callable[..., SAM2Model]) -> None:
    model, mask = sam2(), drawn()
    low, high, ious, best_low, best_high, pointer, score = model._use_mask_as_output(mask, FEATURES, FINE)
    assert torch.equal(high, mask * 20 - 10)
    shrunk = F.interpolate(high, size=(16, 16), mode="bilinear", align_corners=False, antialias=True)
    assert torch.equal(low, shrunk)
    assert torch.equal(best_low, low)
    assert torch.equal(best_high, high)
    assert torch.equal(ious, torch.ones(3, 1))
    assert score.tolist() == [[10.0], [10.0], [-10.0]]
    small = model.mask_downsample(mask)
    predicted = heads(model, point_inputs=None, mask_inputs=small)[5]
    assert torch.equal(pointer[:2], predicted[:2])
    # An empty mask overrules the heads: only the pointer for absence is left.
    assert model.no_obj_ptr is not None
    assert torch.equal(pointer[2], model.no_obj_ptr[0])


def test_a_mask_given_as_output_by_keyword_as_meta_does(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2()
    named = model._use_mask_as_output(backbone_features=FEATURES, high_res_features=FINE, mask_inputs=drawn())
    for a, b in zip(named, model._use_mask_as_output(drawn(), FEATURES, FINE), strict=True):
        assert torch.equal(a, b)


def test_a_mask_without_features_has_a_pointer_of_zeros(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2(pred_obj_scores=False, fixed_no_obj_ptr=False)
    assert (model._use_mask_as_output(drawn())[5] == 0).all()
    assert (model._use_mask_as_output(drawn(), FEATURES)[5] == 0).all()
    coarse = sam2(use_high_res_features_in_sam=False, pred_obj_scores=False, fixed_no_obj_ptr=False)
    assert (coarse._use_mask_as_output(drawn(), FEATURES)[5] != 0).any()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float64])
def test_masks_of_any_dtype(sam2: Callable[..., SAM2Model], dtype: torch.dtype) -> None:
    model = sam2()
    for a, b in zip(
        model._use_mask_as_output(drawn().to(dtype), FEATURES, FINE),
        model._use_mask_as_output(drawn(), FEATURES, FINE),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_overlapping_masks_are_parted(sam2: Callable[..., SAM2Model]) -> None:
    logits = torch.tensor([[[[3.0, -2.0, -15.0]]], [[[2.0, 5.0, -12.0]]], [[[1.0, 4.0, -30.0]]]])
    kept = logits.clone()
    parted = sam2()._apply_non_overlapping_constraints(logits)
    assert parted[:, 0, 0].tolist() == [[3.0, -10.0, -15.0], [-10.0, 5.0, -12.0], [-10.0, -10.0, -30.0]]
    assert torch.equal(logits, kept)
    single = logits[:1]
    assert SAM2Model._apply_non_overlapping_constraints(single) is single
