"""The blocks of transformers' SAM models: ours, called the way transformers calls its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samblocks import blocks
from samblocks.errors import SwapError
from samblocks.ops.fast_path import paths_are_plain
from samblocks.ops.sine import sine_grid
from samblocks.swap.hosts.reading import channels, made, reader, side, sizes
from samblocks.swap.hosts.transformers_settings import implementation_of, refuse


class PositionalEmbedding(blocks.PositionEmbeddingRandom):
    """Random Fourier features, of coordinates in pixels or in 0 to 1."""

    # Held under transformers' name, by which it ties this tensor to another one.
    positional_embedding: Tensor

    @property
    def positional_encoding_gaussian_matrix(self) -> Tensor:  # type: ignore[override]
        """The random directions under our name."""
        return self.positional_embedding

    def forward(self, input_coords: Tensor, input_shape: tuple[int, int] | None = None) -> Tensor:  # type: ignore[override]
        """Encode (x, y): [..., 2], in pixels of `input_shape` (height, width) if given."""
        coords = input_coords
        if input_shape is not None:
            height, width = input_shape
            coords = torch.stack((coords[..., 0] / width, coords[..., 1] / height), dim=-1)
        return self._pe_encoding(coords)


@reader("transformers.PositionalEmbedding")
def positional_embedding(host: Any) -> nn.Module:
    """The number of directions."""
    ours = made(PositionalEmbedding, int(host.positional_embedding.shape[1]))
    ours.register_buffer("positional_embedding", ours._buffers.pop("positional_encoding_gaussian_matrix"))
    return ours


class PlainSinePositionEmbedding(blocks.PositionEmbeddingSine):
    """The sine encoding of a map; transformers computes it in the map's dtype, which ours does for equal bits alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Encode the pixels of a map [B, C, H, W]."""
        if not paths_are_plain() or not x.is_floating_point():
            return super().forward(x)
        scale, size = self.scale if self.normalize else None, (x.shape[-2], x.shape[-1])
        table = sine_grid(size, self.num_pos_feats, self.temperature, scale, like=x, dtype=x.dtype)
        return table.unsqueeze(0).repeat(x.shape[0], 1, 1, 1)


class SinePositionEmbedding(PlainSinePositionEmbedding):
    """The sine encoding of a map that is described, not given."""

    def forward(  # type: ignore[override]
        self, shape: torch.Size, device: torch.device | str, dtype: torch.dtype, mask: Tensor | None = None
    ) -> Tensor:
        """Encode the pixels of a map of a shape [B, C, H, W]."""
        refuse(mask=mask)
        return super().forward(torch.empty(1, dtype=dtype, device=device).expand(shape)).to(dtype)


@reader("transformers.SinePositionEmbedding")
def sine(host: Any) -> nn.Module:
    """The attribute holds half of the channels."""
    return made(
        SinePositionEmbedding,
        2 * host.num_position_features,
        host.temperature,
        host.normalize,
        host.scale if host.normalize else None,
    )


def plain_sine(host: Any) -> nn.Module:
    """The same as a part of a larger module of ours."""
    scale = host.scale if host.normalize else None
    return made(
        PlainSinePositionEmbedding, 2 * host.num_position_features, host.temperature, host.normalize, scale
    )


@reader("transformers.LayerNorm")
def layer_norm(host: Any) -> nn.Module:
    """A norm of maps; transformers' class can also be one of tokens."""
    if host.data_format != "channels_first":
        raise SwapError(f"its data_format is {host.data_format!r}: it is a norm of tokens")
    return made(blocks.LayerNorm2d, channels(host), host.eps)


@reader("transformers.PatchEmbeddings")
def patch_embed(host: Any) -> nn.Module:
    """The convolution is taken over as it is."""
    return made(blocks.PatchEmbed, bias=host.projection.bias is not None)


@reader("transformers.MLPBlock")
def mlp_block(host: Any) -> nn.Module:
    """Both widths and the activation."""
    return made(blocks.MLPBlock, *sizes(host.lin1), act=lambda: host.act)


@reader("transformers.FeedForward")
def feed_forward(host: Any) -> nn.Module:
    """Widths, the activation, and what comes after the last layer."""
    return made(
        blocks.MLP,
        sizes(host.proj_in)[0],
        sizes(host.proj_in)[1],
        sizes(host.proj_out)[1],
        host.num_layers,
        act=lambda: host.activation,
        sigmoid=bool(host.sigmoid_output),
    )


