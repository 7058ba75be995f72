"""The public path of `samblocks.variants`."""

from samblocks.variants import (
    VARIANTS,
    DynamicMultimaskConfig,
    FpnNeckConfig,
    HieraConfig,
    ImageEncoderViTConfig,
    MemoryConfig,
    PromptConfig,
    SAM2Config,
    SAM2Variant,
    TinyViTConfig,
    Trunk,
    Variant,
)

__all__ = [
    "VARIANTS",
    "DynamicMultimaskConfig",
    "FpnNeckConfig",
    "HieraConfig",
    "ImageEncoderViTConfig",
    "MemoryConfig",
    "PromptConfig",
    "SAM2Config",
    "SAM2Variant",
    "TinyViTConfig",
    "Trunk",
    "Variant",
]
