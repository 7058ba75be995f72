"""The heads of SAM 2: from image features and prompts to masks, scores and object pointers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.blocks import MLP, SAM2TwoWayTransformer
from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam2.mask_decoder import SAM2MaskDecoder
from samblocks.ops.precision import at_least_float32

NO_OBJECT_LOGIT = -1024.0
"""Logit of every pixel of a mask whose object is not in the frame."""

SamOutputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""All low-resolution masks [B, M, H, W], the same at image size, their scores [B, M], then the chosen masks
[B, 1, H, W] at both sizes, the object pointer [B, C] and the object score logits [B, 1]."""


class SAM2Heads(nn.Module):
    """The part of `SAM2Model` that answers prompts: its prompt encoder, mask decoder and pointer projections.

    It holds no constructor: the attributes named here are set by `SAM2Model`.

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_base.py
    """

    hidden_dim: int
    mem_dim: int
    image_size: int
    backbone_stride: int
    use_high_res_features_in_sam: bool
    multimask_output_in_sam: bool
    multimask_min_pt_num: int
    multimask_max_pt_num: int
    multimask_output_for_tracking: bool
    use_multimask_token_for_obj_ptr: bool
    iou_prediction_use_sigmoid: bool
    use_obj_ptrs_in_encoder: bool
    proj_tpos_enc_in_obj_ptrs: bool
    pred_obj_scores: bool
    pred_obj_scores_mlp: bool
    fixed_no_obj_ptr: bool
    soft_no_obj_ptr: bool
    use_mlp_for_obj_ptr_proj: bool
    sam_mask_decoder_extra_args: Mapping[str, Any] | None
    no_mem_embed: nn.Parameter
    no_obj_ptr: nn.Parameter | None
    mask_downsample: nn.Module
    sam_prompt_embed_dim: int
    sam_image_embedding_size: int
    sam_prompt_encoder: PromptEncoder
    sam_mask_decoder: SAM2MaskDecoder
    obj_ptr_proj: nn.Module
    obj_ptr_tpos_proj: nn.Module

    def _build_sam_heads(self) -> None:
        """Make the prompt encoder, the mask decoder and the projections of object pointers."""
        dim, side = self.hidden_dim, self.image_size // self.backbone_stride
        self.sam_prompt_embed_dim, self.sam_image_embedding_size = dim, side
        self.sam_prompt_encoder = PromptEncoder(
            embed_dim=dim,
            mask_in_chans=16,
            image_embedding_size=(side, side),
            input_image_size=(self.image_size, self.image_size),
        )
        self.sam_mask_decoder = SAM2MaskDecoder(
            transformer_dim=dim,
            transformer=SAM2TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=8, mlp_dim=2048),
            iou_prediction_use_sigmoid=self.iou_prediction_use_sigmoid,
            use_high_res_features=self.use_high_res_features_in_sam,
            use_multimask_token_for_obj_ptr=self.use_multimask_token_for_obj_ptr,
            pred_obj_scores=self.pred_obj_scores,
            pred_obj_scores_mlp=self.pred_obj_scores_mlp,
            **(self.sam_mask_decoder_extra_args or {}),
        )
        self.obj_ptr_proj = nn.Identity()
        if self.use_obj_ptrs_in_encoder:
            self.obj_ptr_proj = (
                MLP(dim, dim, dim, 3) if self.use_mlp_for_obj_ptr_proj else nn.Linear(dim, dim)
            )
        self.obj_ptr_tpos_proj = (
            nn.Linear(dim, self.mem_dim) if self.proj_tpos_enc_in_obj_ptrs else nn.Identity()
        )

    def _use_multimask(self, is_init_cond_frame: bool, point_inputs: Mapping[str, Tensor] | None) -> bool:
        """Whether several masks are predicted for these prompts; a box counts as two points."""
        num_points = 0 if point_inputs is None else point_inputs["point_labels"].shape[1]
        return (
            self.multimask_output_in_sam
            and (is_init_cond_frame or self.multimask_output_for_tracking)
            and self.multimask_min_pt_num <= num_points <= self.multimask_max_pt_num
        )

    def _forward_sam_heads(
        self,
        backbone_features: Tensor,
        point_inputs: Mapping[str, Tensor] | None = None,
        mask_inputs: Tensor | None = None,
        high_res_features: Sequence[Tensor] | None = None,
        multimask_output: bool = False,
    ) -> SamOutputs:
        """Predict masks, scores and an object pointer from features and prompts.

        Without points one point that counts for nothing is used. A mask of another size than the prompt
        encoder's is resized to it.

        Args:
            backbone_features: [B, C, H, W]
            point_inputs: "point_coords" [B, N, 2], as (x, y) in pixels of the model's image, and
                "point_labels" [B, N]: 1 inside, 0 outside, 2 and 3 corners of a box, -1 nothing.
            mask_inputs: [B, 1, H', W'] logits.
            high_res_features: maps of strides 4 and 8, already projected by the decoder's convolutions.
            multimask_output: predict three masks and choose the one with the best predicted quality.

        Returns:
            Masks [B, M, 4H, 4W], the same at image size, predicted qualities [B, M], the chosen masks
            [B, 1, 4H, 4W] and at image size, object pointers [B, C], object score logits [B, 1].

        Raises:
            ValueError: when features or prompts have other shapes than these.
        """
        batch = backbone_features.shape[0]
        self._check_sizes(backbone_features, point_inputs, mask_inputs)
        if point_inputs is not None:
            points = (point_inputs["point_coords"], point_inputs["point_labels"])
        else:
            points = (
                backbone_features.new_zeros(batch, 1, 2),
                torch.full((batch, 1), -1, dtype=torch.int32, device=backbone_features.device),
            )
        if mask_inputs is not None:
            mask_inputs = mask_inputs.to(backbone_features.dtype)
            if tuple(mask_inputs.shape[-2:]) != tuple(self.sam_prompt_encoder.mask_input_size):
                height, width = self.sam_prompt_encoder.mask_input_size
                mask_inputs = resize(mask_inputs, (height, width), antialias=True)
        sparse, dense = self.sam_prompt_encoder(points=points, boxes=None, masks=mask_inputs)
        low_res_multimasks, ious, tokens, object_score_logits = self.sam_mask_decoder(
            image_embeddings=backbone_features,
            image_pe=self.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            repeat_image=False,
            high_res_features=high_res_features,
        )
        if self.pred_obj_scores:
            appears = (object_score_logits > 0)[:, :, None, None]
            low_res_multimasks = torch.where(appears, low_res_multimasks, NO_OBJECT_LOGIT)
        image_height, image_width = self.sam_prompt_encoder.input_image_size
        high_res_multimasks = resize(low_res_multimasks, (image_height, image_width))

        low_res_masks, high_res_masks, token = low_res_multimasks, high_res_multimasks, tokens[:, 0]
        if multimask_output:
            rows, best = torch.arange(batch, device=ious.device), ious.argmax(dim=-1)
            low_res_masks = low_res_multimasks[rows, best].unsqueeze(1)
            high_res_masks = high_res_multimasks[rows, best].unsqueeze(1)
            if tokens.shape[1] > 1:
                token = tokens[rows, best]

        pointer = self.obj_ptr_proj(token)
        if self.pred_obj_scores:
            presence = object_score_logits.sigmoid() if self.soft_no_obj_ptr else object_score_logits > 0
            pointer = self._mix_no_object_pointer(pointer, presence)
        return (
            low_res_multimasks,
            high_res_multimasks,
            ious,
            low_res_masks,
            high_res_masks,
            pointer,
            object_score_logits,
        )

    def _use_mask_as_output(
        self,
        mask_inputs: Tensor,
        backbone_features: Tensor | None = None,
        high_res_features: Sequence[Tensor] | None = None,
    ) -> SamOutputs:
        """Give a mask back as if the heads had predicted it; they only make the object pointer.

        Args:
            mask_inputs: [B, 1, H, W] zeros and ones, at image size.
            backbone_features: [B, C, H', W']; without them the pointer is zero.
            high_res_features: maps of strides 4 and 8, already projected; without them, though the model uses
                them, the pointer is zero.

        Returns:
            As `_forward_sam_heads`, with logits of +10 and -10, quality 1 and the score logit +10 where the
            mask holds any pixel, else -10.
        """
        mask = mask_inputs.to(self.no_mem_embed.dtype)
        batch, _, height, width = mask.shape
        high_res_masks = mask * 20.0 - 10.0
        low_res_masks = resize(high_res_masks, (height // 4, width // 4), antialias=True)
        ious = mask.new_ones(batch, 1)
        lacks_features = backbone_features is None or (
            high_res_features is None and self.use_high_res_features_in_sam
        )
        if backbone_features is None or lacks_features or not self.use_obj_ptrs_in_encoder:
            pointer = mask.new_zeros(batch, self.hidden_dim)
        else:
            pointer = self._forward_sam_heads(
                backbone_features=backbone_features,
                mask_inputs=self.mask_downsample(mask),
                high_res_features=high_res_features,
            )[5]
        appears = (mask > 0).flatten(1).any(dim=1, keepdim=True)
        if self.pred_obj_scores:
            # The heads did this once, by their own score; the mask's verdict comes on top.
            pointer = self._mix_no_object_pointer(pointer, appears)
        object_score_logits = appears.to(mask.dtype) * 20.0 - 10.0
        return (
            low_res_masks,
            high_res_masks,
            ious,
            low_res_masks,
            high_res_masks,
            pointer,
            object_score_logits,
        )

    def _mix_no_object_pointer(self, pointer: Tensor, presence: Tensor) -> Tensor:
        """Blend the pointer [B, C] with the learned one for absent objects, by presence [B, 1] in 0 to 1."""
        if self.no_obj_ptr is None:  # no pointers in use
            return pointer
        presence = presence.to(pointer.dtype)
        if self.fixed_no_obj_ptr:
            pointer = presence * pointer
        return pointer + (1 - presence) * self.no_obj_ptr

    def _check_sizes(
        self, features: Tensor, point_inputs: Mapping[str, Tensor] | None, mask_inputs: Tensor | None
    ) -> None:
        (height, width), dim = self.sam_prompt_encoder.image_embedding_size, self.sam_prompt_embed_dim
        if tuple(features.shape[1:]) != (dim, height, width):
            raise ValueError(
                f"backbone_features: shape {tuple(features.shape)}, must be [B, {dim}, {height}, {width}]; "
                "images of another size need set_imgsz first"
            )
        batch = features.shape[0]
        if point_inputs is not None:
            coords, labels = point_inputs["point_coords"], point_inputs["point_labels"]
            if coords.shape[0] != batch or coords.shape[:2] != labels.shape:
                raise ValueError(
                    f"point_inputs: point_coords {tuple(coords.shape)} and point_labels "
                    f"{tuple(labels.shape)} must be [{batch}, N, 2] and [{batch}, N]"
                )
        if mask_inputs is not None and (mask_inputs.ndim != 4 or mask_inputs.shape[:2] != (batch, 1)):
            raise ValueError(f"mask_inputs: shape {tuple(mask_inputs.shape)}, must be [{batch}, 1, H, W]")


def resize(x: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """Bilinear resize of x [B, C, H, W], computed in at least single precision, in x's dtype."""
    wide = x.to(at_least_float32(x.dtype))
    wide = F.interpolate(wide, size=size, mode="bilinear", align_corners=False, antialias=antialias)
    return wide.to(x.dtype)