class PlainVisionAttention(blocks.REAttention):
    """Attention of SAM's image encoder; transformers always sums both terms before it adds them to the scores."""

    sums_terms = True


class VisionAttention(PlainVisionAttention):
    """The same, which in transformers also gives its weights, or None."""

    def forward(self, hidden_states: Tensor, output_attentions: bool | None = None) -> tuple[Tensor, None]:  # type: ignore[override]
        """Attend among the pixels of [B, H, W, C]."""
        refuse(output_attentions=output_attentions)
        return super().forward(hidden_states), None


@reader("transformers.VisionAttention")
def vision_attention(host: Any) -> nn.Module:
    """Width, heads, tables; the class tells the order of operations."""
    return _vision_attention(host, VisionAttention)


def _vision_attention(host: Any, kind: type[PlainVisionAttention]) -> nn.Module:
    if host.dropout:
        raise SwapError(f"its dropout is {host.dropout}, ours has none")
    ours = made(
        kind,
        sizes(host.qkv)[0],
        num_heads=host.num_attention_heads,
        qkv_bias=getattr(host.qkv, "bias", None) is not None,
        use_rel_pos=host.use_rel_pos,
        input_size=(side(host.rel_pos_h), side(host.rel_pos_w)) if host.use_rel_pos else None,
    )
    ours.implementation = "fused" if "Sdpa" in type(host).__name__ else "scale_queries"
    return ours


@reader("transformers.VisionLayer")
def vision_layer(host: Any) -> nn.Module:
    """Width, heads, window; its attention is read on its own."""
    width, hidden = sizes(host.mlp.lin1)
    block = made(
        blocks.Block,
        width,
        host.attn.num_attention_heads,
        mlp_ratio=hidden / width,
        act_layer=lambda: host.mlp.act,
        window_size=host.window_size,
    )
    block.attn = _vision_attention(host.attn, PlainVisionAttention)  # type: ignore[assignment]
    return block


class MultiScaleAttention(blocks.MultiScaleAttention):
    """Attention of SAM 2's trunk."""

    def forward(self, hidden_states: Tensor, **kwargs: object) -> Tensor:  # type: ignore[override]
        """Attend among the pixels of [B, H, W, C]."""
        refuse(output_attentions=kwargs.get("output_attentions"))
        return super().forward(hidden_states)


@reader("transformers.MultiScaleAttention")
def multi_scale_attention(host: Any) -> nn.Module:
    """Widths, heads, pooling and the order of operations."""
    pool = nn.MaxPool2d(host.query_stride, host.query_stride) if host.query_stride else None
    ours = made(MultiScaleAttention, host.dim, host.dim_out, host.num_attention_heads, q_pool=pool)
    ours.implementation = implementation_of(host, host.dim_out)
    return ours


class MultiScaleBlock(blocks.MultiScaleBlock):
    """A block of SAM 2's trunk."""

    def forward(self, hidden_states: Tensor, **kwargs: object) -> Tensor:  # type: ignore[override]
        """Transform a map [B, H, W, C]."""
        return super().forward(hidden_states)


@reader("transformers.MultiScaleBlock")
def multi_scale_block(host: Any) -> nn.Module:
    """Widths, heads, window and stride."""
    block = made(
        MultiScaleBlock,
        host.dim,
        host.dim_out,
        host.attn.num_attention_heads,
        mlp_ratio=sizes(host.mlp.proj_in)[1] / host.dim_out,
        q_stride=tuple(host.query_stride) if host.query_stride else None,
        act_layer=lambda: host.mlp.activation,
        window_size=host.window_size,
    )
    block.attn.implementation = implementation_of(host.attn, host.attn.dim_out)
    return block


def images_and_prompts(x: Tensor) -> Tensor:
    """From [B, P, ...], images and their prompts, to [B * P, ...]."""
    return x.flatten(0, 1)


class Attention(blocks.Attention):
    """Attention of the mask decoder; queries and keys have an axis of images and one of prompts."""

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_similarity: Tensor | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, None]:
        """Attend: [B, P, N, C] to [B, P, M, C]."""
        refuse(attention_similarity=attention_similarity)
        out = super().forward(*(images_and_prompts(x) for x in (query, key, value)))
        return out.reshape(*query.shape[:2], *out.shape[1:]), None


@reader("transformers.Attention")
def attention(host: Any) -> nn.Module:
    """Widths, heads and the order of operations."""
    return _attention(host, Attention)


