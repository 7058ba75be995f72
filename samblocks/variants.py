"""The released models as rows of differences, as plain data: `samblocks.models.build` makes modules from it.

A default is what most of them have; a row of `VARIANTS` holds what is its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEncoderViTConfig:
    """Image encoder of SAM 1; the fields are arguments of `ImageEncoderViT`, `norm_eps` is its norms'."""

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]
    window_size: int = 14
    patch_size: int = 16
    mlp_ratio: float = 4.0
    out_chans: int = 256
    qkv_bias: bool = True
    use_rel_pos: bool = True
    norm_eps: float = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyViTConfig:
    """Image encoder of MobileSAM; the fields are arguments of `TinyViT`."""

    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)
    num_classes: int = 1000
    mlp_ratio: float = 4.0
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    mbconv_expand_ratio: float = 4.0
    local_conv_size: int = 3
    layer_lr_decay: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class HieraConfig:
    """Trunk of SAM 2's image encoder; the fields are arguments of `Hiera`."""

    embed_dim: int
    num_heads: int
    stages: tuple[int, ...]
    global_att_blocks: tuple[int, ...]
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    window_pos_embed_bkg_spatial_size: tuple[int, int] = (7, 7)
    q_pool: int = 3
    q_stride: tuple[int, int] = (2, 2)
    dim_mul: float = 2.0
    head_mul: float = 2.0
    drop_path_rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FpnNeckConfig:
    """Neck of SAM 2's image encoder; `scalp` is how many of the coarsest maps are left out after it."""

    fpn_top_down_levels: tuple[int, ...] = (2, 3)
    fpn_interp_model: str = "nearest"
    fuse_type: str = "sum"
    scalp: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig:
    """Memory attention and memory encoder of SAM 2."""

    mem_dim: int = 64
    num_layers: int = 4
    num_heads: int = 1
    dim_feedforward: int = 2048
    dropout: float = 0.1
    rope_theta: float = 10000.0
    pos_enc_at_input: bool = True
    pos_enc_at_attn: bool = False
    pos_enc_at_cross_attn_keys: bool = True
    pos_enc_at_cross_attn_queries: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """Prompt encoder and mask decoder, which all variants have alike but for what points 2 and 3 mean."""

    embed_dim: int = 256
    mask_in_chans: int = 16
    embed_corner_labels: bool = True
    transformer_depth: int = 2
    transformer_num_heads: int = 8
    transformer_mlp_dim: int = 2048
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256

    def __post_init__(self) -> None:
        """Refuse widths that cannot be divided as they have to be.

        Raises:
            ValueError: `embed_dim` is no multiple of 8, or its half none of `transformer_num_heads`.
        """
        if self.embed_dim < 8 or self.embed_dim % 8:
            raise ValueError(f"embed_dim={self.embed_dim} must be a positive multiple of 8")
        if self.transformer_num_heads < 1 or self.embed_dim // 2 % self.transformer_num_heads:
            raise ValueError(
                f"transformer_num_heads={self.transformer_num_heads} must divide {self.embed_dim // 2}, the half "
                "of embed_dim that the decoder's attention to the image works with"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicMultimaskConfig:
    """Choice of a mask by its stability, a policy that Meta's builder adds to the released models."""

    dynamic_multimask_via_stability: bool = True
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class SAM2Config:
    """Arguments of `SAM2Model` as SAM 2.0 was released with them; SAM 2.1 changes the last four.

    Args:
        num_maskmem: frames remembered, one place among them for all frames with prompts; 0 turns memory off.
        backbone_stride: image pixels per token of the coarsest level.
        sigmoid_scale_for_mem_enc: factor on mask probabilities before they are encoded.
        sigmoid_bias_for_mem_enc: term added after it.
        binarize_mask_from_pts_for_mem_enc: encode masks that answer to points as zeros and ones (eval only).
        use_mask_input_as_output_without_sam: give masks that come as prompts back unchanged.
        max_cond_frames_in_attn: most frames with prompts that are attended to; -1 for all, else at least 2.
        directly_add_no_mem_embed: on frames without memory add `no_mem_embed` in place of attention.
        use_high_res_features_in_sam: give the two levels finer than the coarsest to the mask decoder.
        multimask_output_in_sam: predict several masks for ambiguous prompts and keep the best.
        multimask_min_pt_num: fewest points that count as ambiguous.
        multimask_max_pt_num: most points that count as ambiguous.
        multimask_output_for_tracking: also on frames that were tracked before.
        use_multimask_token_for_obj_ptr: make the pointer from the best mask's token.
        iou_prediction_use_sigmoid: predicted qualities go through a sigmoid.
        memory_temporal_stride_for_eval: remember every n-th frame beside the last one (eval only).
        non_overlap_masks_for_mem_enc: encode each pixel for one object only (eval only).
        use_obj_ptrs_in_encoder: remember object pointers beside memory maps.
        max_obj_ptrs_in_encoder: reach of the pointers of frames without prompts, in frames.
        only_obj_ptrs_in_the_past_for_eval: no pointers of prompts still to be reached (eval only).
        pred_obj_scores: predict whether the object is in the frame.
        pred_obj_scores_mlp: with three layers, not one.
        fixed_no_obj_ptr: absent objects lose their pointer before `no_obj_ptr` is added.
        soft_no_obj_ptr: blend pointers by the probability of presence, not by its verdict.
        use_mlp_for_obj_ptr_proj: project pointers with three layers, not one.
        add_tpos_enc_to_obj_ptrs: encode the distance in time of pointers.
        proj_tpos_enc_in_obj_ptrs: encode it with all channels and a learned projection.
        use_signed_tpos_enc_to_obj_ptrs: tell past from future in that encoding.
        no_obj_embed_spatial: mark the memory of absent objects.
    """

    num_maskmem: int = 7
    backbone_stride: int = 16
    sigmoid_scale_for_mem_enc: float = 20.0
    sigmoid_bias_for_mem_enc: float = -10.0
    binarize_mask_from_pts_for_mem_enc: bool = False
    use_mask_input_as_output_without_sam: bool = True
    max_cond_frames_in_attn: int = -1
    directly_add_no_mem_embed: bool = True
    use_high_res_features_in_sam: bool = True
    multimask_output_in_sam: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    multimask_output_for_tracking: bool = True
    use_multimask_token_for_obj_ptr: bool = True
    iou_prediction_use_sigmoid: bool = True
    memory_temporal_stride_for_eval: int = 1
    non_overlap_masks_for_mem_enc: bool = False
    use_obj_ptrs_in_encoder: bool = True
    max_obj_ptrs_in_encoder: int = 16
    only_obj_ptrs_in_the_past_for_eval: bool = True
    pred_obj_scores: bool = True
    pred_obj_scores_mlp: bool = True
    fixed_no_obj_ptr: bool = True
    soft_no_obj_ptr: bool = False
    use_mlp_for_obj_ptr_proj: bool = True
    add_tpos_enc_to_obj_ptrs: bool = False
    proj_tpos_enc_in_obj_ptrs: bool = False
    use_signed_tpos_enc_to_obj_ptrs: bool = False
    no_obj_embed_spatial: bool = False


Trunk = ImageEncoderViTConfig | TinyViTConfig | HieraConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One released model: SAM 1 or MobileSAM; `SAM2Variant` has more.

    Args:
        name: stem of the checkpoint's name at Meta.
        family: "sam", "mobile_sam", "sam_hq", "light_hq_sam", "sam2" or "sam2.1".
        trunk: the image encoder, of SAM 2 its trunk.
        prompt: prompt encoder and mask decoder.
        image_size: side, in pixels, of the image that it was trained for.
        pixel_mean: mean of the channels in the pictures it was trained on. SAM 1's models normalise pictures
            themselves; for SAM 2 this, `pixel_std` and `pixel_range` say how they come in.
        pixel_std: their deviation.
        pixel_range: value of a white pixel before normalisation: 255, or 1.
        mask_threshold: logits above it belong to the object.
        only_in: the layouts in which it exists; empty where these are all.

    Examples:
        >>> from samblocks import VARIANTS
        >>> VARIANTS["sam_vit_b"].facts()["trunk.num_heads"]
        12
    """

    name: str
    family: str
    trunk: Trunk
    prompt: PromptConfig = field(default_factory=PromptConfig)
    image_size: int = 1024
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    pixel_range: float = 255.0
    mask_threshold: float = 0.0
    only_in: tuple[str, ...] = ()

    @property
    def early_dim(self) -> int:
        """Channels of the map from inside the image encoder that HQ-SAM's decoder takes; 0 for other models."""
        if self.family not in ("sam_hq", "light_hq_sam") or isinstance(self.trunk, HieraConfig):
            return 0
        return self.trunk.embed_dims[2] if isinstance(self.trunk, TinyViTConfig) else self.trunk.embed_dim

    def facts(self) -> dict[str, object]:
        """List what shapes and values the module is built with beyond what a checkpoint's tensors are.

        Heads, windows, global blocks, RoPE's theta, thresholds, flags: two models that differ in them alone
        have the same tensor names and, most of them, the same shapes.

        Returns:
            Each fact by a dotted name, `part.argument`, in the order of the parts, then what has no part.
        """
        values = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "only_in"}
        found = {
            f"{part}.{setting.name}": getattr(config, setting.name)
            for part, config in values.items()
            if is_dataclass(config)
            for setting in fields(config)
            if setting.name not in _SEEN_IN_WEIGHTS
        }
        plain = {name: value for name, value in values.items() if isinstance(value, (int, float, tuple))}
        return found | plain


