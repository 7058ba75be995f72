"""Models without values: their modules, names and shapes, made in a tenth of a second whatever their size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from samblocks.image_size import ImageSize
from samblocks.models.build import assemble
from samblocks.models.sam1.model import SAMModel
from samblocks.models.sam2.model import SAM2Model
from samblocks.variants import Variant

DRAWS: Final = frozenset({"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"})


class NoDraws(TorchFunctionMode):
    """Leave tensors as they are where they would be filled at random.

    On the meta device that changes nothing, but some of these functions import torch's compiler there, which
    takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def skeleton(
    variant: str | Variant,
    *,
    image_size: ImageSize | None = None,
    num_maskmem: int | None = None,
    in_chans: int | None = None,
) -> SAMModel | SAM2Model:
    """Make a variant's model on the meta device.

    Args:
        variant: a name in `VARIANTS`, or a row.
        image_size: as in `assemble`.
        num_maskmem: as in `assemble`.
        in_chans: as in `assemble`.

    >>> skeleton("sam_vit_h").image_encoder.pos_embed.shape
    torch.Size([1, 64, 64, 1280])
    """
    with torch.device("meta"), NoDraws():
        return assemble(variant, image_size=image_size, num_maskmem=num_maskmem, in_chans=in_chans)
