"""The building blocks of SAM and SAM 2, under upstream's names.

| file | blocks |
|---|---|
| `common` | LayerNorm2d, MLP, MLPBlock, DropPath, PatchEmbed |
| `attention` | Attention |
| `rope` | RoPEAttention |
| `two_way` | TwoWayAttentionBlock, SAM2TwoWayAttentionBlock, TwoWayTransformer, SAM2TwoWayTransformer |
| `position` | PositionEmbeddingSine, PositionEmbeddingRandom |
| `vit` | Block, REAttention |
| `hiera` | MultiScaleBlock, MultiScaleAttention, do_pool |
| `mask` | MaskDownSampler, CXBlock, Fuser |
| `memory` | MemoryAttentionLayer |
| `arguments` | what all of them are called with, held against their docstrings |

The functions among these names are those of `samblocks.ops`.

Notation in shapes: B batch, N and M tokens, C, D and K channels, H height, W width, h heads, d channels of
a head.
"""

from samblocks.blocks.attention import Attention
from samblocks.blocks.common import MLP, DropPath, LayerNorm2d, MLPBlock, PatchEmbed
from samblocks.blocks.hiera import MultiScaleAttention, MultiScaleBlock, do_pool
from samblocks.blocks.mask import CXBlock, Fuser, MaskDownSampler
from samblocks.blocks.memory import MemoryAttentionLayer
from samblocks.blocks.position import PositionEmbeddingRandom, PositionEmbeddingSine
from samblocks.blocks.rope import RoPEAttention
from samblocks.blocks.two_way import (
    SAM2TwoWayAttentionBlock,
    SAM2TwoWayTransformer,
    TwoWayAttentionBlock,
    TwoWayTransformer,
)
from samblocks.blocks.vit import Block, REAttention
from samblocks.ops.frames import select_closest_cond_frames
from samblocks.ops.rel_pos import add_decomposed_rel_pos, get_rel_pos
from samblocks.ops.rope import apply_rotary_enc, compute_axial_cis
from samblocks.ops.sine import get_1d_sine_pe
from samblocks.ops.windows import window_partition, window_unpartition

__all__ = [
    "MLP",
    "Attention",
    "Block",
    "CXBlock",
    "DropPath",
    "Fuser",
    "LayerNorm2d",
    "MLPBlock",
    "MaskDownSampler",
    "MemoryAttentionLayer",
    "MultiScaleAttention",
    "MultiScaleBlock",
    "PatchEmbed",
    "PositionEmbeddingRandom",
    "PositionEmbeddingSine",
    "REAttention",
    "RoPEAttention",
    "SAM2TwoWayAttentionBlock",
    "SAM2TwoWayTransformer",
    "TwoWayAttentionBlock",
    "TwoWayTransformer",
    "add_decomposed_rel_pos",
    "apply_rotary_enc",
    "compute_axial_cis",
    "do_pool",
    "get_1d_sine_pe",
    "get_rel_pos",
    "select_closest_cond_frames",
    "window_partition",
    "window_unpartition",
]