def _attention(host: Any, kind: type[blocks.Attention] = blocks.Attention) -> nn.Module:
    ours = made(
        kind,
        host.hidden_size,
        host.num_attention_heads,
        downsample_rate=host.hidden_size // host.internal_dim,
    )
    ours.implementation = implementation_of(host, host.internal_dim)
    return ours


class TwoWayAttentionBlock(blocks.TwoWayAttentionBlock):
    """A layer of the mask decoder's transformer, with axes of images and prompts; it gives no weights."""

    def forward(  # type: ignore[override]
        self,
        queries: Tensor,
        keys: Tensor,
        query_point_embedding: Tensor,
        key_point_embedding: Tensor,
        attention_similarity: Tensor | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, Tensor, None]:
        """Let tokens [B, P, N, C] and image [B, P, M, C] attend to each other."""
        refuse(attention_similarity=attention_similarity)
        given = (queries, keys, query_point_embedding, key_point_embedding)
        tokens, image = super().forward(*(images_and_prompts(x) for x in given))
        return (
            tokens.reshape(*queries.shape[:2], *tokens.shape[1:]),
            image.reshape(*keys.shape[:2], *image.shape[1:]),
            None,
        )


class Sam2TwoWayAttentionBlock(TwoWayAttentionBlock, blocks.SAM2TwoWayAttentionBlock):
    """The same with the MLP of SAM 2."""


def _two_way_block(host: Any, kinds: tuple[type[nn.Module], type[nn.Module]]) -> nn.Module:
    sam2 = hasattr(host.mlp, "proj_in")
    cross = host.cross_attn_token_to_image
    ours: Any = made(
        kinds[1] if sam2 else kinds[0],
        host.self_attn.hidden_size,
        host.self_attn.num_attention_heads,
        mlp_dim=sizes(host.mlp.proj_in if sam2 else host.mlp.lin1)[1],
        activation=lambda: host.mlp.activation if sam2 else host.mlp.act,
        attention_downsample_rate=cross.hidden_size // cross.internal_dim,
        skip_first_layer_pe=host.skip_first_layer_pe,
    )
    if sam2 and host.mlp.num_layers != 2:
        raise SwapError(f"its perceptron has {host.mlp.num_layers} layers, ours has two")
    for name in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
        setattr(ours, name, _attention(getattr(host, name)))
    block: nn.Module = ours
    return block


@reader("transformers.TwoWayAttentionBlock")
def two_way_block(host: Any) -> nn.Module:
    """Widths, heads, and whether it is a first layer."""
    return _two_way_block(host, (TwoWayAttentionBlock, Sam2TwoWayAttentionBlock))


class TwoWayTransformer(blocks.TwoWayTransformer):
    """The mask decoder's transformer, with axes of images and prompts."""

    def forward(  # type: ignore[override]
        self,
        point_embeddings: Tensor,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        attention_similarity: Tensor | None = None,
        target_embedding: Tensor | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, Tensor]:
        """Let tokens [B, P, N, C] and maps [B * P, C, H, W] attend to each other."""
        refuse(attention_similarity=attention_similarity, target_embedding=target_embedding)
        tokens, image = super().forward(
            image_embeddings, image_positional_embeddings, images_and_prompts(point_embeddings)
        )
        return tokens.reshape(*point_embeddings.shape[:2], *tokens.shape[1:]), image.unsqueeze(1)


def plain_two_way_transformer(
    host: Any, kind: type[blocks.TwoWayTransformer] = blocks.TwoWayTransformer
) -> nn.Module:
    """Depth and widths; its layers are read one by one."""
    final = host.final_attn_token_to_image
    ours = made(
        kind,
        depth=0,
        embedding_dim=final.hidden_size,
        num_heads=final.num_attention_heads,
        mlp_dim=0,
        attention_downsample_rate=final.hidden_size // final.internal_dim,
    )
    plain = (blocks.TwoWayAttentionBlock, blocks.SAM2TwoWayAttentionBlock)
    ours.layers.extend(_two_way_block(layer, plain) for layer in host.layers)
    ours.depth = len(ours.layers)
    ours.final_attn_token_to_image = _attention(final)  # type: ignore[assignment]
    return ours


@reader("transformers.TwoWayTransformer")
def two_way_transformer(host: Any) -> nn.Module:
    """Depth and widths; its layers are read one by one."""
    return plain_two_way_transformer(host, TwoWayTransformer)
