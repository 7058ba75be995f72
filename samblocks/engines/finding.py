"""Which modules of a model run in an engine."""

from __future__ import annotations

from typing import Any

from torch import nn

from samblocks.engines.memory_parts import _MemoryAttention, _MemoryEncoder
from samblocks.engines.parts import Part, _Decoder, _Encoder, _EncoderWithNeck
from samblocks.models.sam1.image_encoder import ImageEncoderViT
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.models.sam2.hiera import Hiera
from samblocks.models.sam2.image_encoder import ImageEncoder
from samblocks.models.sam2.mask_decoder import SAM2MaskDecoder
from samblocks.models.sam2.memory import MemoryAttention, MemoryEncoder
from samblocks.models.tiny_vit.tiny_vit import TinyViT
from samblocks.swap.hosts.transformers_memory import MemoryAttention as TransformersMemoryAttention

_PARTS: tuple[tuple[type[nn.Module], type[Part]], ...] = (
    (ImageEncoder, _EncoderWithNeck),
    (ImageEncoderViT, _Encoder),
    (TinyViT, _Encoder),
    (Hiera, _Encoder),
    (MaskDecoder, _Decoder),
    (SAM2MaskDecoder, _Decoder),
    (TransformersMemoryAttention, _MemoryAttention),
    (MemoryAttention, _MemoryAttention),
    (MemoryEncoder, _MemoryEncoder),
)


_WHOLE = (ImageEncoder, MemoryAttention)
"""Classes of which those that derive from them for transformers do not call the `forward`."""


def _runs(own: Any, kind: type[nn.Module]) -> bool:
    """Whether a module of a class derived from ours goes through our `forward`."""
    around = kind not in _WHOLE and any(
        base.__module__.startswith("samblocks.swap.hosts") for base in own.__mro__
    )
    return own.forward is kind.forward or around


def parts_of(model: nn.Module) -> list[Part]:
    """The largest modules of a model that run in an engine, in the model's order.

    What stands in for transformers' modules does something around our `forward`, or something else in its place; there
    what is inside it is looked at instead.

    Args:
        model: of ours, or a host with our modules in it.

    Raises:
        ValueError: it is no module.

    Examples:
        >>> from samblocks.models.skeleton import skeleton
        >>> [part.path for part in parts_of(skeleton("sam_vit_b"))]
        ['image_encoder', 'mask_decoder']
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module: samblocks.load makes one"
        )
    found: list[Part] = []
    inside: set[int] = set()
    for path, module in model.named_modules():
        if id(module) in inside:
            continue
        for kind, part in _PARTS:
            if isinstance(module, kind) and _runs(type(module), kind):
                found.append(part(path, module, kind))
                inside.update(map(id, module.modules()))
                break
    return found
