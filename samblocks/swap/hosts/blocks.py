"""Reading the blocks of Ultralytics, segment_anything and sam2, whose attributes have the same names.

Leaves of torch (linears, convolutions, norms, activations, dropouts) are taken over as objects afterwards, and
plain attributes of the same name are copied: only what decides a module's structure has to be read.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from samblocks import blocks
from samblocks.errors import SwapError
from samblocks.swap.hosts.reading import FROM_SETTINGS, channels, drop_rate, made, read, reader, side, sizes


@reader("DropPath")
def drop_path(host: Any) -> nn.Module:
    """Rate and scaling."""
    return made(blocks.DropPath, float(host.drop_prob or 0.0), bool(host.scale_by_keep))


@reader("LayerNorm2d")
def layer_norm_2d(host: Any) -> nn.Module:
    """Channels and epsilon."""
    return made(blocks.LayerNorm2d, channels(host), host.eps)


@reader("MLPBlock")
def mlp_block(host: Any) -> nn.Module:
    """Both widths."""
    return made(blocks.MLPBlock, *sizes(host.lin1))


@reader("MLP")
def mlp(host: Any) -> nn.Module:
    """Widths, and what comes after the last layer under either library's names."""
    layers = list(host.layers)
    counted = getattr(host, "num_layers", len(layers))
    if counted != len(layers):
        raise SwapError(f"it holds {len(layers)} layers, and its num_layers is {counted}")
    return made(
        blocks.MLP,
        sizes(layers[0])[0],
        sizes(layers[0])[1],
        sizes(layers[-1])[1],
        len(layers),
        sigmoid=bool(getattr(host, "sigmoid", getattr(host, "sigmoid_output", False))),
        residual=bool(getattr(host, "residual", False)),
    )


@reader("PatchEmbed")
def patch_embed(host: Any) -> nn.Module:
    """The convolution is taken over as it is; only its bias decides about names."""
    return made(blocks.PatchEmbed, bias=host.proj.bias is not None)


@reader("Attention")
def attention(host: Any) -> nn.Module:
    """Widths, heads and dropout."""
    return made(blocks.Attention, **_attention(host))


@reader("RoPEAttention")
def rope_attention(host: Any) -> nn.Module:
    """As for attention, and the rotary table's base and grid."""
    settings = _attention(host)
    return made(
        blocks.RoPEAttention,
        settings.pop("embedding_dim"),
        settings.pop("num_heads"),
        rope_theta=float(host.compute_cis.keywords["theta"]),
        rope_k_repeat=bool(host.rope_k_repeat),
        feat_sizes=_grid(host.freqs_cis),
        **settings,
    )


def _attention(host: Any) -> dict[str, Any]:
    if host.embedding_dim // (host.embedding_dim // host.internal_dim) != host.internal_dim:
        raise SwapError(
            f"its internal_dim {host.internal_dim} is no part of embedding_dim {host.embedding_dim}"
        )
    return {
        "embedding_dim": host.embedding_dim,
        "num_heads": host.num_heads,
        "downsample_rate": host.embedding_dim // host.internal_dim,
        "kv_in_dim": getattr(host, "kv_in_dim", None),
        "dropout": float(getattr(host, "dropout_p", 0.0)),
    }


_ROUNDED = 1e-6
"""How far single precision may turn for each place of a row: some ulp of an angle of that many radians."""


def _grid(table: Tensor) -> tuple[int, int]:
    """(width, height) that a rotary table was made for: a row ends where the first rotation is the identity again."""
    rows = table.shape[0]
    back = (table[1:, 0] == 1).nonzero() if table.device.type != "meta" else table.new_empty(0)
    width = int(back[0]) + 1 if back.numel() else rows
    return width, rows // width


def _rotary_table(host: Any) -> None:
    """In sam2 and Ultralytics the table is a plain tensor, computed when the module is made.

    The host does not keep for which grid. What is read from the table counts only if it gives the table again, up to
    the rounding of its precision; else the host's own stays, so that a wrong reading is never its own truth.
    """
    width, height = _grid(host.freqs_cis)
    fresh = host.compute_cis(end_x=width, end_y=height).to(host.freqs_cis.device)
    if fresh.shape == host.freqs_cis.shape and bool((fresh - host.freqs_cis).abs().max() < _ROUNDED * width):
        host.freqs_cis = fresh


FROM_SETTINGS["RoPEAttention"] = _rotary_table


@reader("TwoWayAttentionBlock")
def two_way_block(host: Any) -> nn.Module:
    """Widths, heads, and whether it is a first layer."""
    return made(blocks.TwoWayAttentionBlock, **_two_way_block(host, sizes(host.mlp.lin1)[1]))


@reader("SAM2TwoWayAttentionBlock")
def sam2_two_way_block(host: Any) -> nn.Module:
    """As for SAM's."""
    return made(blocks.SAM2TwoWayAttentionBlock, **_two_way_block(host, sizes(host.mlp.layers[0])[1]))


def _two_way_block(host: Any, mlp_dim: int) -> dict[str, Any]:
    own, cross = host.self_attn, host.cross_attn_token_to_image
    return {
        "embedding_dim": own.embedding_dim,
        "num_heads": own.num_heads,
        "mlp_dim": mlp_dim,
        "attention_downsample_rate": cross.embedding_dim // cross.internal_dim,
        "skip_first_layer_pe": bool(host.skip_first_layer_pe),
    }


