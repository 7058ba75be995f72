"""What is measured on masks: how much they depend on the threshold, and the box around them."""

import torch
from torch import Tensor


def calculate_stability_score(masks: Tensor, mask_threshold: float, threshold_offset: float) -> Tensor:
    """Divide a mask's area at a higher threshold by its area at a lower one.

    That is the intersection over union of both, for the one mask lies in the other.

    Args:
        masks: [..., H, W] logits
        mask_threshold: where the mask itself ends.
        threshold_offset: how far from it the two thresholds lie.

    Returns:
        [...] float32, NaN where both masks are empty.

    Examples:
        >>> calculate_stability_score(torch.tensor([[[3.0, 0.5], [0.5, -3.0]]]), 0.0, 1.0)
        tensor([0.3333])
    """
    inner, outer = (
        (masks > mask_threshold + offset).sum((-2, -1)).to(torch.float32)
        for offset in (threshold_offset, -threshold_offset)
    )
    return inner / outer


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """Find the box around each mask.

    Args:
        masks: [..., H, W] bool

    Returns:
        First column, first row, last column and last row with a pixel, [..., 4] int64; zeros for empty masks.

    Examples:
        >>> batched_mask_to_box(torch.tensor([[[False, False, False], [False, True, True]]]))
        tensor([[1, 1, 2, 1]])
    """
    if not masks.numel():
        return torch.zeros(*masks.shape[:-2], 4, dtype=torch.int64, device=masks.device)

    def ends(along: Tensor) -> tuple[Tensor, Tensor]:
        along = along.to(torch.uint8)
        return along.argmax(-1), along.shape[-1] - 1 - along.flip(-1).argmax(-1)

    columns = masks.any(-2)
    (left, right), (top, bottom) = ends(columns), ends(masks.any(-1))
    return torch.stack([left, top, right, bottom], -1) * columns.any(-1, keepdim=True)
