"""One step of SAM 2's tracker: from the features of a frame, prompts and memory to masks and a new memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from samblocks.models.sam2.heads import SAM2Heads, SamOutputs
from samblocks.models.sam2.memory_bank import FrameOutputs, SAM2Memory, to_map


class SAM2Tracking(SAM2Heads, SAM2Memory):
    """The part of `SAM2Model` that takes one step through a video.

    It holds no constructor: the attributes named here are set by `SAM2Model`.

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_base.py
    """

    use_mask_input_as_output_without_sam: bool

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
        if mask_inputs is not None and self.use_mask_input_as_output_without_sam:
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
