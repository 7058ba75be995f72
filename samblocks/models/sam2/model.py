"""SAM 2: one model for clicks, boxes and masks on images, and for tracking what they show through a video.

Read `SAM2Model.track_step` first: it says what happens to a frame, in the order in which it happens.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor

from samblocks.blocks.arguments import checks_arguments
from samblocks.models.sam2.heads import (
    SamOutputs,
    answer,
    mask_as_logits,
    mix_no_object_pointer,
)
from samblocks.models.sam2.image_encoder import encode_and_project
from samblocks.models.sam2.levels import levels_as_tokens, to_map
from samblocks.models.sam2.memory_bank import (
    FrameOutputs,
    mark_absent,
    mask_to_remember,
    read_memory,
    without_overlaps,
)
from samblocks.models.sam2.parts import SAM2Parts


@checks_arguments("forward_image", in_chans="image_encoder.trunk.patch_embed.proj.in_channels")
class SAM2Model(SAM2Parts):
    """Image encoder, memory and heads of SAM 2 and 2.1, and one step of tracking.

    There is no `forward`: drivers call `forward_image`, `_prepare_backbone_features` and `track_step`, whose
    names are upstream's. The channels of the whole model are `memory_attention.d_model`, those of a memory
    the outputs of `memory_encoder.out_proj`.

    Args:
        image_encoder: module from images to "backbone_fpn" and "vision_pos_enc", finest level first.
        memory_attention: module that lets a frame read memories.
        memory_encoder: module that makes the memory of a frame.
        image_size: side of the square images, in pixels.
        sam_mask_decoder_extra_args: further arguments of the mask decoder; they go before those of `prompt`.
        compile_image_encoder: compile the image encoder when it is first called.
        prompt: prompt encoder and mask decoder. Its `embed_dim` is left alone or `memory_attention.d_model`.

    The other arguments, which `SAM2Parts` takes, are described in `samblocks.variants.SAM2Config`.

    Raises:
        ValueError: for settings that exclude each other.

    Examples:
        >>> import torch
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

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not there: SAM 2 is run by a driver.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "SAM2Model has no forward: call forward_image, _prepare_backbone_features and track_step, or hand "
            "the model to a predictor"
        )

    def forward_image(self, img_batch: Tensor) -> dict[str, Any]:
        """Encode normalised images, ready for tracking.

        Args:
            img_batch: [B, in_chans, H, W]

        Returns:
            What the image encoder gives; with high-resolution features the two maps finer than the coarsest
            are already projected for the mask decoder, once for all prompts.
        """
        if not self.config.use_high_res_features_in_sam:
            return dict(self.image_encoder(img_batch))
        decoder = self.sam_mask_decoder
        return encode_and_project(self.image_encoder, img_batch, decoder.conv_s0, decoder.conv_s1)

    def _prepare_backbone_features(
        self, backbone_out: Mapping[str, Any], batch: int = 1
    ) -> tuple[dict[str, Any], list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """Flatten the levels that tracking uses into tokens, for `batch` objects; see `levels_as_tokens`."""
        return levels_as_tokens(backbone_out, self.num_feature_levels, batch)

    def track_step(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: Sequence[Tensor],
        current_vision_pos_embeds: Sequence[Tensor],
        feat_sizes: Sequence[tuple[int, int]],
        point_inputs: Mapping[str, Tensor] | None,
        mask_inputs: Tensor | None,
        output_dict: Mapping[str, FrameOutputs],
        num_frames: int,
        track_in_reverse: bool = False,
        run_mem_encoder: bool = True,
        prev_sam_mask_logits: Tensor | None = None,
    ) -> dict[str, Any]:
        """Segment the objects of one frame, from prompts, from memory or from both.

        Args:
            frame_idx: number of the frame.
            is_init_cond_frame: the frame has prompts and was not tracked before: it reads no memory.
            current_vision_feats: levels of the frame, [N, B, C] each, coarsest last, one batch item per
                object; as `_prepare_backbone_features` gives them.
            current_vision_pos_embeds: their position encodings.
            feat_sizes: (height, width) of the levels.
            point_inputs: "point_coords" [B, N, 2], as (x, y) in pixels, and "point_labels" [B, N]; a box is
                two points labelled 2 and 3.
            mask_inputs: [B, 1, H, W] zeros and ones at image size; not together with points.
            output_dict: earlier results by frame number, under "cond_frame_outputs" (frames with prompts) and
                "non_cond_frame_outputs". The caller puts this step's result there.
            num_frames: length of the video.
            track_in_reverse: the video is tracked backwards.
            run_mem_encoder: make the memory of this frame.
            prev_sam_mask_logits: "pred_masks" [B, 1, H', W'] of an earlier answer that points correct.

        Returns:
            "pred_masks" [B, 1, H', W'] and "pred_masks_high_res" [B, 1, H, W] logits, "obj_ptr" [B, C],
            "object_score_logits" [B, 1] (eval only), and "maskmem_features" [B, C', H', W'] with
            "maskmem_pos_enc", or None for both.

        Raises:
            ValueError: for prompts that exclude each other, or without anything to track from.
        """
        sam_outputs, _, _ = self._track_step(
            frame_idx,
            is_init_cond_frame,
            current_vision_feats,
            current_vision_pos_embeds,
            feat_sizes,
            point_inputs,
            mask_inputs,
            output_dict,
            num_frames,
            track_in_reverse,
            prev_sam_mask_logits,
        )
        _, _, _, low_res_masks, high_res_masks, pointer, object_score_logits = sam_outputs
        current_out = {"pred_masks": low_res_masks, "pred_masks_high_res": high_res_masks, "obj_ptr": pointer}
        if not self.training:
            current_out["object_score_logits"] = object_score_logits
        self._encode_memory_in_output(
            current_vision_feats=current_vision_feats,
            feat_sizes=feat_sizes,
            point_inputs=point_inputs,
            run_mem_encoder=run_mem_encoder,
            high_res_masks=high_res_masks,
            object_score_logits=object_score_logits,
            current_out=current_out,
        )
        return current_out

    def _track_step(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: Sequence[Tensor],
        current_vision_pos_embeds: Sequence[Tensor],
        feat_sizes: Sequence[tuple[int, int]],
        point_inputs: Mapping[str, Tensor] | None,
        mask_inputs: Tensor | None,
        output_dict: Mapping[str, FrameOutputs],
        num_frames: int,
        track_in_reverse: bool,
        prev_sam_mask_logits: Tensor | None,
    ) -> tuple[SamOutputs, list[Tensor] | None, Tensor]:
        """What the heads make of a frame, with the projected fine maps and the features they worked on."""
        if point_inputs is not None and mask_inputs is not None:
            raise ValueError("mask_inputs: must be None when point_inputs are given")
        high_res_features = None
        if len(current_vision_feats) > 1:
            finer = zip(current_vision_feats[:-1], feat_sizes[:-1], strict=True)
            high_res_features = [to_map(x, *size) for x, size in finer]
        if mask_inputs is not None and self.config.use_mask_input_as_output_without_sam:
            features = to_map(current_vision_feats[-1], *feat_sizes[-1])
            outputs = self._use_mask_as_output(
                mask_inputs=mask_inputs, backbone_features=features, high_res_features=high_res_features
            )
            return outputs, high_res_features, features
        if prev_sam_mask_logits is not None:
            if point_inputs is None or mask_inputs is not None:
                raise ValueError("prev_sam_mask_logits: needs point_inputs that correct them")
            mask_inputs = prev_sam_mask_logits
        features = self._prepare_memory_conditioned_features(
            frame_idx=frame_idx,
            num_frames=num_frames,
            track_in_reverse=track_in_reverse,
            is_init_cond_frame=is_init_cond_frame,
            output_dict=output_dict,
            current_vision_feats=current_vision_feats[-1:],
            current_vision_pos_embeds=current_vision_pos_embeds[-1:],
            feat_sizes=feat_sizes[-1:],
        )
        outputs = self._forward_sam_heads(
            backbone_features=features,
            point_inputs=point_inputs,
            mask_inputs=mask_inputs,
            high_res_features=high_res_features,
            multimask_output=self._use_multimask(is_init_cond_frame, point_inputs),
        )
        return outputs, high_res_features, features

    def _prepare_memory_conditioned_features(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: Sequence[Tensor],
        current_vision_pos_embeds: Sequence[Tensor],
        feat_sizes: Sequence[tuple[int, int]],
        output_dict: Mapping[str, FrameOutputs],
        num_frames: int,
        track_in_reverse: bool = False,
    ) -> Tensor:
        """Let the coarsest level read what is remembered of other frames, [B, C, H, W]; see `track_step`."""
        config, features, size = self.config, current_vision_feats[-1], feat_sizes[-1]
        if config.num_maskmem == 0:
            return to_map(features, *size)
        if not is_init_cond_frame:
            memory, memory_pos, pointer_tokens = read_memory(
                frame_idx,
                features,
                output_dict,
                num_frames,
                track_in_reverse,
                config=config,
                training=self.training,
                maskmem_tpos_enc=self.maskmem_tpos_enc,
                obj_ptr_tpos_proj=self.obj_ptr_tpos_proj,
            )
        elif config.directly_add_no_mem_embed:
            return to_map(features + self.no_mem_embed, *size)
        else:
            if self.mem_dim != self.hidden_dim:
                raise ValueError(
                    f"is_init_cond_frame: the stand-in for an empty memory has {self.hidden_dim} channels, "
                    f"memories have {self.mem_dim}; build the model with directly_add_no_mem_embed=True"
                )
            pointer_tokens = 0
            memory = self.no_mem_embed.expand(1, features.shape[1], self.mem_dim)
            memory_pos = self.no_mem_pos_enc.expand(1, features.shape[1], self.mem_dim)
        conditioned: Tensor = self.memory_attention(
            curr=features,
            curr_pos=current_vision_pos_embeds[-1],
            memory=memory,
            memory_pos=memory_pos,
            num_obj_ptr_tokens=pointer_tokens,
        )
        return to_map(conditioned, *size)

    def _use_multimask(self, is_init_cond_frame: bool, point_inputs: Mapping[str, Tensor] | None) -> bool:
        """Whether several masks are predicted for these prompts; a box counts as two points."""
        config = self.config
        num_points = 0 if point_inputs is None else point_inputs["point_labels"].shape[1]
        return (
            config.multimask_output_in_sam
            and (is_init_cond_frame or config.multimask_output_for_tracking)
            and config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
        )

    def _forward_sam_heads(
        self,
        backbone_features: Tensor,
        point_inputs: Mapping[str, Tensor] | None = None,
        mask_inputs: Tensor | None = None,
        high_res_features: Sequence[Tensor] | None = None,
        multimask_output: bool = False,
    ) -> SamOutputs:
        """Predict masks, scores and an object pointer; see `heads.answer`."""
        config = self.config
        *found, token, scores = answer(
            self.sam_prompt_encoder,
            self.sam_mask_decoder,
            backbone_features,
            point_inputs,
            mask_inputs,
            high_res_features,
            multimask_output=multimask_output,
            empty_absent=config.pred_obj_scores,
        )
        pointer = self.obj_ptr_proj(token)
        if config.pred_obj_scores:
            presence = scores.sigmoid() if config.soft_no_obj_ptr else scores > 0
            pointer = mix_no_object_pointer(pointer, presence, self.no_obj_ptr, fixed=config.fixed_no_obj_ptr)
        return *found, pointer, scores

    def _use_mask_as_output(
        self,
        mask_inputs: Tensor,
        backbone_features: Tensor | None = None,
        high_res_features: Sequence[Tensor] | None = None,
    ) -> SamOutputs:
        """Give a mask [B, 1, H, W] of zeros and ones, at image size, back as if the heads had predicted it.

        The heads only make the object pointer; without features, or finer ones where they are used, it is
        zero. Logits are +10 and -10, so are scores: whether the mask holds any pixel. The quality is 1.
        """
        config, mask = self.config, mask_inputs.to(self.no_mem_embed.dtype)
        low_res_masks, high_res_masks = mask_as_logits(mask)
        lacks_levels = config.use_high_res_features_in_sam and high_res_features is None
        if backbone_features is None or lacks_levels or not config.use_obj_ptrs_in_encoder:
            pointer = mask.new_zeros(len(mask), self.hidden_dim)
        else:
            pointer = self._forward_sam_heads(
                backbone_features=backbone_features,
                mask_inputs=self.mask_downsample(mask),
                high_res_features=high_res_features,
            )[5]
        appears = (mask > 0).flatten(1).any(dim=1, keepdim=True)
        if config.pred_obj_scores:
            # The heads did this once, by their own score; the mask's verdict comes on top.
            pointer = mix_no_object_pointer(pointer, appears, self.no_obj_ptr, fixed=config.fixed_no_obj_ptr)
        ious, scores = mask.new_ones(len(mask), 1), appears.to(mask.dtype) * 20.0 - 10.0
        return low_res_masks, high_res_masks, ious, low_res_masks, high_res_masks, pointer, scores

    def _encode_memory_in_output(
        self,
        current_vision_feats: Sequence[Tensor],
        feat_sizes: Sequence[tuple[int, int]],
        point_inputs: Mapping[str, Tensor] | None,
        run_mem_encoder: bool,
        high_res_masks: Tensor,
        object_score_logits: Tensor,
        current_out: dict[str, Any],
    ) -> None:
        """Put the frame's memory under "maskmem_features" and "maskmem_pos_enc" of `current_out`, or None."""
        memory, memory_pos = None, None
        if run_mem_encoder and self.config.num_maskmem > 0:
            memory, memory_pos = self._encode_new_memory(
                current_vision_feats=current_vision_feats,
                feat_sizes=feat_sizes,
                pred_masks_high_res=high_res_masks,
                object_score_logits=object_score_logits,
                is_mask_from_pts=point_inputs is not None,
            )
        current_out["maskmem_features"], current_out["maskmem_pos_enc"] = memory, memory_pos

    def _encode_new_memory(
        self,
        current_vision_feats: Sequence[Tensor],
        feat_sizes: Sequence[tuple[int, int]],
        pred_masks_high_res: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Make the memory [B, C', H, W] of a frame, and a list of its one position encoding; see `track_step`.

        Masks are [B, 1, H, W] logits at image size. Only those that answer to points are made binary.
        """
        config, masks = self.config, pred_masks_high_res
        features = to_map(current_vision_feats[-1], *feat_sizes[-1])
        if config.non_overlap_masks_for_mem_enc and not self.training:
            masks = self._apply_non_overlapping_constraints(masks)
        masks = mask_to_remember(
            masks,
            features.dtype,
            binary=config.binarize_mask_from_pts_for_mem_enc and is_mask_from_pts and not self.training,
            scale=config.sigmoid_scale_for_mem_enc,
            bias=config.sigmoid_bias_for_mem_enc,
        )
        encoded = self.memory_encoder(features, masks, skip_mask_sigmoid=True)
        memory: Tensor = encoded["vision_features"]
        if self.no_obj_embed_spatial is not None:
            memory = mark_absent(memory, object_score_logits, self.no_obj_embed_spatial)
        return memory, encoded["vision_pos_enc"]

    @staticmethod
    def _apply_non_overlapping_constraints(pred_masks: Tensor) -> Tensor:
        """Leave each pixel of masks [B, 1, H, W] to one object; see `without_overlaps`."""
        return without_overlaps(pred_masks)
