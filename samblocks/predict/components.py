"""Connected components of masks, and what they are needed for: holes, sprinkles and small regions.

Pixels that touch at a side or a corner belong together. All four pixels of a 2 x 2 block touch one another, so that a
graph of blocks, with a quarter of the nodes, has the same components. A component is known by its first block, row by
row; components are numbered in that order, which is also OpenCV's.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Components(NamedTuple):
    """Components of masks.

    Attributes:
        labels: [..., H, W] int32, 0 for background, 1, 2, … for the components of each mask.
        areas: [..., H, W] int32, the pixels of the component that a pixel belongs to; 0 for background.
    """

    labels: Tensor
    areas: Tensor


def connected_components(masks: Tensor) -> Components:
    """Number the 8-connected components of each mask.

    Args:
        masks: [..., H, W], any dtype, any device; what is not 0 is foreground. Each mask is looked at by itself.

    Returns:
        Labels as OpenCV numbers them, and areas in pixels.

    Raises:
        ValueError: `masks` has fewer than two dimensions.

    Examples:
        >>> found = connected_components(torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0]]))
        >>> found.labels.tolist()
        [[1, 0, 0, 2], [0, 1, 0, 0]]
        >>> found.areas.tolist()
        [[2, 0, 0, 1], [0, 2, 0, 0]]
    """
    runs = _Runs(masks)
    return Components(runs.labels(), runs.areas())


class _Runs:
    """Runs of blocks of masks, and which runs make up a component.

    A run are blocks of one row that are joined side by side. Runs of all masks are numbered from 1, row by row; 0
    stands for background.

    Args:
        masks: [..., H, W]
    """

    def __init__(self, masks: Tensor) -> None:
        if masks.dim() < 2:
            raise ValueError(
                f"masks must be [..., H, W], found {masks.dim()} dimension(s): give pixels in two dimensions"
            )
        self._on = masks != 0
        height, width = masks.shape[-2:]
        count = math.prod(masks.shape[:-2])
        blocks = F.pad(self._on.reshape(count, height, width), (0, width % 2, 0, height % 2))
        blocks = blocks.view(count, (height + 1) // 2, 2, (width + 1) // 2, 2)
        top_left, top_right, bottom_left, bottom_right = corners = blocks.permute(2, 4, 0, 1, 3).flatten(0, 1)
        self._pixels = corners.sum(0, dtype=torch.int32)
        starts = self._pixels > 0
        left, right = top_left | bottom_left, top_right | bottom_right
        starts[..., 1:] &= ~(left[..., 1:] & right[..., :-1])
        self._run = run = starts.flatten().cumsum(0).view(starts.shape)
        top, bottom = top_left | top_right, bottom_left | bottom_right
        ends = [
            _pairs(run[:, 1:], run[:, :-1], top[:, 1:] & bottom[:, :-1]),
            _pairs(run[:, 1:, 1:], run[:, :-1, :-1], top_left[:, 1:, 1:] & bottom_right[:, :-1, :-1]),
            _pairs(run[:, 1:, :-1], run[:, :-1, 1:], top_right[:, 1:, :-1] & bottom_left[:, :-1, 1:]),
        ]
        last = int(run.flatten()[-1]) if run.numel() else 0
        self._root = _join(torch.arange(last + 1, device=run.device), torch.cat(ends, 1))

    def labels(self) -> Tensor:
        """Number the components of each mask: [..., H, W] int32."""
        first = self._root == torch.arange(len(self._root), device=self._root.device)
        first[0] = False
        number = first.cumsum(0)
        # Numbers go on from one mask to the next: what was there before a mask is taken off.
        before = F.pad(number.to(torch.int32)[self._run[:-1, -1:, -1:]], (0, 0, 0, 0, 1, 0))
        return self._spread(number[self._root], before)

    def areas(self) -> Tensor:
        """Count the pixels of each pixel's component: [..., H, W] int32."""
        area = torch.zeros_like(self._root)
        area.scatter_add_(0, self._root[self._run.flatten()], self._pixels.flatten().long())
        return self._spread(area[self._root])

    def _spread(self, of_run: Tensor, less: Tensor | int = 0) -> Tensor:
        """Give each pixel the value of its run."""
        height, width = self._on.shape[-2:]
        spread = (of_run.to(torch.int32)[self._run] - less)[:, :, None, :, None]
        spread = spread.expand(-1, -1, 2, -1, 2).flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return spread.reshape(self._on.shape).masked_fill(~self._on, 0)


