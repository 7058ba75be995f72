"""Meta's blocks by the reference page's names: segment_anything for SAM's, sam2 for SAM 2's and for those both have."""

from parity.references.common.dialect import Entry, renamed

_VIT = "segment_anything.modeling.image_encoder"
_SAM2 = "sam2.modeling"
_HIERA = f"{_SAM2}.backbones.hieradet"
_UTILS = f"{_SAM2}.sam2_utils"

_MLP = renamed(
    {"act": "activation", "sigmoid": "sigmoid_output"}, without={"residual": False, "out_norm": None}
)

ENTRIES = {
    # What SAM alone has.
    "Block": Entry(f"{_VIT}:Block"),
    "REAttention": Entry(f"{_VIT}:Attention"),
    "MLPBlock": Entry("segment_anything.modeling.common:MLPBlock"),
    "TwoWayAttentionBlock": Entry("segment_anything.modeling.transformer:TwoWayAttentionBlock"),
    "TwoWayTransformer": Entry("segment_anything.modeling.transformer:TwoWayTransformer"),
    "add_decomposed_rel_pos": Entry(f"{_VIT}:add_decomposed_rel_pos"),
    "get_rel_pos": Entry(f"{_VIT}:get_rel_pos"),
    # What both have, from sam2.
    "Attention": Entry(f"{_SAM2}.sam.transformer:Attention"),
    "LayerNorm2d": Entry(f"{_UTILS}:LayerNorm2d"),
    "MLP": Entry(f"{_UTILS}:MLP", _MLP),
    "PatchEmbed": Entry(f"{_SAM2}.backbones.utils:PatchEmbed", renamed(without={"bias": True})),
    "PositionEmbeddingRandom": Entry(f"{_SAM2}.position_encoding:PositionEmbeddingRandom"),
    "window_partition": Entry(f"{_SAM2}.backbones.utils:window_partition"),
    "window_unpartition": Entry(f"{_SAM2}.backbones.utils:window_unpartition"),
    # What SAM 2 alone has.
    "CXBlock": Entry(f"{_SAM2}.memory_encoder:CXBlock"),
    "DropPath": Entry(f"{_UTILS}:DropPath"),
    "Fuser": Entry(f"{_SAM2}.memory_encoder:Fuser"),
    "MaskDownSampler": Entry(
        f"{_SAM2}.memory_encoder:MaskDownSampler", renamed(without={"interpol_size": None})
    ),
    "MultiScaleAttention": Entry(f"{_HIERA}:MultiScaleAttention"),
    "MultiScaleBlock": Entry(f"{_HIERA}:MultiScaleBlock"),
    "PositionEmbeddingSine": Entry(f"{_SAM2}.position_encoding:PositionEmbeddingSine"),
    "RoPEAttention": Entry(f"{_SAM2}.sam.transformer:RoPEAttention"),
    "SAM2TwoWayAttentionBlock": Entry(f"{_SAM2}.sam.transformer:TwoWayAttentionBlock"),
    "SAM2TwoWayTransformer": Entry(f"{_SAM2}.sam.transformer:TwoWayTransformer"),
    "apply_rotary_enc": Entry(f"{_SAM2}.position_encoding:apply_rotary_enc"),
    "compute_axial_cis": Entry(
        f"{_SAM2}.position_encoding:compute_axial_cis", renamed(without={"scale_pos": 1.0})
    ),
    "do_pool": Entry(f"{_HIERA}:do_pool"),
    "get_1d_sine_pe": Entry(f"{_UTILS}:get_1d_sine_pe"),
    "select_closest_cond_frames": Entry(f"{_UTILS}:select_closest_cond_frames"),
    # Before and after a model.
    **{
        name: Entry(f"parity.references.meta.processing:{name}")
        for name in ("image_for_sam", "image_for_sam_from_tensor", "image_for_sam2", "masks_for_picture")
    },
    # Predictors.
    **{
        name: Entry(f"parity.references.meta.predictors:{function}")
        for name, function in {
            "SamPredictor": "sam",
            "SAM2ImagePredictor": "sam2",
            "pixels_for_sam": "pixels_for_sam",
            "coords_for_sam": "coords_for_sam",
            "coords_for_sam2": "coords_for_sam2",
            "tensor_coords_for_sam": "tensor_coords_for_sam",
        }.items()
    },
    "SAM2VideoPredictor": Entry("parity.references.meta.video:video"),
    # Mask generators, and what they are made of.
    **{
        name: Entry(f"parity.references.meta.generators:{function}")
        for name, function in {
            "SamAutomaticMaskGenerator": "sam",
            "SAM2AutomaticMaskGenerator": "sam2",
            **{
                name: name
                for name in (
                    *("blobs_by_sam", "blobs_by_sam2", "remove_small_regions", "clean_logits", "fill_holes"),
                    *("is_box_near_crop_edge", "generate_crop_boxes", "build_all_layer_point_grids"),
                    "run_lengths",
                )
            },
        }.items()
    },
    "calculate_stability_score": Entry("segment_anything.utils.amg:calculate_stability_score"),
    "batched_mask_to_box": Entry("segment_anything.utils.amg:batched_mask_to_box"),
}
"""The reference page's blocks and functions → Meta's."""