@dataclass(frozen=True, slots=True, kw_only=True)
class SAM2Variant(Variant):
    """One released model of SAM 2.0 or 2.1.

    Args:
        trunk: of the image encoder.
        neck: the rest of the image encoder.
        memory: memory attention and memory encoder.
        tracking: arguments of `SAM2Model`.
        multimask: arguments of the mask decoder.

    Examples:
        >>> VARIANTS["sam2.1_hiera_tiny"].facts()["tracking.sigmoid_scale_for_mem_enc"]
        20.0
    """

    trunk: HieraConfig
    neck: FpnNeckConfig = field(default_factory=FpnNeckConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    tracking: SAM2Config = field(default_factory=SAM2Config)
    multimask: DynamicMultimaskConfig = field(default_factory=DynamicMultimaskConfig)


# Settings that the names and shapes of a checkpoint's tensors give away.
_SEEN_IN_WEIGHTS = frozenset(
    {
        "embed_dim",
        "embed_dims",
        "depth",
        "depths",
        "stages",
        "out_chans",
        "patch_size",
        "mlp_ratio",
        "qkv_bias",
        "use_rel_pos",
        "num_classes",
        "mbconv_expand_ratio",
        "local_conv_size",
        "window_pos_embed_bkg_spatial_size",
        "dim_mul",
        "mem_dim",
        "num_layers",
        "dim_feedforward",
        "mask_in_chans",
        "transformer_depth",
        "transformer_mlp_dim",
        "num_multimask_outputs",
        "iou_head_depth",
        "iou_head_hidden_dim",
        "num_maskmem",
        "pred_obj_scores",
        "pred_obj_scores_mlp",
        "use_mlp_for_obj_ptr_proj",
        "no_obj_embed_spatial",
        "proj_tpos_enc_in_obj_ptrs",
        "use_high_res_features_in_sam",
    }
)

_SAM = Variant(
    name="",
    family="sam",
    trunk=ImageEncoderViTConfig(embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11)),
    prompt=PromptConfig(embed_corner_labels=False),
)
_SAM2 = SAM2Variant(
    name="",
    family="sam2",
    trunk=HieraConfig(embed_dim=96, num_heads=1, stages=(1, 2, 7, 2), global_att_blocks=(5, 7, 9)),
    pixel_mean=(0.485, 0.456, 0.406),
    pixel_std=(0.229, 0.224, 0.225),
    pixel_range=1.0,
)
_SAM2_1 = replace(
    _SAM2,
    family="sam2.1",
    tracking=SAM2Config(
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        no_obj_embed_spatial=True,
    ),
)

