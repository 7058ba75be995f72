"""What a SAM 2 is made of: its settings, modules and parameters, and the size of its images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import nn

from samblocks.blocks import MLP, RoPEAttention, SAM2TwoWayTransformer
from samblocks.image_size import image_sides
from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam2.config import SAM2ModelConfig, with_settings
from samblocks.models.sam2.mask_decoder import SAM2MaskDecoder
from samblocks.variants import PromptConfig


@with_settings(but="no_obj_embed_spatial")
class SAM2Parts(nn.Module):
    """Everything that a `SAM2Model` holds; its docstring describes the arguments.

    The settings are kept as `config`, from which everything reads them. Each is an attribute of the model,
    too; setting it is refused where modules were made with it.

    Raises:
        ValueError: for settings that exclude each other.

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_base.py
    """

    mask_threshold: float = 0.0
    add_all_frames_to_correct_as_cond: bool = True
    """For drivers: a frame that gets a correction click counts as a frame with prompts from then on."""

    def __init__(
        self,
        image_encoder: nn.Module,
        memory_attention: nn.Module,
        memory_encoder: nn.Module,
        num_maskmem: int = 7,
        image_size: int = 512,
        backbone_stride: int = 16,
        sigmoid_scale_for_mem_enc: float = 1.0,
        sigmoid_bias_for_mem_enc: float = 0.0,
        binarize_mask_from_pts_for_mem_enc: bool = False,
        use_mask_input_as_output_without_sam: bool = False,
        max_cond_frames_in_attn: int = -1,
        directly_add_no_mem_embed: bool = False,
        use_high_res_features_in_sam: bool = False,
        multimask_output_in_sam: bool = False,
        multimask_min_pt_num: int = 1,
        multimask_max_pt_num: int = 1,
        multimask_output_for_tracking: bool = False,
        use_multimask_token_for_obj_ptr: bool = False,
        iou_prediction_use_sigmoid: bool = False,
        memory_temporal_stride_for_eval: int = 1,
        non_overlap_masks_for_mem_enc: bool = False,
        use_obj_ptrs_in_encoder: bool = False,
        max_obj_ptrs_in_encoder: int = 16,
        add_tpos_enc_to_obj_ptrs: bool = True,
        proj_tpos_enc_in_obj_ptrs: bool = False,
        use_signed_tpos_enc_to_obj_ptrs: bool = False,
        only_obj_ptrs_in_the_past_for_eval: bool = False,
        pred_obj_scores: bool = False,
        pred_obj_scores_mlp: bool = False,
        fixed_no_obj_ptr: bool = False,
        soft_no_obj_ptr: bool = False,
        use_mlp_for_obj_ptr_proj: bool = False,
        no_obj_embed_spatial: bool = False,
        sam_mask_decoder_extra_args: Mapping[str, Any] | None = None,
        compile_image_encoder: bool = False,
        *,
        prompt: PromptConfig = PromptConfig(),  # noqa: B008  # it is frozen
    ) -> None:
        given = locals()  # every argument by its name
        super().__init__()
        self.hidden_dim = dim = int(memory_attention.d_model)  # type: ignore[arg-type]
        self.mem_dim = _memory_channels(memory_encoder, dim)
        settings = {field.name: given[field.name] for field in fields(SAM2ModelConfig)}
        self.config = SAM2ModelConfig(**{**settings, "prompt": _of_width(prompt, dim)})

        # Modules in the order of upstream's state dict.
        self.image_encoder = image_encoder
        if use_obj_ptrs_in_encoder:
            if dim % self.mem_dim:
                raise ValueError(
                    f"memory_encoder: pointers of {dim} channels cannot be cut into tokens of {self.mem_dim}, "
                    "the channels of its memories (mem_dim)"
                )
            # Makes a mask as small as the decoder's own masks, to get a pointer for a mask that came as prompt.
            self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = memory_attention
        self.memory_encoder = memory_encoder
        self.maskmem_tpos_enc = _free_parameter(num_maskmem, 1, 1, self.mem_dim)
        self.no_mem_embed = _free_parameter(1, 1, dim)
        self.no_mem_pos_enc = _free_parameter(1, 1, dim)
        uses_no_obj_ptr = pred_obj_scores and use_obj_ptrs_in_encoder
        self.no_obj_ptr = _free_parameter(1, dim) if uses_no_obj_ptr else None
        self.no_obj_embed_spatial = _free_parameter(1, self.mem_dim) if no_obj_embed_spatial else None
        side = image_size // backbone_stride
        self.sam_prompt_encoder = PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(side, side),
            input_image_size=(image_size, image_size),
            mask_in_chans=prompt.mask_in_chans,
            embed_corner_labels=prompt.embed_corner_labels,
        )
        self.sam_mask_decoder = _mask_decoder(self.config)
        self.obj_ptr_proj: nn.Module = nn.Identity()
        if use_obj_ptrs_in_encoder:
            self.obj_ptr_proj = MLP(dim, dim, dim, 3) if use_mlp_for_obj_ptr_proj else nn.Linear(dim, dim)
        self.obj_ptr_tpos_proj: nn.Module = nn.Identity()
        if proj_tpos_enc_in_obj_ptrs:
            self.obj_ptr_tpos_proj = nn.Linear(dim, self.mem_dim)
        if compile_image_encoder:
            self.image_encoder.compile()

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.no_mem_embed.device

    @property
    def num_feature_levels(self) -> int:
        """How many levels of the image encoder are used."""
        return 3 if self.config.use_high_res_features_in_sam else 1

    @property
    def sam_prompt_embed_dim(self) -> int:
        """Channels of the heads, those of the whole model."""
        return self.hidden_dim

    @property
    def sam_image_embedding_size(self) -> int:
        """Height of the coarsest level, in tokens."""
        return self.sam_prompt_encoder.image_embedding_size[0]

    def set_binarize(self, binarize: bool = False) -> None:
        """Choose whether masks that answer to points are encoded as zeros and ones; video drivers want that."""
        self.config = replace(self.config, binarize_mask_from_pts_for_mem_enc=binarize)

    def set_imgsz(self, imgsz: Sequence[int]) -> None:
        """Take images of another size, [height, width] in pixels, from now on; no weight depends on it.

        The sides may differ. Upstream's drivers take square images only.

        Raises:
            ValueError: when a side is no multiple of `backbone_stride`, or of four times the trunk's first window,
                which makes 32 as released.
        """
        (height, width), stride = image_sides(imgsz, "imgsz"), self.config.backbone_stride
        windows = getattr(getattr(self.image_encoder, "trunk", None), "window_spec", None)
        unit = math.lcm(stride, 4 * windows[0]) if windows else stride
        if height % unit or width % unit:
            raise ValueError(f"imgsz={list(imgsz)}: both sides must be multiples of {unit}")
        self.config = replace(self.config, image_size=height)
        self.sam_prompt_encoder.set_sizes((height // stride, width // stride), (height, width))
        for module in self.memory_attention.modules():
            if isinstance(module, RoPEAttention):
                module.feat_sizes = (width // stride, height // stride)


def _mask_decoder(config: SAM2ModelConfig) -> SAM2MaskDecoder:
    """Make the mask decoder that the settings ask for; its extra arguments go before those of `prompt`."""
    prompt = config.prompt
    extra: dict[str, Any] = {
        "num_multimask_outputs": prompt.num_multimask_outputs,
        "iou_head_depth": prompt.iou_head_depth,
        "iou_head_hidden_dim": prompt.iou_head_hidden_dim,
        **(config.sam_mask_decoder_extra_args or {}),
    }
    return SAM2MaskDecoder(
        transformer_dim=prompt.embed_dim,
        transformer=SAM2TwoWayTransformer(
            depth=prompt.transformer_depth,
            embedding_dim=prompt.embed_dim,
            num_heads=prompt.transformer_num_heads,
            mlp_dim=prompt.transformer_mlp_dim,
        ),
        iou_prediction_use_sigmoid=config.iou_prediction_use_sigmoid,
        use_high_res_features=config.use_high_res_features_in_sam,
        use_multimask_token_for_obj_ptr=config.use_multimask_token_for_obj_ptr,
        pred_obj_scores=config.pred_obj_scores,
        pred_obj_scores_mlp=config.pred_obj_scores_mlp,
        **extra,
    )


def _of_width(prompt: PromptConfig, width: int) -> PromptConfig:
    """The settings with the model's width, which they may only repeat."""
    if prompt.embed_dim not in (width, PromptConfig().embed_dim):
        raise ValueError(
            f"prompt: embed_dim={prompt.embed_dim} must be memory_attention.d_model, which is {width}"
        )
    return replace(prompt, embed_dim=width)


def _memory_channels(memory_encoder: nn.Module, hidden_dim: int) -> int:
    """Channels of a memory; an encoder without an output projection keeps the width of the model."""
    weight = getattr(memory_encoder.out_proj, "weight", None)
    return hidden_dim if weight is None else int(weight.shape[0])


def _free_parameter(*shape: int) -> nn.Parameter:
    # Upstream truncates at a hundred standard deviations, where there is nothing to cut.
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=0.02))
