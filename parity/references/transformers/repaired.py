"""transformers with its known differences taken away: the proof that there is no other behind them."""

import functools
from collections.abc import Mapping
from typing import Any
from unittest import mock

from torch import nn

from parity.references.transformers import library as transformers_sam


class Repaired(transformers_sam.Transformers):
    """transformers, with Meta's epsilon in SAM 1's two-way blocks, and one mask asked for where a mask prompts."""

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        return _repaired(super().construct(block, kwargs))

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        return _repaired(super().model(variant, image_size, options))


def _repaired(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if type(part).__name__ == "SamTwoWayAttentionBlock":
            for norm in part.children():
                if isinstance(norm, nn.LayerNorm):
                    norm.eps = 1e-5
        if type(part).__name__ == "Sam2VideoModel":
            _ask_for_one_mask(part)
    return module


def _ask_for_one_mask(model: Any) -> None:
    """Have the decoder give one mask, and the pointer of its token, where a mask is taken as the output."""
    use, run = model._use_mask_as_output, model._single_frame_forward

    def used(*args: Any, **kwargs: Any) -> Any:
        single = functools.partial(run, multimask_output=False)
        with mock.patch.object(model, "_single_frame_forward", single):
            return use(*args, **kwargs)

    model._use_mask_as_output = used


def library() -> Repaired:
    """The entry point that a worker calls."""
    transformers_sam.library()
    return Repaired()
