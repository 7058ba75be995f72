"""The memory of SAM 2's tracker: what it keeps of a frame, and how the next frame is conditioned on it."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.blocks import get_1d_sine_pe, select_closest_cond_frames
from samblocks.models.sam2.frames import memory_frames, pointer_frames
from samblocks.ops.precision import at_least_float32

FrameOutputs = dict[int, dict[str, Any]]


class SAM2Memory(nn.Module):
    """The part of `SAM2Model` that writes and reads memory.

    It holds no constructor: the attributes named here are set by `SAM2Model`.

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_base.py
    """

    hidden_dim: int
    mem_dim: int
    num_maskmem: int
    max_cond_frames_in_attn: int
    directly_add_no_mem_embed: bool
    memory_temporal_stride_for_eval: int
    non_overlap_masks_for_mem_enc: bool
    sigmoid_scale_for_mem_enc: float
    sigmoid_bias_for_mem_enc: float
    binarize_mask_from_pts_for_mem_enc: bool
    use_obj_ptrs_in_encoder: bool
    max_obj_ptrs_in_encoder: int
    add_tpos_enc_to_obj_ptrs: bool
    proj_tpos_enc_in_obj_ptrs: bool
    use_signed_tpos_enc_to_obj_ptrs: bool
    only_obj_ptrs_in_the_past_for_eval: bool
    maskmem_tpos_enc: nn.Parameter
    no_mem_embed: nn.Parameter
    no_mem_pos_enc: nn.Parameter
    no_obj_embed_spatial: nn.Parameter | None
    memory_attention: nn.Module
    memory_encoder: nn.Module
    obj_ptr_tpos_proj: nn.Module

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
        """Let the coarsest level of the current frame read what is remembered of other frames.

        Args:
            frame_idx: number of the current frame.
            is_init_cond_frame: the frame has prompts and was not tracked before, so it remembers nothing.
            current_vision_feats: levels of the frame, [N, B, C] each, coarsest last.
            current_vision_pos_embeds: their position encodings.
            feat_sizes: (height, width) of the levels.
            output_dict: results of `track_step` by frame number, under "cond_frame_outputs" for frames with
                prompts and "non_cond_frame_outputs" for the others.
            num_frames: length of the video.
            track_in_reverse: the video is tracked backwards.

        Returns:
            [B, C, H, W]

        Raises:
            ValueError: when there is nothing to read, or a remembered frame was stored without its memory.
        """
        features = current_vision_feats[-1]
        height, width = feat_sizes[-1]
        if self.num_maskmem == 0:
            return to_map(features, height, width)

        pointer_tokens = 0
        if not is_init_cond_frame:
            memory, memory_pos, pointer_tokens = self._collect_memory(
                frame_idx, features, output_dict, num_frames, track_in_reverse
            )
        elif self.directly_add_no_mem_embed:
            return to_map(features + self.no_mem_embed, height, width)
        else:
            if self.mem_dim != self.hidden_dim:
                raise ValueError(
                    "is_init_cond_frame: the stand-in for an empty memory has "
                    f"{self.hidden_dim} channels, memories have {self.mem_dim}; "
                    "build the model with directly_add_no_mem_embed=True"
                )
            memory = self.no_mem_embed.expand(1, features.shape[1], self.mem_dim)
            memory_pos = self.no_mem_pos_enc.expand(1, features.shape[1], self.mem_dim)

        conditioned: Tensor = self.memory_attention(
            curr=features,
            curr_pos=current_vision_pos_embeds[-1],
            memory=memory,
            memory_pos=memory_pos,
            num_obj_ptr_tokens=pointer_tokens,
        )
        return to_map(conditioned, height, width)

    def _collect_memory(
        self,
        frame_idx: int,
        features: Tensor,
        output_dict: Mapping[str, FrameOutputs],
        num_frames: int,
        reverse: bool,
    ) -> tuple[Tensor, Tensor, int]:
        """Memory tokens [M, B, C], their position encodings, and how many of them, at the end, are pointers."""
        if not output_dict["cond_frame_outputs"]:
            raise ValueError(
                f"output_dict: no frame with prompts, but frame {frame_idx} is to be tracked from one"
            )
        selected, unselected = select_closest_cond_frames(
            frame_idx, output_dict["cond_frame_outputs"], self.max_cond_frames_in_attn
        )
        others = ChainMap(output_dict["non_cond_frame_outputs"], unselected)

        # Frames with prompts share the last row of the temporal table, however far away they are.
        sources = [(frame, selected[frame], self.num_maskmem - 1) for frame in selected]
        neighbours = memory_frames(
            frame_idx,
            self.num_maskmem,
            stride=1 if self.training else self.memory_temporal_stride_for_eval,
            reverse=reverse,
        )
        sources += [(frame, others[frame], row) for frame, row in neighbours if frame in others]
        memory, memory_pos = [], []
        for frame, output, row in sources:
            if output.get("maskmem_features") is None:
                raise ValueError(f"output_dict: frame {frame} was stored without maskmem_features")
            # Drivers store memories in half precision, and sometimes on another device.
            memory.append(to_tokens(output["maskmem_features"]).to(features))
            place = to_tokens(output["maskmem_pos_enc"][-1]).to(features.device)
            memory_pos.append(place + self.maskmem_tpos_enc[row])

        pointer_tokens = 0
        if self.use_obj_ptrs_in_encoder:
            limit = min(num_frames, self.max_obj_ptrs_in_encoder)
            pointed = pointer_frames(
                frame_idx,
                selected,
                others,
                limit=limit,
                num_frames=num_frames,
                reverse=reverse,
                past_only=self.only_obj_ptrs_in_the_past_for_eval and not self.training,
                signed=self.use_signed_tpos_enc_to_obj_ptrs,
            )
            if pointed:
                outputs = [(selected if at.prompted else others)[at.frame] for at in pointed]
                pointers = torch.stack([output["obj_ptr"].to(features) for output in outputs])
                encodings = self._pointer_encodings([at.distance for at in pointed], limit, pointers)
                tokens, token_pos = self._pointers_as_tokens(pointers, encodings)
                memory.append(tokens)
                memory_pos.append(token_pos)
                pointer_tokens = tokens.shape[0]
        return torch.cat(memory), torch.cat(memory_pos), pointer_tokens

    def _pointer_encodings(self, distances: Sequence[int], limit: int, pointers: Tensor) -> Tensor:
        """Codes [P, C'] of distances in time, measured in the largest one that neighbours can have.

        A video of one frame, or a limit of one pointer, has no such distance: the plain number counts then
        (upstream divides by zero).
        """
        if not self.add_tpos_enc_to_obj_ptrs:
            return pointers.new_zeros(len(distances), self.mem_dim)
        times = torch.tensor(distances, dtype=at_least_float32(pointers.dtype), device=pointers.device)
        times = times / max(limit - 1, 1)
        encodings = get_1d_sine_pe(times, self.hidden_dim if self.proj_tpos_enc_in_obj_ptrs else self.mem_dim)
        projected: Tensor = self.obj_ptr_tpos_proj(encodings.to(pointers.dtype))
        return projected

    def _pointers_as_tokens(self, pointers: Tensor, encodings: Tensor) -> tuple[Tensor, Tensor]:
        """Cut pointers [P, B, C] with encodings [P, C'] into tokens of the memory's width, [P * C / C', B, C']."""
        count, batch, dim = pointers.shape
        chunks = dim // self.mem_dim
        tokens = pointers.reshape(count, batch, chunks, self.mem_dim).transpose(1, 2).flatten(0, 1)
        token_pos = encodings[:, None].expand(-1, batch, -1).repeat_interleave(chunks, dim=0)
        return tokens, token_pos

    def _encode_new_memory(
        self,
        current_vision_feats: Sequence[Tensor],
        feat_sizes: Sequence[tuple[int, int]],
        pred_masks_high_res: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Make the memory of a frame from its features and the masks found in it.

        Args:
            current_vision_feats: levels of the frame, [N, B, C] each, coarsest last; without memory.
            feat_sizes: (height, width) of the levels.
            pred_masks_high_res: [B, 1, H, W] logits at image size.
            object_score_logits: [B, 1]
            is_mask_from_pts: the masks answer to points; only such are binarized, and only in eval mode.

        Returns:
            Memory [B, C, H, W] and a list of its one position encoding.
        """
        features = to_map(current_vision_feats[-1], *feat_sizes[-1])
        masks = pred_masks_high_res
        if self.non_overlap_masks_for_mem_enc and not self.training:
            masks = self._apply_non_overlapping_constraints(masks)
        if self.binarize_mask_from_pts_for_mem_enc and is_mask_from_pts and not self.training:
            masks = (masks > 0).to(features.dtype)
        else:
            masks = torch.sigmoid(masks)
        masks = masks * self.sigmoid_scale_for_mem_enc + self.sigmoid_bias_for_mem_enc
        encoded = self.memory_encoder(features, masks, skip_mask_sigmoid=True)
        memory: Tensor = encoded["vision_features"]
        if self.no_obj_embed_spatial is not None:
            absent = 1 - (object_score_logits > 0).to(memory.dtype)
            memory = memory + (absent * self.no_obj_embed_spatial)[:, :, None, None]
        return memory, encoded["vision_pos_enc"]

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
        if run_mem_encoder and self.num_maskmem > 0:
            memory, memory_pos = self._encode_new_memory(
                current_vision_feats=current_vision_feats,
                feat_sizes=feat_sizes,
                pred_masks_high_res=high_res_masks,
                object_score_logits=object_score_logits,
                is_mask_from_pts=point_inputs is not None,
            )
        current_out["maskmem_features"] = memory
        current_out["maskmem_pos_enc"] = memory_pos

    @staticmethod
    def _apply_non_overlapping_constraints(pred_masks: Tensor) -> Tensor:
        """Leave each pixel to the object with the highest logit; the others' fall to -10 or lower.

        Args:
            pred_masks: [B, 1, H, W] logits, one object per batch item.

        Returns:
            [B, 1, H, W]
        """
        if pred_masks.shape[0] < 2:
            return pred_masks
        winner = pred_masks.argmax(dim=0, keepdim=True)
        own = torch.arange(pred_masks.shape[0], device=pred_masks.device)[:, None, None, None]
        return torch.where(winner == own, pred_masks, pred_masks.clamp(max=-10.0))


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """From tokens [N, B, C] to a map [B, C, H, W]."""
    return tokens.permute(1, 2, 0).reshape(tokens.shape[1], tokens.shape[2], height, width)


def to_tokens(x: Tensor) -> Tensor:
    """From a map [B, C, H, W] to tokens [N, B, C]."""
    return x.flatten(2).permute(2, 0, 1)
