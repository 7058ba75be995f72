"""The memory of SAM 2's tracker: what is read of earlier frames, and how a mask is written down.

`frames` says which frames are read. Every function here gets all that it needs as arguments.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from samblocks.blocks import get_1d_sine_pe, select_closest_cond_frames
from samblocks.models.sam2.frames import Pointed, Remembered, memory_frames, pointer_frames
from samblocks.models.sam2.levels import to_tokens
from samblocks.ops.precision import at_least_float32
from samblocks.variants import SAM2Config

FrameOutputs = dict[int, dict[str, Any]]
"""Results of `track_step` by frame number."""


class Memory(NamedTuple):
    """Memory tokens [M, B, C], their position encodings, and how many of them, at the end, are pointers."""

    tokens: Tensor
    encodings: Tensor
    pointer_tokens: int


class Sources(NamedTuple):
    """Which outputs of other frames a frame reads, in the order in which it reads them.

    Those of frames with prompts have the last row of the temporal table. `limit` is what distances of pointers
    are measured in, plus one.
    """

    maps: list[tuple[Remembered, dict[str, Any]]]
    pointers: list[tuple[Pointed, dict[str, Any]]]
    limit: int


def memory_sources(
    frame_idx: int,
    output_dict: Mapping[str, FrameOutputs],
    num_frames: int,
    reverse: bool,
    *,
    config: SAM2Config,
    training: bool = False,
) -> Sources:
    """Say which outputs a frame reads; see `read_memory`, whose arguments these are.

    Raises:
        ValueError: when there is nothing to read.
    """
    if not output_dict["cond_frame_outputs"]:
        raise ValueError(
            f"output_dict: no frame with prompts, but frame {frame_idx} is to be tracked from one"
        )
    selected, unselected = select_closest_cond_frames(
        frame_idx, output_dict["cond_frame_outputs"], config.max_cond_frames_in_attn
    )
    others = ChainMap(output_dict["non_cond_frame_outputs"], unselected)

    # Frames with prompts share the last row of the temporal table, however far away they are.
    maps = [(Remembered(frame, config.num_maskmem - 1), selected[frame]) for frame in selected]
    neighbours = memory_frames(
        frame_idx,
        config.num_maskmem,
        stride=1 if training else config.memory_temporal_stride_for_eval,
        reverse=reverse,
    )
    maps += [(neighbour, others[neighbour.frame]) for neighbour in neighbours if neighbour.frame in others]
    limit = min(num_frames, config.max_obj_ptrs_in_encoder)
    if not config.use_obj_ptrs_in_encoder:
        return Sources(maps, [], limit)
    pointed = pointer_frames(
        frame_idx,
        selected,
        others,
        limit=limit,
        num_frames=num_frames,
        reverse=reverse,
        past_only=config.only_obj_ptrs_in_the_past_for_eval and not training,
        signed=config.use_signed_tpos_enc_to_obj_ptrs,
    )
    return Sources(maps, [(at, (selected if at.prompted else others)[at.frame]) for at in pointed], limit)


def read_memory(
    frame_idx: int,
    features: Tensor,
    output_dict: Mapping[str, FrameOutputs],
    num_frames: int,
    reverse: bool,
    *,
    config: SAM2Config,
    training: bool,
    maskmem_tpos_enc: Tensor,
    obj_ptr_tpos_proj: nn.Module,
) -> Memory:
    """Collect what is remembered of other frames.

    Args:
        frame_idx: number of the current frame.
        features: its tokens [N, B, C]; memory is brought to their dtype and device.
        output_dict: earlier results under "cond_frame_outputs", frames with prompts, and
            "non_cond_frame_outputs".
        num_frames: length of the video.
        reverse: the video is tracked backwards.
        config: the model's settings.
        training: some settings are for evaluation only.
        maskmem_tpos_enc: [num_maskmem, 1, 1, C'], the temporal table.
        obj_ptr_tpos_proj: from encodings of distances in time to C' channels.

    Returns:
        Maps of the frames with prompts, then those of the neighbours, then object pointers.

    Raises:
        ValueError: when there is nothing to read, or a remembered frame was stored without its memory.
    """
    sources = memory_sources(frame_idx, output_dict, num_frames, reverse, config=config, training=training)
    memory, memory_pos = [], []
    for (frame, row), output in sources.maps:
        if output.get("maskmem_features") is None:
            raise ValueError(f"output_dict: frame {frame} was stored without maskmem_features")
        # Drivers store memories in half precision, and sometimes on another device.
        memory.append(to_tokens(output["maskmem_features"]).to(features))
        place = to_tokens(output["maskmem_pos_enc"][-1]).to(features.device)
        memory_pos.append(place + maskmem_tpos_enc[row])
    if not sources.pointers:
        return Memory(torch.cat(memory), torch.cat(memory_pos), 0)
    pointers = torch.stack([output["obj_ptr"].to(features) for _, output in sources.pointers])
    width = maskmem_tpos_enc.shape[-1]
    if config.add_tpos_enc_to_obj_ptrs:
        channels = pointers.shape[-1] if config.proj_tpos_enc_in_obj_ptrs else width
        distances = [at.distance for at, _ in sources.pointers]
        encodings: Tensor = obj_ptr_tpos_proj(
            distance_encodings(distances, sources.limit, channels, pointers)
        )
    else:
        encodings = pointers.new_zeros(len(pointers), width)
    tokens, token_pos = pointers_as_tokens(pointers, encodings)
    return Memory(torch.cat([*memory, tokens]), torch.cat([*memory_pos, token_pos]), len(tokens))


def distance_encodings(distances: Sequence[int], limit: int, channels: int, like: Tensor) -> Tensor:
    """Encode distances in time, measured in the largest one that neighbours can have.

    A video of one frame, or a limit of one pointer, has no such distance: the plain number counts then
    (upstream divides by zero).

    Args:
        distances: in frames.
        limit: neighbours are fewer than this many frames away.
        channels: C.
        like: whose dtype and device the result has.

    Returns:
        [P, C]
    """
    times = torch.tensor(distances, dtype=at_least_float32(like.dtype), device=like.device)
    times = times / max(limit - 1, 1)
    return get_1d_sine_pe(times, channels).to(like.dtype)


def pointers_as_tokens(pointers: Tensor, encodings: Tensor) -> tuple[Tensor, Tensor]:
    """Cut pointers [P, B, C] with encodings [P, C'] into tokens of the memory's width, [P * C / C', B, C']."""
    count, batch, dim = pointers.shape
    width = encodings.shape[-1]
    chunks = dim // width
    tokens = pointers.reshape(count, batch, chunks, width).transpose(1, 2).flatten(0, 1)
    token_pos = encodings[:, None].expand(-1, batch, -1).repeat_interleave(chunks, dim=0)
    return tokens, token_pos


def mask_to_remember(masks: Tensor, dtype: torch.dtype, *, binary: bool, scale: float, bias: float) -> Tensor:
    """Bring masks to the form in which the memory encoder takes them.

    Args:
        masks: [B, 1, H, W] logits.
        dtype: of a binary result.
        binary: zeros and ones in place of probabilities.
        scale: factor on them.
        bias: term added after it.

    Returns:
        [B, 1, H, W]
    """
    masks = (masks > 0).to(dtype) if binary else torch.sigmoid(masks)
    return masks * scale + bias


def mark_absent(memory: Tensor, object_score_logits: Tensor, mark: Tensor) -> Tensor:
    """Add a learned mark [1, C] to the memory [B, C, H, W] of objects whose score [B, 1] says they are absent."""
    absent = 1 - (object_score_logits > 0).to(memory.dtype)
    return memory + (absent * mark)[:, :, None, None]


def without_overlaps(masks: Tensor) -> Tensor:
    """Leave each pixel to the object with the highest logit; the others' fall to -10 or lower.

    Args:
        masks: [B, 1, H, W] logits, one object per batch item.

    Returns:
        [B, 1, H, W]
    """
    if masks.shape[0] < 2:
        return masks
    winner = masks.argmax(dim=0, keepdim=True)
    own = torch.arange(masks.shape[0], device=masks.device)[:, None, None, None]
    return torch.where(winner == own, masks, masks.clamp(max=-10.0))
