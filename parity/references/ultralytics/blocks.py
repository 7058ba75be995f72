"""Ultralytics' blocks by the reference page's names; `blocks.py` is that page, the rest lies beside it."""

from parity.references.common.dialect import Entry, renamed

_MODULES = "ultralytics.models.sam.modules"
_NN = "ultralytics.nn.modules.transformer"

# The reference page's flag is gone from this release; its default is what the class does.
_NO_ZERO_INIT = renamed(without={"rel_pos_zero_init": True})
_NO_DROPOUT = renamed(without={"dropout": 0.0})

ENTRIES = {
    **{
        name: Entry(f"{_MODULES}.blocks:{name}")
        for name in (
            "DropPath",
            "MaskDownSampler",
            "CXBlock",
            "Fuser",
            "SAM2TwoWayAttentionBlock",
            "SAM2TwoWayTransformer",
            "MultiScaleAttention",
            "MultiScaleBlock",
            "PositionEmbeddingSine",
            "PositionEmbeddingRandom",
            "PatchEmbed",
            "do_pool",
        )
    },
    "Block": Entry(f"{_MODULES}.blocks:Block", _NO_ZERO_INIT),
    "REAttention": Entry(f"{_MODULES}.blocks:REAttention", _NO_ZERO_INIT),
    "RoPEAttention": Entry(f"{_MODULES}.blocks:RoPEAttention", _NO_DROPOUT),
    "Attention": Entry(f"{_MODULES}.transformer:Attention", _NO_DROPOUT),
    "TwoWayAttentionBlock": Entry(f"{_MODULES}.transformer:TwoWayAttentionBlock"),
    "TwoWayTransformer": Entry(f"{_MODULES}.transformer:TwoWayTransformer"),
    **{name: Entry(f"{_NN}:{name}") for name in ("LayerNorm2d", "MLP", "MLPBlock")},
    **{
        name: Entry(f"{_MODULES}.utils:{name}")
        for name in (
            "add_decomposed_rel_pos",
            "apply_rotary_enc",
            "compute_axial_cis",
            "get_1d_sine_pe",
            "get_rel_pos",
            "select_closest_cond_frames",
            "window_partition",
            "window_unpartition",
        )
    },
    # Before and after a model.
    **{
        name: Entry(f"parity.references.ultralytics.processing:{name}")
        for name in ("image_for_sam", "image_for_sam2", "masks_for_picture")
    },
}
"""The reference page's blocks and functions."""
