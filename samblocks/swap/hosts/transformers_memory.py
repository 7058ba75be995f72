"""The memory modules of transformers' SAM 2: ours, called the way transformers calls its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samblocks import blocks
from samblocks.models.sam2.memory import MemoryAttention as OurMemoryAttention
from samblocks.models.sam2.memory import MemoryEncoder as OurMemoryEncoder
from samblocks.ops.norm import layer_norm
from samblocks.swap.hosts.reading import made, reader, sizes
from samblocks.swap.hosts.transformers_blocks import images_and_prompts, plain_sine
from samblocks.swap.hosts.transformers_settings import implementation_of

CosSin = tuple[Tensor, Tensor]
"""Cosines and sines, [1, N, d] each, both channels of a pair having the same."""


class RoPEAttention(blocks.RoPEAttention):
    """Rotary attention with an axis of images and one of objects; it rotates by what is handed in."""

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        position_embeddings: CosSin,
        num_k_exclude_rope: int = 0,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """Attend: [B, P, N, C] to [B, P, M, C]."""
        cos, sin = (table.reshape(-1, table.shape[-1])[:, ::2] for table in position_embeddings)
        q, k, v = (images_and_prompts(x) for x in (query, key, value))
        out = self._attend_rotated(q, k, v, (cos, sin), k.shape[1] - num_k_exclude_rope)
        return out.reshape(*query.shape[:2], *out.shape[1:]), None


@reader("transformers.RoPEAttention")
def rope_attention(host: Any) -> nn.Module:
    """Widths, heads and the order of operations; the rotations come from outside."""
    config = host.config
    ours = made(
        RoPEAttention,
        host.hidden_size,
        host.num_attention_heads,
        downsample_rate=host.hidden_size // host.internal_dim,
        kv_in_dim=host.kv_in_dim,
        dropout=float(host.dropout_p),
        rope_theta=float(config.rope_parameters["rope_theta"]),
        rope_k_repeat=bool(host.rope_k_repeat),
        feat_sizes=tuple(int(side) for side in config.memory_attention_rope_feat_sizes),
    )
    ours.implementation = implementation_of(host, host.internal_dim)
    return ours


class MemoryAttentionLayer(blocks.MemoryAttentionLayer):
    """A layer of the memory attention, with an axis of images and one of objects."""

    def forward(  # type: ignore[override]
        self,
        queries: Tensor,
        keys: Tensor,
        key_point_embedding: Tensor,
        rope_position_embeddings: CosSin,
        num_k_exclude_rope: int = 0,
    ) -> Tensor:
        """Let a frame [B, P, N, C] attend to itself and to the memory [B, P, M, K]."""
        x = queries
        normed = layer_norm(self.norm1, x)
        x = x + self.dropout1(self.self_attn(normed, normed, normed, rope_position_embeddings)[0])
        normed, placed = layer_norm(self.norm2, x), keys + key_point_embedding
        read = self.cross_attn_image(normed, placed, keys, rope_position_embeddings, num_k_exclude_rope)
        x = x + self.dropout2(read[0])
        return self._feed_forward(images_and_prompts(x)).reshape(x.shape)


@reader("transformers.MemoryAttentionLayer")
def memory_attention_layer(host: Any) -> nn.Module:
    """Widths; both attentions are read on their own."""
    width, hidden = sizes(host.linear1)
    attentions = rope_attention(host.self_attn), rope_attention(host.cross_attn_image)
    ours: Any = made(MemoryAttentionLayer, width, hidden, self_attn=attentions[0], cross_attn=attentions[1])
    ours.activation = host.activation
    for name in ("dropout", "dropout1", "dropout2", "dropout3"):
        setattr(ours, name, getattr(host, name))
    layer: nn.Module = ours
    return layer


class MemoryAttention(OurMemoryAttention):
    """SAM 2's memory attention; transformers' result has an axis of images in front."""

    position_ids: Tensor
    rotary_emb: nn.Module

    def forward(  # type: ignore[override]
        self,
        current_vision_features: Tensor,
        memory: Tensor,
        current_vision_position_embeddings: Tensor | None = None,
        memory_posision_embeddings: Tensor | None = None,
        num_object_pointer_tokens: int = 0,
    ) -> Tensor:
        """Let a frame [N, B, C] read the memory [M, B, K]."""
        x, keys = current_vision_features, memory.transpose(0, 1).unsqueeze(1)
        if current_vision_position_embeddings is not None:
            x = x + 0.1 * current_vision_position_embeddings
        x = x.transpose(0, 1)
        turns = self.rotary_emb(x, self.position_ids)
        places = (
            torch.zeros_like(keys)
            if memory_posision_embeddings is None
            else memory_posision_embeddings.transpose(0, 1).unsqueeze(1)
        )
        x = x.unsqueeze(1)
        for layer in self.layers:
            x = layer(x, keys, places, turns, num_object_pointer_tokens)
        return layer_norm(self.norm, x).transpose(0, 1)


@reader("transformers.MemoryAttention")
def memory_attention(host: Any) -> nn.Module:
    """Its layers one by one; what computes the rotations is taken over."""
    ours = made(MemoryAttention, host.layer_norm.normalized_shape[0], True, nn.Identity(), 0)
    ours.layers.extend(memory_attention_layer(layer) for layer in host.layers)
    ours.rotary_emb = host.rotary_emb
    ours.register_buffer("position_ids", host.position_ids, persistent=False)
    return ours


@reader("transformers.MaskDownSampler")
def mask_down_sampler(host: Any) -> nn.Module:
    """What its convolutions say."""
    layers, first = list(host.layers), host.layers[0].conv
    return made(
        blocks.MaskDownSampler,
        host.final_conv.out_channels,
        kernel_size=first.kernel_size[0],
        stride=first.stride[0],
        padding=first.padding[0],
        total_stride=first.stride[0] ** len(layers),
        activation=lambda: layers[0].activation,
    )


@reader("transformers.CXBlock")
def cx_block(host: Any) -> nn.Module:
    """The depthwise convolution's settings."""
    conv = host.depthwise_conv
    ours: Any = made(
        blocks.CXBlock,
        conv.in_channels,
        kernel_size=conv.kernel_size[0],
        padding=conv.padding[0],
        layer_scale_init_value=1.0,
        use_dwconv=conv.groups > 1,
    )
    ours.act = host.activation
    block: nn.Module = ours
    return block


@reader("transformers.MemoryFuser")
def fuser(host: Any) -> nn.Module:
    """Its layers one by one."""
    ours = made(blocks.Fuser, nn.Identity(), 0)
    ours.layers.extend(cx_block(layer) for layer in host.layers)
    return ours


class MemoryEncoder(OurMemoryEncoder):
    """SAM 2's memory encoder; masks come as they shall be encoded."""

    def forward(self, vision_features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Blend features [B, C, H, W] with masks [B, 1, 16H, 16W]."""
        encoded = super().forward(vision_features, masks, skip_mask_sigmoid=True)
        memory, encodings = encoded["vision_features"], encoded["vision_pos_enc"]
        if not isinstance(memory, Tensor):
            raise TypeError("a memory must be one tensor")
        return memory, encodings[0]


@reader("transformers.MemoryEncoder")
def memory_encoder(host: Any) -> nn.Module:
    """Its parts one by one."""
    return made(
        MemoryEncoder,
        out_dim=host.projection.out_channels,
        in_dim=host.feature_projection.out_channels,
        mask_downsampler=mask_down_sampler(host.mask_downsampler),
        fuser=fuser(host.memory_fuser),
        position_encoding=plain_sine(host.position_encoding),
    )
