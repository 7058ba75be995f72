"""From image features and prompts to masks and scores: what SAM 2's prompt encoder and mask decoder do together.

Every function here gets all that it needs as arguments.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.ops.precision import at_least_float32

NO_OBJECT_LOGIT = -1024.0
"""Logit of every pixel of a mask whose object is not in the frame."""

SamOutputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""All low-resolution masks [B, M, H, W], the same at image size, their scores [B, M], then the chosen masks
[B, 1, H, W] at both sizes, the object pointer [B, C] and the object score logits [B, 1]."""


class Answer(NamedTuple):
    """As `SamOutputs`, with the decoder's token [B, C] of the chosen mask in place of the pointer."""

    low_res_multimasks: Tensor
    high_res_multimasks: Tensor
    ious: Tensor
    low_res_masks: Tensor
    high_res_masks: Tensor
    token: Tensor
    object_score_logits: Tensor


def answer(
    prompt_encoder: PromptEncoder,
    mask_decoder: nn.Module,
    features: Tensor,
    point_inputs: Mapping[str, Tensor] | None,
    mask_inputs: Tensor | None,
    high_res_features: Sequence[Tensor] | None,
    *,
    multimask_output: bool,
    empty_absent: bool,
) -> Answer:
    """Predict masks and scores.

    Without points one point that counts for nothing is used. A mask of another size than the prompt
    encoder's is resized to it.

    Args:
        prompt_encoder: its sizes are those of features and image.
        mask_decoder: `SAM2MaskDecoder`.
        features: [B, C, H, W]
        point_inputs: "point_coords" [B, N, 2], as (x, y) in pixels of the model's image, and
            "point_labels" [B, N]: 1 inside, 0 outside, 2 and 3 corners of a box, -1 nothing.
        mask_inputs: [B, 1, H', W'] logits.
        high_res_features: maps of strides 4 and 8, already projected by the decoder's convolutions.
        multimask_output: predict several masks and choose the one with the best predicted quality.
        empty_absent: empty the masks of objects whose score says that they are absent.

    Raises:
        ValueError: when features or prompts have other shapes than these.
    """
    _check_sizes(prompt_encoder, features, point_inputs, mask_inputs)
    batch = len(features)
    if point_inputs is not None:
        points = (point_inputs["point_coords"], point_inputs["point_labels"])
    else:
        points = (
            features.new_zeros(batch, 1, 2),
            torch.full((batch, 1), -1, dtype=torch.int32, device=features.device),
        )
    if mask_inputs is not None:
        mask_inputs = mask_inputs.to(features.dtype)
        if tuple(mask_inputs.shape[-2:]) != tuple(prompt_encoder.mask_input_size):
            height, width = prompt_encoder.mask_input_size
            mask_inputs = resize(mask_inputs, (height, width), antialias=True)
    sparse, dense = prompt_encoder(points=points, boxes=None, masks=mask_inputs)
    low_res_multimasks, ious, tokens, object_score_logits = mask_decoder(
        image_embeddings=features,
        image_pe=prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask_output,
        repeat_image=False,
        high_res_features=high_res_features,
    )
    if empty_absent:
        appears = (object_score_logits > 0)[:, :, None, None]
        low_res_multimasks = torch.where(appears, low_res_multimasks, NO_OBJECT_LOGIT)
    image_height, image_width = prompt_encoder.input_image_size
    high_res_multimasks = resize(low_res_multimasks, (image_height, image_width))

    low_res_masks, high_res_masks, token = low_res_multimasks, high_res_multimasks, tokens[:, 0]
    if multimask_output:
        rows, best = torch.arange(batch, device=ious.device), ious.argmax(dim=-1)
        low_res_masks = low_res_multimasks[rows, best].unsqueeze(1)
        high_res_masks = high_res_multimasks[rows, best].unsqueeze(1)
        if tokens.shape[1] > 1:
            token = tokens[rows, best]
    return Answer(
        low_res_multimasks,
        high_res_multimasks,
        ious,
        low_res_masks,
        high_res_masks,
        token,
        object_score_logits,
    )


def mask_as_logits(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Give a mask [B, 1, H, W] of zeros and ones as logits of -10 and +10, at a quarter of its size and at its own."""
    height, width = mask.shape[-2:]
    high_res_masks = mask * 20.0 - 10.0
    low_res_masks = resize(high_res_masks, (height // 4, width // 4), antialias=True)
    return low_res_masks, high_res_masks


def mix_no_object_pointer(
    pointer: Tensor, presence: Tensor, no_obj_ptr: Tensor | None, *, fixed: bool
) -> Tensor:
    """Blend an object pointer with the learned one for absent objects.

    Args:
        pointer: [B, C]
        presence: [B, 1] in 0 to 1.
        no_obj_ptr: [1, C]; without one, as where no pointers are in use, nothing is blended.
        fixed: whether an absent object's own pointer is taken away, not only added to.

    Returns:
        [B, C]
    """
    if no_obj_ptr is None:
        return pointer
    presence = presence.to(pointer.dtype)
    if fixed:
        pointer = presence * pointer
    return pointer + (1 - presence) * no_obj_ptr


def resize(x: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """Bilinear resize of x [B, C, H, W], computed in at least single precision, in x's dtype."""
    wide = x.to(at_least_float32(x.dtype))
    wide = F.interpolate(wide, size=size, mode="bilinear", align_corners=False, antialias=antialias)
    return wide.to(x.dtype)


def _check_sizes(
    prompt_encoder: PromptEncoder,
    features: Tensor,
    point_inputs: Mapping[str, Tensor] | None,
    mask_inputs: Tensor | None,
) -> None:
    (height, width), dim = prompt_encoder.image_embedding_size, prompt_encoder.embed_dim
    if tuple(features.shape[1:]) != (dim, height, width):
        raise ValueError(
            f"backbone_features: shape {tuple(features.shape)}, must be [B, {dim}, {height}, {width}]; "
            "images of another size need set_imgsz first"
        )
    batch = len(features)
    if point_inputs is not None:
        coords, labels = point_inputs["point_coords"], point_inputs["point_labels"]
        if coords.shape[0] != batch or coords.shape[:2] != labels.shape:
            raise ValueError(
                f"point_inputs: point_coords {tuple(coords.shape)} and point_labels "
                f"{tuple(labels.shape)} must be [{batch}, N, 2] and [{batch}, N]"
            )
    if mask_inputs is not None and (mask_inputs.ndim != 4 or mask_inputs.shape[:2] != (batch, 1)):
        raise ValueError(f"mask_inputs: shape {tuple(mask_inputs.shape)}, must be [{batch}, 1, H, W]")
