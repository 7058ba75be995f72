"""The tensor in which muggled_sam describes a model: the bytes of its builder's arguments as JSON."""

from __future__ import annotations

import json
from typing import Any

from samblocks.layouts.facts import Sam2Facts, SamFacts


def _bytes(arguments: dict[str, Any]) -> bytes:
    return json.dumps(arguments, separators=(",", ":")).encode("utf-8")


def sam_config(facts: SamFacts, grid: int = 64) -> bytes:
    """The content of `config_muggled_samv1` for a number of patches along the image's side.

    Upstream: heyoeyo/muggled_sam (what its library writes and expects byte for byte)
    """
    return _bytes(
        {
            "features_per_image_token": facts.width,
            "num_encoder_blocks": facts.depth,
            "num_encoder_heads": facts.heads,
            "num_encoder_stages": len(facts.global_blocks),
            "base_patch_grid_hw": [grid, grid],
            "base_window_size": 14,
            "patch_size_px": 16,
            "features_per_prompt_token": 256,
            "features_per_decoder_token": 128,
            "num_decoder_blocks": 2,
            "num_decoder_heads": 8,
            "num_output_mask_tokens": 4,
        }
    )


def sam2_config(facts: Sam2Facts) -> bytes:
    """The content of `config_muggled_samv2`.

    Upstream: heyoeyo/muggled_sam (what its library writes and expects byte for byte)
    """
    return _bytes(
        {
            "features_per_image_token": facts.width,
            "features_per_prompt_token": 256,
            "features_per_decoder_token": 128,
            "features_per_memory_token": 64,
            "patch_size_px": 7,
            "imgencoder_heads": facts.heads,
            "imgencoder_blocks_per_stage": list(facts.stages),
            "imgencoder_global_attn_spacing_per_stage": [None, None, facts.global_spacing, None],
            "imgencoder_window_size_per_stage": list(facts.windows),
            "imgencoder_window_tile_posenc_hw": [8, 8],
            "base_patch_grid_hw": [facts.grid, facts.grid],
            "num_decoder_blocks": 2,
            "num_decoder_heads": 8,
            "num_output_mask_tokens": 4,
            "num_memory_downsample_layers": 4,
            "num_memory_encoder_mixer_layers": 2,
            "num_memory_fusion_layers": 4,
            "num_memory_fusion_heads": 1,
            "is_version_2p1": facts.is_21,
        }
    )
