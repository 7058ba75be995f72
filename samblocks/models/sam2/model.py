"""SAM 2: one model for clicks, boxes and masks on images, and for tracking what they show through a video."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from samblocks.blocks import RoPEAttention
from samblocks.models.sam2.memory_bank import to_tokens
from samblocks.models.sam2.tracking import SAM2Tracking


class SAM2Model(SAM2Tracking):
    """Image encoder, memory and heads of SAM 2 and 2.1, and one step of tracking.

    There is no `forward`: drivers call `forward_image`, `_prepare_backbone_features` and `track_step`, whose
    names are upstream's. The channels of the whole model are `memory_attention.d_model`, those of a memory
    the outputs of `memory_encoder.out_proj`.

    Args:
        image_encoder: module from images to "backbone_fpn" and "vision_pos_enc", finest level first.
        memory_attention: module that lets a frame read memories.
        memory_encoder: module that makes the memory of a frame.
        num_maskmem: frames remembered, one place among them for all frames with prompts; 0 turns memory off.
        image_size: side of the square images, in pixels.
        backbone_stride: image pixels per token of the coarsest level.
        sigmoid_scale_for_mem_enc: factor on mask probabilities before they are encoded.
        sigmoid_bias_for_mem_enc: term added after it.
        binarize_mask_from_pts_for_mem_enc: encode masks that answer to points as zeros and ones (eval only).
        use_mask_input_as_output_without_sam: give masks that come as prompts back unchanged.
        max_cond_frames_in_attn: most frames with prompts that are attended to; -1 for all, else at least 2.
        directly_add_no_mem_embed: on frames without memory add `no_mem_embed` in place of attention.
        use_high_res_features_in_sam: give the levels of strides 4 and 8 to the mask decoder.
        multimask_output_in_sam: predict three masks for ambiguous prompts and keep the best.
        multimask_min_pt_num: fewest points that count as ambiguous.
        multimask_max_pt_num: most points that count as ambiguous.
        multimask_output_for_tracking: also on frames that were tracked before.
        use_multimask_token_for_obj_ptr: make the pointer from the best mask's token.
        iou_prediction_use_sigmoid: predicted qualities go through a sigmoid.
        memory_temporal_stride_for_eval: remember every n-th frame beside the last one (eval only).
        non_overlap_masks_for_mem_enc: encode each pixel for one object only (eval only).
        use_obj_ptrs_in_encoder: remember object pointers beside memory maps.
        max_obj_ptrs_in_encoder: reach of the pointers of frames without prompts, in frames.
        add_tpos_enc_to_obj_ptrs: encode the distance in time of pointers.
        proj_tpos_enc_in_obj_ptrs: encode it with all channels and a learned projection.
        use_signed_tpos_enc_to_obj_ptrs: tell past from future in that encoding.
        only_obj_ptrs_in_the_past_for_eval: no pointers of prompts still to be reached (eval only).
        pred_obj_scores: predict whether the object is in the frame.
        pred_obj_scores_mlp: with three layers, not one.
        fixed_no_obj_ptr: absent objects lose their pointer before `no_obj_ptr` is added.
        soft_no_obj_ptr: blend pointers by the probability of presence, not by its verdict.
        use_mlp_for_obj_ptr_proj: project pointers with three layers, not one.
        no_obj_embed_spatial: mark the memory of absent objects.
        sam_mask_decoder_extra_args: further arguments of the mask decoder.
        compile_image_encoder: compile the image encoder when it is first called.

    Raises:
        ValueError: for settings that exclude each other.

    Examples:
        >>> from samblocks.blocks import MemoryAttentionLayer
        >>> from samblocks.models.sam2.hiera import Hiera
        >>> from samblocks.models.sam2.image_encoder import FpnNeck, ImageEncoder
        >>> from samblocks.models.sam2.memory import MemoryAttention, MemoryEncoder
        >>> trunk = Hiera(embed_dim=8, stages=(1, 1, 1, 1), global_att_blocks=(), window_spec=(8, 4, 4, 2))
        >>> encoder = ImageEncoder(trunk, FpnNeck(256, trunk.channel_list, fpn_top_down_levels=[]), scalp=1)
        >>> attention = MemoryAttention(256, True, MemoryAttentionLayer(dim_feedforward=64), num_layers=1)
        >>> model = SAM2Model(
        ...     encoder, attention, MemoryEncoder(out_dim=64), image_size=64,
        ...     directly_add_no_mem_embed=True, use_high_res_features_in_sam=True,
        ... ).eval()
        >>> outputs = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        >>> click = {"point_coords": torch.tensor([[[20.0, 30.0]]]), "point_labels": torch.tensor([[1]])}
        >>> for frame, image in enumerate(torch.randn(2, 1, 3, 64, 64)):
        ...     with torch.inference_mode():
        ...         _, features, encodings, sizes = model._prepare_backbone_features(model.forward_image(image))
        ...         result = model.track_step(
        ...             frame, frame == 0, features, encodings, sizes, click if frame == 0 else None, None, outputs, 2
        ...         )
        ...     outputs["cond_frame_outputs" if frame == 0 else "non_cond_frame_outputs"][frame] = result
        ...     tuple(result["pred_masks_high_res"].shape), tuple(result["maskmem_features"].shape)
        ((1, 1, 64, 64), (1, 64, 4, 4))
        ((1, 1, 64, 64), (1, 64, 4, 4))

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
    ) -> None:
        super().__init__()
        if proj_tpos_enc_in_obj_ptrs and not add_tpos_enc_to_obj_ptrs:
            raise ValueError("proj_tpos_enc_in_obj_ptrs=True: needs add_tpos_enc_to_obj_ptrs=True")
        if fixed_no_obj_ptr and not (pred_obj_scores and use_obj_ptrs_in_encoder):
            raise ValueError(
                "fixed_no_obj_ptr=True: needs pred_obj_scores=True and use_obj_ptrs_in_encoder=True"
            )
        # Images and features.
        self.image_size = image_size
        self.backbone_stride = backbone_stride
        self.use_high_res_features_in_sam = use_high_res_features_in_sam
        self.num_feature_levels = 3 if use_high_res_features_in_sam else 1
        # Masks.
        self.multimask_output_in_sam = multimask_output_in_sam
        self.multimask_output_for_tracking = multimask_output_for_tracking
        self.multimask_min_pt_num = multimask_min_pt_num
        self.multimask_max_pt_num = multimask_max_pt_num
        self.use_mask_input_as_output_without_sam = use_mask_input_as_output_without_sam
        self.iou_prediction_use_sigmoid = iou_prediction_use_sigmoid
        self.sam_mask_decoder_extra_args = sam_mask_decoder_extra_args
        # Presence of objects.
        self.pred_obj_scores = pred_obj_scores
        self.pred_obj_scores_mlp = pred_obj_scores_mlp
        self.soft_no_obj_ptr = soft_no_obj_ptr
        self.fixed_no_obj_ptr = fixed_no_obj_ptr
        # What is remembered, and how masks are written down.
        self.num_maskmem = num_maskmem
        self.memory_temporal_stride_for_eval = memory_temporal_stride_for_eval
        self.max_cond_frames_in_attn = max_cond_frames_in_attn
        self.directly_add_no_mem_embed = directly_add_no_mem_embed
        self.non_overlap_masks_for_mem_enc = non_overlap_masks_for_mem_enc
        self.binarize_mask_from_pts_for_mem_enc = binarize_mask_from_pts_for_mem_enc
        self.sigmoid_bias_for_mem_enc = sigmoid_bias_for_mem_enc
        self.sigmoid_scale_for_mem_enc = sigmoid_scale_for_mem_enc
        # Object pointers.
        self.use_obj_ptrs_in_encoder = use_obj_ptrs_in_encoder
        self.use_mlp_for_obj_ptr_proj = use_mlp_for_obj_ptr_proj
        self.use_multimask_token_for_obj_ptr = use_multimask_token_for_obj_ptr
        self.max_obj_ptrs_in_encoder = max_obj_ptrs_in_encoder
        self.only_obj_ptrs_in_the_past_for_eval = only_obj_ptrs_in_the_past_for_eval
        self.add_tpos_enc_to_obj_ptrs = add_tpos_enc_to_obj_ptrs
        self.use_signed_tpos_enc_to_obj_ptrs = use_signed_tpos_enc_to_obj_ptrs
        self.proj_tpos_enc_in_obj_ptrs = proj_tpos_enc_in_obj_ptrs

        # Modules in the order of upstream's state dict.
        self.image_encoder = image_encoder
        if use_obj_ptrs_in_encoder:
            # Makes a mask as small as the decoder's own masks, to get a pointer for a mask that came as prompt.
            self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = memory_attention
        self.memory_encoder = memory_encoder
        self.hidden_dim = int(memory_attention.d_model)  # type: ignore[arg-type]
        self.mem_dim = _memory_channels(memory_encoder, self.hidden_dim)
        if use_obj_ptrs_in_encoder and self.hidden_dim % self.mem_dim:
            raise ValueError(
                f"memory_encoder: pointers of {self.hidden_dim} channels cannot be cut into tokens of "
                f"{self.mem_dim}, the channels of its memories"
            )
        self.maskmem_tpos_enc = _free_parameter(num_maskmem, 1, 1, self.mem_dim)
        self.no_mem_embed = _free_parameter(1, 1, self.hidden_dim)
        self.no_mem_pos_enc = _free_parameter(1, 1, self.hidden_dim)
        uses_no_obj_ptr = pred_obj_scores and use_obj_ptrs_in_encoder
        self.no_obj_ptr = _free_parameter(1, self.hidden_dim) if uses_no_obj_ptr else None
        self.no_obj_embed_spatial = _free_parameter(1, self.mem_dim) if no_obj_embed_spatial else None
        self._build_sam_heads()
        if compile_image_encoder:
            self.image_encoder.compile()

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.no_mem_embed.device

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not there: SAM 2 is run by a driver.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "SAM2Model has no forward: call forward_image, _prepare_backbone_features and track_step, or hand "
            "the model to a predictor"
        )

    def set_binarize(self, binarize: bool = False) -> None:
        """Choose whether masks that answer to points are encoded as zeros and ones; video drivers want that."""
        self.binarize_mask_from_pts_for_mem_enc = binarize

    def set_imgsz(self, imgsz: Sequence[int]) -> None:
        """Take images of another size, [height, width] in pixels, from now on; no weight depends on it.

        The sides may differ. Upstream's drivers take square images only.

        Raises:
            ValueError: when a side is no multiple of `backbone_stride`.
        """
        height, width = imgsz
        if min(imgsz) < self.backbone_stride or height % self.backbone_stride or width % self.backbone_stride:
            raise ValueError(f"imgsz={list(imgsz)}: both sides must be multiples of {self.backbone_stride}")
        grid = (height // self.backbone_stride, width // self.backbone_stride)
        self.image_size = height
        self.sam_image_embedding_size = grid[0]
        self.sam_prompt_encoder.input_image_size = (height, width)
        self.sam_prompt_encoder.image_embedding_size = grid
        self.sam_prompt_encoder.mask_input_size = (4 * grid[0], 4 * grid[1])
        for module in self.memory_attention.modules():
            if isinstance(module, RoPEAttention):
                module.feat_sizes = (grid[1], grid[0])

    def forward_image(self, img_batch: Tensor) -> dict[str, Any]:
        """Encode normalised images, ready for tracking.

        Args:
            img_batch: [B, 3, H, W]

        Returns:
            What the image encoder gives; with high-resolution features the two finest maps are already
            projected for the mask decoder, once for all prompts.
        """
        backbone_out: dict[str, Any] = dict(self.image_encoder(img_batch))
        if self.use_high_res_features_in_sam:
            finest, fine, *rest = backbone_out["backbone_fpn"]
            decoder = self.sam_mask_decoder
            backbone_out["backbone_fpn"] = [decoder.conv_s0(finest), decoder.conv_s1(fine), *rest]
        return backbone_out

    def _prepare_backbone_features(
        self, backbone_out: Mapping[str, Any], batch: int = 1
    ) -> tuple[dict[str, Any], list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """Flatten the levels that tracking uses into tokens.

        Args:
            backbone_out: result of `forward_image`; left as it is.
            batch: number of objects; maps of one image are repeated for them.

        Returns:
            A copy of `backbone_out` with the repeated maps, and for each used level, coarsest last, tokens
            [N, B, C], their position encodings [N, B, C] and (height, width).

        Raises:
            ValueError: when levels are missing.
        """
        maps, encodings = list(backbone_out["backbone_fpn"]), list(backbone_out["vision_pos_enc"])
        if len(maps) != len(encodings) or len(maps) < self.num_feature_levels:
            raise ValueError(
                f"backbone_out: {len(maps)} maps and {len(encodings)} position encodings, must be as many, "
                f"at least {self.num_feature_levels}"
            )
        if batch > 1:
            maps = [x.expand(batch, -1, -1, -1) for x in maps]
            encodings = [x.expand(batch, -1, -1, -1) for x in encodings]
        prepared = {**backbone_out, "backbone_fpn": maps, "vision_pos_enc": encodings}
        maps, encodings = maps[-self.num_feature_levels :], encodings[-self.num_feature_levels :]
        sizes = [(x.shape[-2], x.shape[-1]) for x in encodings]
        return prepared, [to_tokens(x) for x in maps], [to_tokens(x) for x in encodings], sizes


def _memory_channels(memory_encoder: nn.Module, hidden_dim: int) -> int:
    """Channels of a memory; an encoder without an output projection keeps the width of the model."""
    weight = getattr(memory_encoder.out_proj, "weight", None)
    return hidden_dim if weight is None else int(weight.shape[0])


def _free_parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))
