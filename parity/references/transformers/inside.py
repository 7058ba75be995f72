"""Blocks without an adapter of their own: whole models prove them, in which `parity diverge` judges each by itself."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from parity.execution.case import NoCounterpart

_SAM, _SAM2 = "SAMModel/prompts", "SAM2Model/mask_of_one"

INSIDE: dict[str, tuple[str, str]] = {
    "REAttention": (_SAM, "image_encoder.blocks.0.attn"),
    "Block": (_SAM, "image_encoder.blocks.0"),
    "MLPBlock": (_SAM, "image_encoder.blocks.0.mlp"),
    "LayerNorm2d": (_SAM, "image_encoder.neck.1"),
    "PatchEmbed": (_SAM2, "image_encoder.trunk.patch_embed"),
    "MultiScaleAttention": (_SAM2, "image_encoder.trunk.blocks.1.attn"),
    "MultiScaleBlock": (_SAM2, "image_encoder.trunk.blocks.1"),
    "MLP": (_SAM2, "sam_mask_decoder.iou_prediction_head"),
    "SAM2MaskDecoder": (_SAM2, "sam_mask_decoder"),
    "MaskDownSampler": (_SAM2, "memory_encoder.mask_downsampler"),
}
"""The reference page's blocks → a case of a whole model in which each runs, and one of the places where it runs."""

FUNCTIONS = {"do_pool": "MultiScaleBlock"}
"""The reference page's functions → the block that calls each, which is in `INSIDE`."""


def refusal(name: str, block: str) -> NoCounterpart:
    """Why `name`, which is `block` or called by it, is not run by itself."""
    case, path = INSIDE[block]
    where = f"parity diverge --reference transformers --case {case} judges {block} at {path}"
    return NoCounterpart(f"{name} is compared inside whole models: {where}")


class Inside(nn.Module):
    """A block that is compared inside whole models alone; the arguments say how it is configured there.

    Attributes:
        kwargs: the reference page's arguments.
    """

    def __init__(self, block: str, kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.block, self.kwargs = block, dict(kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: whoever wants its tensors wants to run it by itself."""
        raise refusal(self.block, self.block)


BUILDERS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    block: partial(Inside, block) for block in INSIDE
}
"""The reference page's blocks → the functions that describe them."""
