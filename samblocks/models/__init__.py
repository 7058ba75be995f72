"""The models, put together from `samblocks.blocks`, under upstream's names.

| file | what is in it |
|---|---|
| `image_encoder_vit`, `tiny_vit` | image encoders of SAM 1 and of MobileSAM |
| `hiera`, `image_encoder` | image encoder of SAM 2: trunk, neck, both together |
| `prompt_encoder` | points, boxes and masks as tokens; SAM 1 and SAM 2 |
| `mask_decoder`, `sam2_mask_decoder` | from tokens to masks |
| `memory` | memory attention and memory encoder of SAM 2 |
| `sam`, `sam2` | the whole models |
| `variants`, `build` | the released models as data, and what makes modules of it |

TinyViT's parts (`Conv2d_BN`, `MBConv`, `TinyViTBlock`, and a `PatchEmbed`, an `MLP` and an `Attention` that
are not the ones of `samblocks.blocks`) are in `tiny_vit_convs`, `tiny_vit_blocks` and `tiny_vit_stages`.
"""

from samblocks.models.build import build
from samblocks.models.hiera import Hiera
from samblocks.models.image_encoder import FpnNeck, ImageEncoder
from samblocks.models.image_encoder_vit import ImageEncoderViT
from samblocks.models.mask_decoder import MaskDecoder
from samblocks.models.memory import MemoryAttention, MemoryEncoder
from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam import SAMModel
from samblocks.models.sam2 import SAM2Model
from samblocks.models.sam2_mask_decoder import SAM2MaskDecoder
from samblocks.models.tiny_vit import TinyViT
from samblocks.models.variants import VARIANTS, Variant

__all__ = [
    "VARIANTS",
    "FpnNeck",
    "Hiera",
    "ImageEncoder",
    "ImageEncoderViT",
    "MaskDecoder",
    "MemoryAttention",
    "MemoryEncoder",
    "PromptEncoder",
    "SAM2MaskDecoder",
    "SAM2Model",
    "SAMModel",
    "TinyViT",
    "Variant",
    "build",
]
