"""Named policies for tensors that were trained at another size. Nothing here ever happens unasked.

| tensor | depends on | policy |
|---|---|---|
| `image_encoder.pos_embed` (SAM 1) | image size | `bicubic` interpolation of the grid |
| `rel_pos_h`, `rel_pos_w` (SAM 1) | image size | `linear` interpolation, as upstream does while it runs |
| the layer that takes the image | channels | none: a file fits with its own `in_chans` |
| `maskmem_tpos_enc` (SAM 2) | number of memories | `by-age`: every age has its encoding, older ages repeat the oldest |

No tensor of SAM 2's image encoder depends on the image size: its position table is interpolated as it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Policy:
    """How a tensor is resized.

    Args:
        name: what reports call it.
        argument: the argument of `load` that asks for it.
        apply: tensor and wanted shape to the new tensor.
    """

    name: str
    argument: str
    apply: Callable[[Tensor, tuple[int, ...]], Tensor]


def resize_grid(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Interpolate a table of absolute positions, bicubic, corners not aligned.

    Args:
        table: [1, H, W, C].
        shape: of the result, with the same C.

    >>> resize_grid(torch.ones(1, 4, 4, 2), (1, 6, 6, 2)).shape
    torch.Size([1, 6, 6, 2])
    """
    grid = table.permute(0, 3, 1, 2)
    return F.interpolate(grid, size=shape[1:3], mode="bicubic", align_corners=False).permute(0, 2, 3, 1)


def resize_distances(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Interpolate a table of relative positions, linear, as `get_rel_pos` does for maps of another size.

    Args:
        table: [2H - 1, d].
        shape: of the result, with the same d.

    >>> resize_distances(torch.ones(7, 3), (15, 3)).shape
    torch.Size([15, 3])
    """
    return F.interpolate(table.T[None], size=shape[0], mode="linear")[0].T


def resize_ages(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Give temporal encodings to more memories, or to fewer.

    The last row belongs to frames with prompts, the row before it to the last frame, and so on back to the
    oldest, which is the first row. Each age has its row as before; ages that are new get the oldest one's.

    Args:
        table: [M, 1, 1, C].
        shape: of the result, with the same C.

    >>> resize_ages(torch.arange(3.0).reshape(3, 1, 1, 1), (5, 1, 1, 1)).flatten()
    tensor([0., 0., 0., 1., 2.])
    >>> resize_ages(torch.arange(3.0).reshape(3, 1, 1, 1), (2, 1, 1, 1)).flatten()
    tensor([1., 2.])
    """
    more = shape[0] - table.shape[0]
    return torch.cat([table[:1].expand(more, *shape[1:]), table]) if more > 0 else table[-shape[0] :]


_POLICIES: Final = (
    (re.compile(r"image_encoder\.pos_embed"), (0, 3), Policy("bicubic", "image_size", resize_grid)),
    (
        re.compile(r"image_encoder\.blocks\.\d+\.attn\.rel_pos_[hw]"),
        (1,),
        Policy("linear", "image_size", resize_distances),
    ),
    (re.compile(r"maskmem_tpos_enc"), (1, 2, 3), Policy("by-age", "num_maskmem", resize_ages)),
)


def policy_for(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Policy | None:
    """The policy that resizes a tensor of Meta's layout from one shape to another, if there is one.

    Args:
        name: its name in Meta's layout.
        shape: what it has.
        wanted: what the model has.

    >>> policy_for("image_encoder.pos_embed", (1, 64, 64, 768), (1, 32, 32, 768)).name
    'bicubic'
    >>> policy_for("image_encoder.pos_embed", (1, 64, 64, 768), (1, 64, 64, 1024)) is None
    True
    """
    for pattern, fixed, policy in _POLICIES:
        if pattern.fullmatch(name):
            same = len(shape) == len(wanted) and all(shape[axis] == wanted[axis] for axis in fixed)
            return policy if same and 0 not in shape and 0 not in wanted else None
    return None


def resize(name: str, tensor: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """Resize a tensor by its policy, computed in at least float32.

    Raises:
        ValueError: there is no policy for it.
    """
    policy = policy_for(name, tuple(tensor.shape), wanted)
    if policy is None:
        raise ValueError(f"no policy resizes {name} from {tuple(tensor.shape)} to {wanted}")
    exact = tensor if tensor.dtype == torch.float64 else tensor.float()
    return policy.apply(exact, wanted).contiguous().to(tensor.dtype)