def _pairs(lower: Tensor, upper: Tensor, touch: Tensor) -> Tensor:
    """List the runs that touch, each pair once for as long as it repeats: [2, E]."""
    where = touch.flatten().nonzero().squeeze(1)
    one, other = lower.flatten()[where], upper.flatten()[where]
    new = torch.ones_like(where, dtype=torch.bool)
    new[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    return torch.stack([one[new], other[new]])


def _join(root: Tensor, pairs: Tensor) -> Tensor:
    """Give nodes that are joined, directly or through others, the same root: the smallest of them.

    Args:
        root: [N] int64, each node as its own root
        pairs: [2, E] int64, nodes that are joined

    Returns:
        The root of each node: [N].
    """
    one, other = pairs
    while len(one):
        # Of two roots the larger one hangs itself under the smaller one; then all nodes look up their new roots.
        root = root.scatter_reduce(0, torch.maximum(one, other), torch.minimum(one, other), "amin")
        while not torch.equal(above := root[root], root):
            root = above
        one, other = root[one], root[other]
        differ = one != other
        one, other = one[differ], other[differ]
    return root


def fill_holes(logits: Tensor, max_area: float, *, threshold: float = 0.0, fill: float = 0.1) -> Tensor:
    """Give small components of the background a logit of the foreground.

    Upstream: what `SAM2VideoPredictor` does for `fill_hole_area`.

    Args:
        logits: [..., H, W], floating
        max_area: largest area, in pixels of `logits`, of a component that is filled. Nothing is if it is not positive.
        threshold: logits up to this one are background.
        fill: the logit that pixels of holes get.

    Returns:
        The logits, with holes filled, [..., H, W]; `logits` itself is not changed.

    Raises:
        ValueError: `logits` has fewer than two dimensions.

    Examples:
        >>> mask = torch.ones(3, 3)
        >>> mask[1, 1] = -5.0
        >>> fill_holes(mask, 1)[1].tolist()
        [1.0, 0.10000000149011612, 1.0]
    """
    if not max_area > 0:
        return logits
    return torch.where(_small(logits <= threshold, max_area), fill, logits)


def clean_logits(
    logits: Tensor, max_hole_area: float, max_sprinkle_area: float, *, threshold: float = 0.0
) -> Tensor:
    """Fill small holes of masks and take small sprinkles away.

    Upstream: what `SAM2ImagePredictor` does for `max_hole_area` and `max_sprinkle_area`. Sprinkles are looked for in
    the masks as they come, before holes are filled: a sprinkle around a hole goes, its hole stays filled.

    Args:
        logits: [..., H, W], floating
        max_hole_area: largest area of a component of the background that becomes `threshold` + 10.
        max_sprinkle_area: largest area of a component of the foreground that becomes `threshold` - 10. Areas are in
            pixels of `logits`; where one is not positive, that step is left out.
        threshold: logits above this one are foreground.

    Returns:
        The cleaned logits, [..., H, W]; `logits` itself is not changed.

    Raises:
        ValueError: `logits` has fewer than two dimensions.

    Examples:
        >>> mask = torch.ones(3, 3)
        >>> mask[1, 1] = -5.0
        >>> clean_logits(mask, 1, 0)[1].tolist()
        [1.0, 10.0, 1.0]
        >>> clean_logits(mask, 0, 8).amax().item()
        -5.0
    """
    cleaned = fill_holes(logits, max_hole_area, threshold=threshold, fill=threshold + 10.0)
    if not max_sprinkle_area > 0:
        return cleaned
    return torch.where(_small(logits > threshold, max_sprinkle_area), threshold - 10.0, cleaned)


def _small(masks: Tensor, max_area: float) -> Tensor:
    """Find the pixels of components with at most some area: [..., H, W] bool."""
    areas = _Runs(masks).areas()
    return (areas > 0) & (areas <= max_area)


def remove_small_regions(
    mask: Tensor, area_thresh: float, mode: Literal["holes", "islands"]
) -> tuple[Tensor, bool]:
    """Fill a mask's small holes, or take its small islands away.

    Upstream: the function of this name that SAM's mask generator calls for `min_mask_region_area`.

    Args:
        mask: [H, W]; what is not 0 is foreground.
        area_thresh: area in pixels from which on a component stays as it is.
        mode: "holes" or "islands". Of islands the largest stays if all are small, the first one of several.

    Returns:
        The mask [H, W] bool, and whether there was any small component.

    Raises:
        ValueError: `mode` is another word, or `mask` has other than two dimensions.

    Examples:
        >>> mask = torch.tensor([[1, 0, 1], [1, 0, 0]])
        >>> remove_small_regions(mask, 2, "islands")
        (tensor([[ True, False, False],
                [ True, False, False]]), True)
    """
    if mode not in ("holes", "islands"):
        raise ValueError(f"mode must be 'holes' or 'islands', found {mode!r}")
    if mask.dim() != 2:
        raise ValueError(f"mask must be [H, W], found {list(mask.shape)}: give one mask at a time")
    on = mask != 0
    searched = ~on if mode == "holes" else on
    labels, areas = connected_components(searched)
    small = searched & (areas < area_thresh)
    if not small.any():
        return on, False
    if mode == "holes":
        return on | small, True
    if torch.equal(small, on):
        small &= labels != labels[areas == areas.max()].min()
    return on & ~small, True