@reader("TwoWayTransformer")
def two_way_transformer(host: Any) -> nn.Module:
    """Depth, widths and heads."""
    return made(blocks.TwoWayTransformer, **_two_way_transformer(host))


@reader("SAM2TwoWayTransformer")
def sam2_two_way_transformer(host: Any) -> nn.Module:
    """As for SAM's."""
    return made(blocks.SAM2TwoWayTransformer, **_two_way_transformer(host))


def _two_way_transformer(host: Any) -> dict[str, Any]:
    final = host.final_attn_token_to_image
    return {
        "depth": len(host.layers),
        "embedding_dim": host.embedding_dim,
        "num_heads": host.num_heads,
        "mlp_dim": host.mlp_dim,
        "attention_downsample_rate": final.embedding_dim // final.internal_dim,
    }


@reader("PositionEmbeddingSine")
def sine(host: Any) -> nn.Module:
    """The attribute holds half of the channels."""
    return made(
        blocks.PositionEmbeddingSine,
        2 * host.num_pos_feats,
        host.temperature,
        host.normalize,
        host.scale if host.normalize else None,
    )


def _forget_maps(host: Any) -> None:
    """In sam2 and Ultralytics encodings are kept by size."""
    host.cache.clear()


FROM_SETTINGS["PositionEmbeddingSine"] = _forget_maps


@reader("PositionEmbeddingRandom")
def random_features(host: Any) -> nn.Module:
    """The number of directions."""
    return made(blocks.PositionEmbeddingRandom, int(host.positional_encoding_gaussian_matrix.shape[1]))


@reader("REAttention")
def re_attention(host: Any) -> nn.Module:
    """Width, heads, and what its tables were made for."""
    size = (side(host.rel_pos_h), side(host.rel_pos_w)) if host.use_rel_pos else None
    return made(
        blocks.REAttention,
        sizes(host.qkv)[0],
        num_heads=host.num_heads,
        qkv_bias=getattr(host.qkv, "bias", None) is not None,
        use_rel_pos=host.use_rel_pos,
        input_size=size,
    )


@reader("Block")
def vit_block(host: Any) -> nn.Module:
    """Width, heads, window; its attention is read on its own."""
    width, hidden = sizes(host.mlp.lin1)
    block = made(
        blocks.Block, width, host.attn.num_heads, mlp_ratio=hidden / width, window_size=host.window_size
    )
    block.attn = read(host.attn)  # type: ignore[assignment]
    return block


@reader("MultiScaleAttention")
def multi_scale_attention(host: Any) -> nn.Module:
    """Widths, heads and the pooling that it shares with its block."""
    return made(blocks.MultiScaleAttention, host.dim, host.dim_out, host.num_heads, q_pool=host.q_pool)


@reader("MultiScaleBlock")
def multi_scale_block(host: Any) -> nn.Module:
    """Widths, heads, window and stride."""
    return made(
        blocks.MultiScaleBlock,
        host.dim,
        host.dim_out,
        host.attn.num_heads,
        mlp_ratio=sizes(host.mlp.layers[0])[1] / host.dim_out,
        drop_path=drop_rate(host.drop_path),
        q_stride=host.q_stride,
        window_size=host.window_size,
    )


@reader("MaskDownSampler")
def mask_down_sampler(host: Any) -> nn.Module:
    """What its convolutions say."""
    convs = [layer for layer in host.encoder if isinstance(layer, nn.Conv2d)]
    first, last = convs[0], convs[-1]
    stride = first.stride[0] if len(convs) > 1 else 2
    return made(
        blocks.MaskDownSampler,
        last.out_channels,
        kernel_size=first.kernel_size[0],
        stride=stride,
        padding=first.padding[0],
        total_stride=stride ** (len(convs) - 1),
        interpol_size=getattr(host, "interpol_size", None),
    )


@reader("CXBlock")
def cx_block(host: Any) -> nn.Module:
    """The depthwise convolution's settings, the layer scale and the drop path."""
    conv = host.dwconv
    return made(
        blocks.CXBlock,
        conv.in_channels,
        kernel_size=conv.kernel_size[0],
        padding=conv.padding[0],
        drop_path=drop_rate(host.drop_path),
        layer_scale_init_value=0.0 if host.gamma is None else 1.0,
        use_dwconv=conv.groups > 1,
    )


@reader("Fuser")
def fuser(host: Any) -> nn.Module:
    """Its layers one by one, and the projection."""
    projects = isinstance(host.proj, nn.Conv2d)
    ours = made(
        blocks.Fuser,
        nn.Identity(),
        0,
        dim=host.proj.in_channels if projects else None,
        input_projection=projects,
    )
    ours.layers.extend(read(layer) for layer in host.layers)
    return ours


@reader("MemoryAttentionLayer")
def memory_attention_layer(host: Any) -> nn.Module:
    """Widths and flags; both attentions are read on their own."""
    activation = host.activation
    if not isinstance(activation, nn.Module) and activation not in (F.relu, F.gelu):
        raise SwapError(f"its activation {activation!r} is neither relu nor gelu")
    ours = made(
        blocks.MemoryAttentionLayer,
        host.d_model,
        host.dim_feedforward,
        float(host.dropout_value),
        host.pos_enc_at_attn,
        host.pos_enc_at_cross_attn_keys,
        host.pos_enc_at_cross_attn_queries,
        self_attn=read(host.self_attn),
        cross_attn=read(host.cross_attn_image),
    )
    if activation is F.gelu:
        ours.activation = nn.GELU()  # type: ignore[assignment]
    return ours
