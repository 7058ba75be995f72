"""The models, put together from `samblocks.blocks`, under upstream's names.

| file | what is in it |
|---|---|
| `sam1` | image encoder, mask decoder and the whole model of SAM 1 |
| `tiny_vit` | the image encoder of MobileSAM |
| `sam2` | trunk, neck, mask decoder, memory, tracking and the whole model of SAM 2 |
| `prompt_encoder`, `decoder_parts` | points, boxes and masks as tokens, and what both mask decoders share |
| `build`, `skeleton` | the released models (`samblocks.variants`) as modules, with and without storage |

TinyViT's parts (`Conv2d_BN`, `MBConv`, `TinyViTBlock`, and a `PatchEmbed`, an `MLP` and an `Attention` that
are not the ones of `samblocks.blocks`) are in `tiny_vit`.
"""

from samblocks.models.build import build
from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam1.hq_mask_decoder import MaskDecoderHQ
from samblocks.models.sam1.hq_model import SAMModelHQ
from samblocks.models.sam1.image_encoder import ImageEncoderViT
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.models.sam1.model import SAMModel
from samblocks.models.sam2.hiera import Hiera
from samblocks.models.sam2.image_encoder import FpnNeck, ImageEncoder
from samblocks.models.sam2.mask_decoder import SAM2MaskDecoder
from samblocks.models.sam2.memory import MemoryAttention, MemoryEncoder
from samblocks.models.sam2.model import SAM2Model
from samblocks.models.tiny_vit.tiny_vit import TinyViT
from samblocks.variants import VARIANTS, Variant

__all__ = [
    "VARIANTS",
    "FpnNeck",
    "Hiera",
    "ImageEncoder",
    "ImageEncoderViT",
    "MaskDecoder",
    "MaskDecoderHQ",
    "MemoryAttention",
    "MemoryEncoder",
    "PromptEncoder",
    "SAM2MaskDecoder",
    "SAM2Model",
    "SAMModel",
    "SAMModelHQ",
    "TinyViT",
    "Variant",
    "build",
]