_VITS = {
    "b": _SAM.trunk,
    "l": ImageEncoderViTConfig(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    "h": ImageEncoderViTConfig(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
}
_SLIM_VITS = {  # SAM's smallest, pruned to a half and to less than a quarter of its width
    "50": ImageEncoderViTConfig(embed_dim=384, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11)),
    "77": ImageEncoderViTConfig(
        embed_dim=168, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11), mlp_ratio=696 / 168
    ),
}
_HIERAS = {
    "tiny": _SAM2.trunk,
    "small": HieraConfig(embed_dim=96, num_heads=1, stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13)),
    "base_plus": HieraConfig(
        embed_dim=112,
        num_heads=2,
        stages=(2, 3, 16, 3),
        global_att_blocks=(12, 16, 20),
        window_pos_embed_bkg_spatial_size=(14, 14),
    ),
    "large": HieraConfig(
        embed_dim=144,
        num_heads=2,
        stages=(2, 6, 36, 4),
        global_att_blocks=(23, 33, 43),
        window_spec=(8, 4, 16, 8),
    ),
}

_ROWS = (
    *(replace(_SAM, name=f"sam_vit_{size}", trunk=trunk) for size, trunk in _VITS.items()),
    replace(
        _SAM, name="mobile_sam", family="mobile_sam", trunk=TinyViTConfig(), only_in=("meta", "ultralytics")
    ),
    *(replace(_SAM2, name=f"sam2_hiera_{size}", trunk=trunk) for size, trunk in _HIERAS.items()),
    *(replace(_SAM2_1, name=f"sam2.1_hiera_{size}", trunk=trunk) for size, trunk in _HIERAS.items()),
    *(
        replace(_SAM, name=f"slimsam_{share}", trunk=trunk, only_in=("meta", "transformers"))
        for share, trunk in _SLIM_VITS.items()
    ),
    *(
        replace(
            _SAM, name=f"sam_hq_vit_{size}", family="sam_hq", trunk=trunk, only_in=("meta", "transformers")
        )
        for size, trunk in _VITS.items()
    ),
    replace(_SAM, name="sam_hq_vit_tiny", family="light_hq_sam", trunk=TinyViTConfig(), only_in=("meta",)),
)

VARIANTS: Mapping[str, Variant] = MappingProxyType({row.name: row for row in _ROWS})
"""The released models by name: three of SAM 1, MobileSAM, four of SAM 2.0 and of SAM 2.1; then SlimSAM and HQ-SAM."""

LAYOUTS = ("meta", "ultralytics", "transformers", "timm", "muggled")
"""The layouts that checkpoints of them are read and written in; all others map to and from "meta"."""

MODEL_CLASSES = ("SamModel", "SamHQModel", "Sam2Model", "Sam2VideoModel")
"""The classes of transformers that such checkpoints are for."""
