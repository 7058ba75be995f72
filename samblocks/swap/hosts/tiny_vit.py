"""Reading Ultralytics' TinyViT and its parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from samblocks.errors import SwapError
from samblocks.models.tiny_vit import blocks, convs, stages, tiny_vit
from samblocks.swap.hosts.reading import FROM_WEIGHTS, drop_rate, made, read, reader, sizes


@reader("Conv2d_BN")
def conv_bn(host: Any) -> nn.Module:
    """The convolution's settings; both leaves are taken over."""
    conv = host.c
    return made(convs.Conv2d_BN, conv.in_channels, conv.out_channels, conv.kernel_size[0])


@reader("TinyViTPatchEmbed")
def patch_embed(host: Any) -> nn.Module:
    """Channels; the resolution is a plain attribute."""
    return made(convs.PatchEmbed, host.in_chans, host.embed_dim, 4, nn.GELU)


@reader("MBConv")
def mb_conv(host: Any) -> nn.Module:
    """Channels and drop path."""
    ratio = host.hidden_chans / host.in_chans
    return made(convs.MBConv, host.in_chans, host.out_chans, ratio, nn.GELU, drop_rate(host.drop_path))


@reader("PatchMerging")
def patch_merging(host: Any) -> nn.Module:
    """Channels, and the stride that the convolution has."""
    ours = made(convs.PatchMerging, host.input_resolution, host.dim, host.out_dim, nn.GELU)
    ours.stride = host.conv2.c.stride[0]
    return ours


@reader("TinyViTMLP")
def mlp(host: Any) -> nn.Module:
    """Three widths."""
    return made(blocks.MLP, *sizes(host.fc1), sizes(host.fc2)[1])


@reader("TinyViTAttention")
def attention(host: Any) -> nn.Module:
    """Heads, and the window that its indices were made for.

    Raises:
        SwapError: the host's own cache of biases is older than its biases, so that its results are, too.
    """
    indices, biases = host.attention_bias_idxs, host.attention_biases
    kept = getattr(host, "ab", None)
    if kept is not None and not host.training and kept.device.type != "meta":
        with torch.no_grad():
            current = biases[:, indices]
        if not torch.equal(current.to(kept), kept):
            raise SwapError(
                "it keeps gathered biases that are older than its attention_biases: call eval() on it first"
            )
    width = indices.shape[0]
    side = round(width**0.5)
    if side * side != width or biases.shape[1] != width:
        raise SwapError(f"its {width} bias indices are not those of a square window")
    return made(
        blocks.Attention,
        sizes(host.qkv)[0],
        host.key_dim,
        host.num_heads,
        attn_ratio=host.attn_ratio,
        resolution=(side, side),
    )


def _gather_biases(host: Any) -> None:
    """In evaluation mode the host keeps its biases gathered by index, which `train` computes."""
    if "ab" in vars(host):
        host.train(host.training)


FROM_WEIGHTS["TinyViTAttention"] = _gather_biases


@reader("TinyViTBlock")
def block(host: Any) -> nn.Module:
    """Width, heads, window; its attention is read on its own."""
    ours = made(
        blocks.TinyViTBlock,
        host.dim,
        host.input_resolution,
        host.num_heads,
        window_size=host.window_size,
        mlp_ratio=host.mlp_ratio,
        drop_path=drop_rate(host.drop_path),
        local_conv_size=host.local_conv.c.kernel_size[0],
    )
    ours.attn = read(host.attn)  # type: ignore[assignment]
    return ours


@reader("ConvLayer")
def conv_layer(host: Any) -> nn.Module:
    """Its blocks, and the step to the next stage, one by one."""
    return _stage(host, made(stages.ConvLayer, host.dim, host.input_resolution, 0, activation=nn.GELU))


@reader("BasicLayer")
def basic_layer(host: Any) -> nn.Module:
    """Its blocks, and the step to the next stage, one by one."""
    return _stage(
        host, made(stages.BasicLayer, host.dim, host.input_resolution, 0, num_heads=1, window_size=1)
    )


def _stage(host: Any, ours: Any) -> nn.Module:
    ours.blocks.extend(read(block) for block in host.blocks)
    if host.downsample is not None:
        ours.downsample = read(host.downsample)
    stage: nn.Module = ours
    return stage


@reader("TinyViT")
def encoder(host: Any) -> nn.Module:
    """Its stages one by one; what is around them from its attributes."""
    layers = list(host.layers)
    ours = made(
        tiny_vit.TinyViT,
        img_size=4 * max(host.patches_resolution),
        in_chans=host.patch_embed.in_chans,
        num_classes=host.num_classes,
        embed_dims=[layer.dim for layer in layers],
        depths=[1 for _ in layers],  # replaced below
        num_heads=[1 for _ in layers],
        window_sizes=[1 for _ in layers],
        mlp_ratio=host.mlp_ratio,
        drop_path_rate=0.0,
    )
    ours.layers = nn.ModuleList(read(layer) for layer in layers)
    ours.depths = list(host.depths)
    return ours
