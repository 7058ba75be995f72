"""PromptEncoder: every label, boxes, masks, padding, the two families, precision, errors."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from parity.execution.fill import fill_
from samblocks.models import PromptEncoder

POINTS = torch.tensor([[[10.0, 20.0], [90.5, 3.25], [0.0, 60.0]], [[33.0, 1.0], [95.0, 63.0], [50.0, 50.0]]])
BOXES = torch.tensor([[3.0, 4.0, 50.0, 40.0], [10.0, 12.0, 90.0, 60.0]])


def small(**changes: Any) -> PromptEncoder:
    encoder = PromptEncoder(
        16, image_embedding_size=(4, 6), input_image_size=(64, 96), mask_in_chans=8, **changes
    )
    return fill_(encoder).eval()


def place(encoder: PromptEncoder, x: float, y: float) -> Tensor:
    """The encoding of one place, in plain arithmetic."""
    matrix = encoder.pe_layer.positional_encoding_gaussian_matrix.double()
    u, v = 2 * (x + 0.5) / 96 - 1, 2 * (y + 0.5) / 64 - 1
    angle = 2 * math.pi * (u * matrix[0] + v * matrix[1])
    return torch.cat([angle.sin(), angle.cos()]).float()


def test_names_stand_in_the_order_of_the_checkpoints() -> None:
    assert list(small().state_dict()) == [
        "pe_layer.positional_encoding_gaussian_matrix",
        *(f"point_embeddings.{i}.weight" for i in range(4)),
        "not_a_point_embed.weight",
        *(f"mask_downscaling.{i}.{kind}" for i in (0, 1, 3, 4, 6) for kind in ("weight", "bias")),
        "no_mask_embed.weight",
    ]


@pytest.mark.parametrize("label", [-10, -1, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("embed_corner_labels", [True, False])
def test_each_label(label: int, embed_corner_labels: bool) -> None:
    encoder = small(embed_corner_labels=embed_corner_labels)
    labels = torch.full((2, 3), label)
    sparse, _ = encoder((POINTS, labels), None, None)
    expected = place(encoder, 90.5, 3.25)
    if label == -1:
        expected = encoder.not_a_point_embed.weight[0]
    elif label in (0, 1) or (label in (2, 3) and embed_corner_labels):
        expected = expected + encoder.point_embeddings[label].weight[0]
    torch.testing.assert_close(sparse[0, 1], expected, rtol=1e-5, atol=1e-5)


def test_labels_may_be_mixed_and_of_any_dtype() -> None:
    encoder = small()
    labels = torch.tensor([[0, 1, -1], [2, 3, 7]])
    sparse, _ = encoder((POINTS, labels), None, None)
    for i, j in ((0, 0), (0, 2), (1, 0), (1, 2)):
        alone, _ = encoder((POINTS[i : i + 1, j : j + 1], labels[i : i + 1, j : j + 1]), None, None)
        torch.testing.assert_close(sparse[i, j], alone[0, 0])
    for dtype in (torch.float32, torch.int32, torch.float64):
        assert torch.equal(encoder((POINTS, labels.to(dtype)), None, None)[0], sparse)


def test_a_padding_point_ends_the_points_unless_there_are_boxes() -> None:
    encoder, labels = small(), torch.ones(2, 3)
    sparse, _ = encoder((POINTS, labels), None, None)
    assert sparse.shape == (2, 4, 16)
    assert torch.equal(sparse[:, 3], encoder.not_a_point_embed.weight.expand(2, -1))
    with_boxes, _ = encoder((POINTS, labels), BOXES, None)
    assert with_boxes.shape == (2, 5, 16)
    assert torch.equal(with_boxes[:, :3], sparse[:, :3])
    assert torch.equal(with_boxes[:, 3:], encoder(None, BOXES, None)[0])


@pytest.mark.parametrize("shape", [(2, 4), (2, 2, 2), (2, 1, 4), (1, 2, 4)])
def test_boxes_are_their_corners_in_whichever_shape(shape: tuple[int, ...]) -> None:
    encoder = small(embed_corner_labels=False)  # boxes keep their embeddings all the same
    sparse, dense = encoder(None, BOXES.reshape(shape), None)
    assert sparse.shape == (2, 2, 16)
    assert len(dense) == 2
    torch.testing.assert_close(
        sparse[1, 1], place(encoder, 90, 60) + encoder.point_embeddings[3].weight[0], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        sparse[0, 0], place(encoder, 3, 4) + encoder.point_embeddings[2].weight[0], rtol=1e-5, atol=1e-5
    )


def test_no_prompt_is_one_prompt_without_tokens() -> None:
    encoder = small()
    sparse, dense = encoder(None, None, None)
    assert sparse.shape == (1, 0, 16)
    assert torch.equal(dense, encoder.no_mask_embed.weight.reshape(1, 16, 1, 1).expand(1, 16, 4, 6))


def test_masks_are_convolved_and_resized_where_they_do_not_fit() -> None:
    encoder = small()
    logits = torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    sparse, dense = encoder(None, None, logits)
    assert sparse.shape == (2, 0, 16)
    assert torch.equal(dense, encoder.mask_downscaling(logits))
    fine = torch.randn(2, 1, 40, 30, generator=torch.Generator().manual_seed(0))
    resized = F.interpolate(fine, size=(16, 24), mode="bilinear", align_corners=False)
    assert torch.equal(encoder(None, None, fine)[1], encoder.mask_downscaling(resized))
    assert torch.equal(encoder(None, None, logits > 0)[1], encoder.mask_downscaling((logits > 0).float()))


def test_dense_encoding_is_that_of_the_cells_middles() -> None:
    encoder = small()
    dense = encoder.get_dense_pe()
    assert dense.shape == (1, 16, 4, 6)
    # A cell is 16 pixels wide; its middle is 8 pixels in, that is pixel 7.5 with the half that is added.
    torch.testing.assert_close(
        dense[0, :, 2, 5], place(encoder, 5 * 16 + 7.5, 2 * 16 + 7.5), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_coordinates_keep_their_precision_whatever_the_modules(dtype: torch.dtype) -> None:
    # An image side of 1024 pixels: bfloat16 has steps of 4 there.
    exact = fill_(PromptEncoder(16, (64, 64), (1024, 1024), 8)).double()
    points = torch.tensor([[[901.0, 1003.0], [517.0, 702.0]]])
    module = fill_(PromptEncoder(16, (64, 64), (1024, 1024), 8)).to(dtype)
    with torch.no_grad():  # the matrix itself is rounded in `module`: give `exact` the same one
        for name, value in module.state_dict().items():
            exact.state_dict()[name].copy_(value)
    labels = torch.tensor([[1, 0]])
    expected = exact((points.double(), labels), None, None)[0]
    for given in (points, points.long(), points.double()):
        out = module((given, labels), None, None)[0]
        assert out.dtype == dtype
        worst = (out.double() - expected).abs().max()
        assert worst < 4 * torch.finfo(dtype).eps + 1e-12
    # Even coordinates that came in half precision: half a pixel is added where there is room for it.
    coarse = torch.tensor([[[900.0, 1000.0], [516.0, 700.0]]])
    expected = exact((coarse.double(), labels), None, None)[0]
    worst = (module((coarse.bfloat16(), labels), None, None)[0].double() - expected).abs().max()
    assert worst < 4 * torch.finfo(dtype).eps + 1e-12
    assert module.get_dense_pe().dtype == dtype
    assert module(None, None, torch.zeros(1, 1, 256, 256))[1].dtype == dtype


def test_runs_where_tensors_have_no_values() -> None:
    """Nothing may depend on values: neither a compiler nor the meta device could follow."""
    with torch.device("meta"):
        encoder = PromptEncoder(16, (4, 6), (64, 96), 8)
        sparse, dense = encoder(
            (torch.empty(2, 3, 2), torch.empty(2, 3)), torch.empty(2, 4), torch.empty(2, 1, 16, 24)
        )
    assert sparse.shape == (2, 5, 16)
    assert dense.shape == (2, 16, 4, 6)


def test_second_call_gives_the_same_bits_and_prompts_are_left_alone() -> None:
    encoder, labels = small(), torch.tensor([[0, 1, -1], [2, 3, 1]])
    kept = POINTS.clone(), labels.clone(), BOXES.clone()
    first = encoder((POINTS, labels), BOXES, None)
    encoder(None, None, None)
    again = encoder((POINTS, labels), BOXES, None)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kept, (POINTS, labels, BOXES), strict=True))


def test_every_parameter_gets_a_gradient() -> None:
    encoder = small().train()
    with_mask = encoder((POINTS, torch.tensor([[0, 1, -1], [2, 3, 1]])), BOXES, torch.randn(2, 1, 16, 24))
    without = encoder(None, None, None)
    sum(t.square().sum() for t in (*with_mask, *without)).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("points", "boxes", "masks", "match"),
    [
        ((torch.zeros(3, 2), torch.zeros(3)), None, None, "points must be coordinates"),
        ((torch.zeros(1, 3, 2), torch.zeros(1, 2)), None, None, "points must be coordinates"),
        (
            (torch.zeros(2, 3, 2), torch.zeros(2, 3)),
            torch.zeros(3, 4),
            None,
            "boxes hold 3 prompts and points 2",
        ),
        (None, torch.zeros(2, 3), None, r"boxes must be \[B, 4\] or \[B, 2, 2\]"),
        (None, None, torch.zeros(2, 16, 24), r"masks must be \[B, 1, h, w\]"),
    ],
)
def test_refuses_other_shapes(
    points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        small()(points, boxes, masks)


@pytest.mark.parametrize(
    ("embed_dim", "mask_in_chans", "match"), [(15, 8, "embed_dim=15"), (16, 6, "mask_in_chans=6")]
)
def test_refuses_widths_that_do_not_divide(embed_dim: int, mask_in_chans: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PromptEncoder(embed_dim, (4, 4), (64, 64), mask_in_chans)
