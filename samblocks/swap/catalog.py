"""Which classes of other libraries have a counterpart here: names alone, no library is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn


@dataclass(frozen=True)
class Counterpart:
    """What stands for a class of another library.

    Args:
        library: the library, as one says it.
        target: our class by its name; the key of its reader in `samblocks.swap.hosts`.
    """

    library: str
    target: str


def _prefixed(prefix: str, names: str) -> dict[str, str]:
    return {prefix + name: name for name in names.split()}


_ULTRALYTICS = {
    "ultralytics.models.sam.modules.blocks": {
        name: name
        for name in (
            "DropPath",
            "MaskDownSampler",
            "CXBlock",
            "Fuser",
            "SAM2TwoWayAttentionBlock",
            "SAM2TwoWayTransformer",
            "RoPEAttention",
            "MultiScaleAttention",
            "MultiScaleBlock",
            "PositionEmbeddingSine",
            "PositionEmbeddingRandom",
            "Block",
            "REAttention",
            "PatchEmbed",
        )
    },
    "ultralytics.models.sam.modules.transformer": {
        name: name for name in ("TwoWayTransformer", "TwoWayAttentionBlock", "Attention")
    },
    "ultralytics.models.sam.modules.encoders": {
        name: name
        for name in ("ImageEncoderViT", "PromptEncoder", "MemoryEncoder", "ImageEncoder", "FpnNeck", "Hiera")
    },
    "ultralytics.models.sam.modules.decoders": {name: name for name in ("MaskDecoder", "SAM2MaskDecoder")},
    "ultralytics.models.sam.modules.memory_attention": {
        name: name for name in ("MemoryAttentionLayer", "MemoryAttention")
    },
    "ultralytics.models.sam.modules.sam": {name: name for name in ("SAMModel", "SAM2Model")},
    "ultralytics.models.sam.modules.tiny_encoder": {
        "TinyViT": "TinyViT",
        "TinyViTBlock": "TinyViTBlock",
        "Attention": "TinyViTAttention",
        "MLP": "TinyViTMLP",
        "MBConv": "MBConv",
        "PatchMerging": "PatchMerging",
        "PatchEmbed": "TinyViTPatchEmbed",
        "ConvLayer": "ConvLayer",
        "BasicLayer": "BasicLayer",
        "Conv2d_BN": "Conv2d_BN",
    },
    "ultralytics.nn.modules.transformer": {name: name for name in ("MLPBlock", "MLP", "LayerNorm2d")},
}

_SEGMENT_ANYTHING = {
    "segment_anything.modeling.common": {name: name for name in ("MLPBlock", "LayerNorm2d")},
    "segment_anything.modeling.image_encoder": {
        "ImageEncoderViT": "ImageEncoderViT",
        "Block": "Block",
        "Attention": "REAttention",
        "PatchEmbed": "PatchEmbed",
    },
    "segment_anything.modeling.transformer": {
        name: name for name in ("TwoWayTransformer", "TwoWayAttentionBlock", "Attention")
    },
    "segment_anything.modeling.prompt_encoder": {
        name: name for name in ("PromptEncoder", "PositionEmbeddingRandom")
    },
    "segment_anything.modeling.mask_decoder": {name: name for name in ("MaskDecoder", "MLP")},
    "segment_anything.modeling.sam": {"Sam": "SAMModel"},
}

_SAM2 = {
    "sam2.modeling.backbones.hieradet": {
        name: name for name in ("Hiera", "MultiScaleBlock", "MultiScaleAttention")
    },
    "sam2.modeling.backbones.utils": {"PatchEmbed": "PatchEmbed"},
    "sam2.modeling.backbones.image_encoder": {name: name for name in ("ImageEncoder", "FpnNeck")},
    "sam2.modeling.memory_attention": {name: name for name in ("MemoryAttention", "MemoryAttentionLayer")},
    "sam2.modeling.memory_encoder": {
        name: name for name in ("MemoryEncoder", "MaskDownSampler", "CXBlock", "Fuser")
    },
    "sam2.modeling.position_encoding": {
        name: name for name in ("PositionEmbeddingSine", "PositionEmbeddingRandom")
    },
    "sam2.modeling.sam2_base": {"SAM2Base": "SAM2Model"},
    "sam2.modeling.sam2_utils": {name: name for name in ("DropPath", "MLP", "LayerNorm2d")},
    "sam2.modeling.sam.transformer": {
        "TwoWayTransformer": "SAM2TwoWayTransformer",
        "TwoWayAttentionBlock": "SAM2TwoWayAttentionBlock",
        "Attention": "Attention",
        "RoPEAttention": "RoPEAttention",
    },
    "sam2.modeling.sam.prompt_encoder": {"PromptEncoder": "PromptEncoder"},
    "sam2.modeling.sam.mask_decoder": {"MaskDecoder": "SAM2MaskDecoder"},
}

_TRANSFORMERS = {
    "transformers.models.sam.modeling_sam": {
        "SamVisionEncoder": "VisionEncoder",
        "SamVisionLayer": "VisionLayer",
        "SamVisionAttention": "VisionAttention",
        "SamVisionSdpaAttention": "VisionAttention",
        "SamMLPBlock": "MLPBlock",
        **_prefixed("Sam", "PatchEmbeddings LayerNorm PositionalEmbedding PromptEncoder MaskDecoder"),
        **_prefixed("Sam", "TwoWayTransformer TwoWayAttentionBlock Attention FeedForward"),
    },
    "transformers.models.sam2.modeling_sam2": {
        **_prefixed("Sam2", "VisionModel HieraDetModel VisionNeck MultiScaleBlock MultiScaleAttention"),
        **_prefixed("Sam2", "SinePositionEmbedding PatchEmbeddings LayerNorm PositionalEmbedding"),
        **_prefixed("Sam2", "PromptEncoder MaskDecoder TwoWayTransformer TwoWayAttentionBlock Attention"),
        **_prefixed("Sam2", "FeedForward"),
    },
    "transformers.models.sam2_video.modeling_sam2_video": {
        **_prefixed("Sam2Video", "LayerNorm PositionalEmbedding PromptEncoder MaskDecoder FeedForward"),
        **_prefixed("Sam2Video", "TwoWayTransformer TwoWayAttentionBlock Attention RoPEAttention"),
        **_prefixed("Sam2Video", "MemoryAttention MemoryAttentionLayer MemoryEncoder MaskDownSampler"),
        "Sam2VideoMemoryFuser": "MemoryFuser",
        "Sam2VideoMemoryFuserCXBlock": "CXBlock",
        "Sam2VideoPositionEmbeddingSine": "SinePositionEmbedding",
    },
}


def _entries() -> Iterator[tuple[str, Counterpart]]:
    libraries = (("Ultralytics", _ULTRALYTICS), ("segment_anything", _SEGMENT_ANYTHING), ("sam2", _SAM2))
    for library, modules in libraries:
        for module, classes in modules.items():
            for name, target in classes.items():
                yield f"{module}.{name}", Counterpart(library, target)
    for module, classes in _TRANSFORMERS.items():
        for name, target in classes.items():
            yield f"{module}.{name}", Counterpart("transformers", f"transformers.{target}")


CATALOG: Mapping[str, Counterpart] = MappingProxyType(dict(_entries()))
"""The qualified name of a class → what stands for it."""


_HARMLESS = frozenset(
    (
        *("__module__", "__qualname__", "__doc__", "__init__", "__dict__", "__weakref__"),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
        *("__static_attributes__", "__firstlineno__", "__parameters__", "__orig_bases__"),
    )
)
"""What a subclass may define without changing what its instances do."""


def qualified(kind: type) -> str:
    """A class's name with that of its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def counterpart(module: nn.Module) -> Counterpart | None:
    """What stands for a module's class, or for the class that it derives from without changing anything."""
    kind = type(module)
    found = CATALOG.get(qualified(kind))
    if found is None:
        base = catalogued_base(module)
        found = CATALOG[qualified(base)] if base is not None and not own_members(kind, base) else None
    return found


def catalogued_base(module: nn.Module) -> type | None:
    """The nearest class of the catalogue that a module's class derives from, itself included."""
    return next((base for base in type(module).__mro__ if qualified(base) in CATALOG), None)


def home(module: nn.Module) -> str:
    """The module that defines a module's class, or the class of the catalogue that it derives from."""
    return (catalogued_base(module) or type(module)).__module__


def library_of(module: nn.Module) -> str:
    """The package that `home` is in."""
    return home(module).partition(".")[0]


def is_ours(module: nn.Module) -> bool:
    """Whether a module is one that a swap has put in."""
    return type(module).__module__.startswith("samblocks.")


def own_members(kind: type, base: type) -> list[str]:
    """What a class and those between it and a base define beyond the base, `forward` first."""
    between = kind.__mro__[: kind.__mro__.index(base)]
    names = {name for step in between for name in vars(step)} - _HARMLESS
    return sorted(names, key=lambda name: (name != "forward", name))
