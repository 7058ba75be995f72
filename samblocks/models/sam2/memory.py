"""Memory of SAM 2: the attention that reads it and the encoder that writes it."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from samblocks.blocks import (
    CXBlock,
    Fuser,
    MaskDownSampler,
    MemoryAttentionLayer,
    PositionEmbeddingSine,
    RoPEAttention,
)
from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.chunking import items_at_once, items_in_chunks
from samblocks.ops.fast_path import fast_path_allowed
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.norm import layer_norm


@checks_arguments(C="d_model", K="layers.0.cross_attn_image.kv_in_dim")
class MemoryAttention(nn.Module):
    """A stack of layers in which the tokens of the current frame attend to themselves and to the memory.

    Args:
        d_model: channels of the current frame's tokens.
        pos_enc_at_input: add a tenth of the position encoding to the tokens before the first layer.
        layer: the layer, of which each level of the stack gets a copy of its own.
        num_layers: number of layers.
        batch_first: bring the batch, second axis of the arguments of `forward`, to the front for the layers.
            When off, the layers get the arguments as they are.

    Examples:
        >>> from samblocks.blocks import MemoryAttentionLayer
        >>> attention = MemoryAttention(256, True, MemoryAttentionLayer(dim_feedforward=64), num_layers=1).eval()
        >>> frame, encoding = torch.randn(16, 1, 256), torch.randn(16, 1, 256)
        >>> memory, memory_encoding = torch.randn(36, 1, 64), torch.randn(36, 1, 64)
        >>> attention(frame, memory, encoding, memory_encoding, num_obj_ptr_tokens=4).shape
        torch.Size([16, 1, 256])

    Upstream: facebookresearch/sam2 sam2/modeling/memory_attention.py
    """

    def __init__(
        self,
        d_model: int,
        pos_enc_at_input: bool,
        layer: nn.Module,
        num_layers: int,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = nn.LayerNorm(d_model)
        self.pos_enc_at_input = pos_enc_at_input
        self.batch_first = batch_first

    def forward(
        self,
        curr: Tensor | Sequence[Tensor],
        memory: Tensor,
        curr_pos: Tensor | Sequence[Tensor] | None = None,
        memory_pos: Tensor | None = None,
        num_obj_ptr_tokens: int = 0,
    ) -> Tensor:
        """Let the current frame read the memory.

        Args:
            curr: [N, B, C], or a list that holds just this tensor.
            memory: [M, B, K] tokens of earlier frames, those of object pointers last.
            curr_pos: [N, B, C], or a list that holds just this tensor; nothing is added when None.
            memory_pos: [M, B, K]; nothing is added when None.
            num_obj_ptr_tokens: how many tokens at the end of `memory` have no place in the image, so that
                rotary encodings leave them alone.

        Returns:
            [N, B, C]

        Raises:
            ValueError: when the batch sizes differ or a list holds more than one tensor.
        """
        curr = _single(curr, "curr")
        curr_pos = None if curr_pos is None else _single(curr_pos, "curr_pos")
        batch = 1 if self.batch_first else 0
        if curr.shape[batch] != memory.shape[batch]:
            raise ValueError(
                f"memory: its batch size is {memory.shape[batch]}, must be that of curr, {curr.shape[batch]}"
            )

        if self.batch_first:
            curr, memory = curr.transpose(0, 1), memory.transpose(0, 1)
            curr_pos = None if curr_pos is None else curr_pos.transpose(0, 1)
            memory_pos = None if memory_pos is None else memory_pos.transpose(0, 1)
        shared = self._all_see_one_frame(curr, curr_pos)
        if shared:
            pos = None if curr_pos is None else curr_pos[:1]
            first = cast(MemoryAttentionLayer, self.layers[0])
            x = first.forward_self_attention(self._placed(curr[:1], pos), pos).expand_as(curr)
        else:
            x = self._placed(curr, curr_pos)
        attend = partial(self._attend, num_obj_ptr_tokens, shared)
        (x,) = items_in_chunks(self, attend, items_at_once(x), x, memory, curr_pos, memory_pos)
        return x.transpose(0, 1) if self.batch_first else x

    def _all_see_one_frame(self, curr: Tensor, curr_pos: Tensor | None) -> bool:
        """Whether all items are views of one frame, so that its first self attention need be done only once."""
        frame = [x for x in (curr, curr_pos) if x is not None]
        if not self.layers or not fast_path_allowed(self, *frame):
            return False
        own = type(self.layers[0]).forward is MemoryAttentionLayer.forward
        return own and curr.shape[0] > 1 and all(x.stride(0) == 0 for x in frame)

    def _placed(self, curr: Tensor, curr_pos: Tensor | None) -> Tensor:
        return curr + 0.1 * curr_pos if self.pos_enc_at_input and curr_pos is not None else curr

    def _attend(
        self,
        pointers: int,
        seen: bool,
        x: Tensor,
        memory: Tensor,
        curr_pos: Tensor | None,
        memory_pos: Tensor | None,
    ) -> tuple[Tensor]:
        """Send tokens through all layers, but for the first self attention where they have been through it."""
        for number, layer in enumerate(self.layers):
            # Only rotary attention tells tokens with a place in the image from tokens without one.
            rotary = isinstance(layer.cross_attn_image, RoPEAttention)
            step = (
                cast(MemoryAttentionLayer, layer).forward_cross_attention if seen and number == 0 else layer
            )
            x = step(
                tgt=x,
                memory=memory,
                pos=memory_pos,
                query_pos=curr_pos,
                num_k_exclude_rope=pointers if rotary else 0,
            )
        return (layer_norm(self.norm, x),)


@checks_arguments(C="pix_feat_proj.in_channels")
@computes_half_in_float32
class MemoryEncoder(nn.Module):
    """Turns the features of a frame and the mask found in it into a map to be remembered.

    Args:
        out_dim: channels of the memory.
        in_dim: channels of the image features; the mask is brought to as many.
        interpol_size: (height, width) to which masks are resized first; never when None.
        mask_downsampler: module from [B, 1, H, W] to [B, C, H/16, W/16]; the released one when None.
        fuser: module that blends image and mask; two ConvNeXt blocks when None.
        position_encoding: module from a map to its position encoding; a sine encoding of 64 channels when None.

    Examples:
        >>> encoder = MemoryEncoder(out_dim=64)
        >>> memory = encoder(torch.randn(1, 256, 4, 4), torch.randn(1, 1, 64, 64))
        >>> tuple(memory["vision_features"].shape), tuple(memory["vision_pos_enc"][0].shape)
        ((1, 64, 4, 4), (1, 64, 4, 4))

    Upstream: facebookresearch/sam2 sam2/modeling/memory_encoder.py
    """

    def __init__(
        self,
        out_dim: int,
        in_dim: int = 256,
        interpol_size: Sequence[int] | None = None,
        *,
        mask_downsampler: nn.Module | None = None,
        fuser: nn.Module | None = None,
        position_encoding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.mask_downsampler = mask_downsampler or MaskDownSampler(
            embed_dim=in_dim, kernel_size=3, stride=2, padding=1, interpol_size=interpol_size
        )
        self.pix_feat_proj = nn.Conv2d(in_dim, in_dim, kernel_size=1)
        self.fuser = fuser or Fuser(CXBlock(dim=in_dim), num_layers=2)
        self.position_encoding = position_encoding or PositionEmbeddingSine(num_pos_feats=64)
        self.out_proj: nn.Module = (
            nn.Identity() if out_dim == in_dim else nn.Conv2d(in_dim, out_dim, kernel_size=1)
        )

    def forward(
        self, pix_feat: Tensor, masks: Tensor, skip_mask_sigmoid: bool = False
    ) -> dict[str, Tensor | list[Tensor]]:
        """Blend a frame's features with its mask.

        Args:
            pix_feat: [B, C, H, W]
            masks: [B, 1, 16*H, 16*W] or [B, 1, h, w], the latter with `interpol_size`; logits, or finished
                values with `skip_mask_sigmoid`.
            skip_mask_sigmoid: take the mask as it is, not its sigmoid.

        Returns:
            "vision_features", [B, C', H, W] with `out_dim` channels, and "vision_pos_enc", a list of its
            one position encoding.

        Raises:
            ValueError: `masks` do not become as high and wide as `pix_feat`.
        """
        encode = partial(self._encode, skip_mask_sigmoid)
        (x,) = items_in_chunks(self, encode, items_at_once(pix_feat), masks, pix_feat)
        return {"vision_features": x, "vision_pos_enc": [self.position_encoding(x).to(x.dtype)]}

    def _encode(self, finished: bool, masks: Tensor, pix_feat: Tensor) -> tuple[Tensor]:
        mask = self.mask_downsampler(masks if finished else torch.sigmoid(masks))
        if mask.shape[-2:] != pix_feat.shape[-2:]:
            raise ValueError(
                f"masks of the shape {tuple(masks.shape)} become {tuple(mask.shape[-2:])} in height and width, "
                f"pix_feat has {tuple(pix_feat.shape[-2:])}"
            )
        pix_feat = pix_feat.to(mask.device)  # features of long videos may be kept in host memory
        x = self.pix_feat_proj(pix_feat) + mask
        return (self.out_proj(self.fuser(x)),)


def _single(value: Tensor | Sequence[Tensor], name: str) -> Tensor:
    """The tensor itself, or the only one of a list."""
    if isinstance(value, Tensor):
        return value
    if len(value) != 1:
        raise ValueError(f"{name}: a list of {len(value)} tensors, must hold exactly one")
    return value[0]
