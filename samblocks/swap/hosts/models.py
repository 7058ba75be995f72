"""Reading the encoders, decoders and whole models of Ultralytics, segment_anything and sam2."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from samblocks import models
from samblocks.errors import SwapError
from samblocks.models.sam2.memory import MemoryAttention, MemoryEncoder
from samblocks.swap.catalog import library_of
from samblocks.swap.hosts.reading import drop_rate, made, multimask_outputs, read, reader, sizes
from samblocks.variants import PromptConfig


@reader("ImageEncoderViT")
def image_encoder_vit(host: Any) -> nn.Module:
    """Sizes from the tables; its blocks are read one by one."""
    conv = host.patch_embed.proj
    blocks = list(host.blocks)
    ours = made(
        models.ImageEncoderViT,
        img_size=host.img_size,
        patch_size=conv.kernel_size[0],
        in_chans=conv.in_channels,
        embed_dim=conv.out_channels,
        depth=0,
        num_heads=1,
        out_chans=host.neck[0].out_channels,
        use_abs_pos=host.pos_embed is not None,
    )
    ours.blocks.extend(read(block) for block in blocks)
    return ours


@reader("Hiera")
def hiera(host: Any) -> nn.Module:
    """Stages from where they end; every block is read on its own."""
    ends = list(host.stage_ends)
    blocks = list(host.blocks)
    ours = made(
        models.Hiera,
        embed_dim=int(host.pos_embed.shape[1]),
        drop_path_rate=drop_rate(blocks[-1].drop_path),
        q_pool=len(host.q_pool_blocks),
        q_stride=host.q_stride,
        stages=[last - first for first, last in zip([-1, *ends[:-1]], ends, strict=True)],
        window_pos_embed_bkg_spatial_size=host.window_pos_embed_bkg_spatial_size,
        window_spec=host.window_spec,
        global_att_blocks=host.global_att_blocks,
        return_interm_layers=host.return_interm_layers,
    )
    ours.blocks = nn.ModuleList(read(block) for block in blocks)
    ours.channel_list = host.channel_list
    return ours


@reader("FpnNeck")
def fpn_neck(host: Any) -> nn.Module:
    """Widths, and how levels are fused."""
    return made(
        models.FpnNeck,
        d_model=host.convs[0].conv.out_channels,
        backbone_channel_list=host.backbone_channel_list,
        fpn_interp_model=host.fpn_interp_model,
        fuse_type=host.fuse_type,
        fpn_top_down_levels=host.fpn_top_down_levels,
        position_encoding=read(host.position_encoding),
    )


@reader("ImageEncoder")
def image_encoder(host: Any) -> nn.Module:
    """Trunk and neck, each on its own."""
    return made(models.ImageEncoder, trunk=read(host.trunk), neck=read(host.neck), scalp=host.scalp)


@reader("PromptEncoder")
def prompt_encoder(host: Any) -> nn.Module:
    """Sizes; segment_anything has no embedding for points labelled as corners."""
    return made(
        models.PromptEncoder,
        embed_dim=host.embed_dim,
        image_embedding_size=tuple(host.image_embedding_size),
        input_image_size=tuple(host.input_image_size),
        mask_in_chans=host.mask_downscaling[3].out_channels,
        embed_corner_labels=library_of(host) != "segment_anything",
    )


@reader("MaskDecoder")
def mask_decoder(host: Any) -> nn.Module:
    """Widths; the transformer is read on its own."""
    return made(models.MaskDecoder, transformer=read(host.transformer), **_decoder(host))


@reader("SAM2MaskDecoder")
def sam2_mask_decoder(host: Any) -> nn.Module:
    """As SAM's, and the flags that its attributes tell."""
    head = host.iou_prediction_head
    return made(
        models.SAM2MaskDecoder,
        transformer=read(host.transformer),
        use_high_res_features=host.use_high_res_features,
        iou_prediction_use_sigmoid=bool(getattr(head, "sigmoid", getattr(head, "sigmoid_output", False))),
        dynamic_multimask_via_stability=host.dynamic_multimask_via_stability,
        dynamic_multimask_stability_delta=host.dynamic_multimask_stability_delta,
        dynamic_multimask_stability_thresh=host.dynamic_multimask_stability_thresh,
        pred_obj_scores=host.pred_obj_scores,
        pred_obj_scores_mlp=hasattr(getattr(host, "pred_obj_score_head", None), "layers"),
        use_multimask_token_for_obj_ptr=host.use_multimask_token_for_obj_ptr,
        **_decoder(host),
    )


def _decoder(host: Any) -> dict[str, Any]:
    layers = list(host.iou_prediction_head.layers)
    return {
        "transformer_dim": host.transformer_dim,
        "num_multimask_outputs": multimask_outputs(host),
        "iou_head_depth": len(layers),
        "iou_head_hidden_dim": sizes(layers[0])[1],
    }


@reader("MemoryAttention")
def memory_attention(host: Any) -> nn.Module:
    """Its layers one by one."""
    ours = made(
        MemoryAttention, host.d_model, host.pos_enc_at_input, nn.Identity(), 0, batch_first=host.batch_first
    )
    ours.layers.extend(read(layer) for layer in host.layers)
    return ours


@reader("MemoryEncoder")
def memory_encoder(host: Any) -> nn.Module:
    """Its parts one by one."""
    width = host.pix_feat_proj.out_channels
    return made(
        MemoryEncoder,
        out_dim=host.out_proj.out_channels if isinstance(host.out_proj, nn.Conv2d) else width,
        in_dim=width,
        mask_downsampler=read(host.mask_downsampler),
        fuser=read(host.fuser),
        position_encoding=read(host.position_encoding),
    )


@reader("SAMModel")
def sam_model(host: Any) -> nn.Module:
    """Its three parts."""
    return made(
        models.SAMModel,
        image_encoder=read(host.image_encoder),
        prompt_encoder=read(host.prompt_encoder),
        mask_decoder=read(host.mask_decoder),
    )


@reader("SAM2Model")
def sam2_model(host: Any) -> nn.Module:
    """Every argument of the constructor but four is an attribute of the same name.

    Its mask decoder is made by the constructor, of the sizes of the host's; flags reach it as attributes.
    """
    settings: dict[str, Any] = {}
    for name in inspect.signature(models.SAM2Model).parameters:
        if name in ("image_encoder", "memory_attention", "memory_encoder", "compile_image_encoder", "prompt"):
            continue
        if not hasattr(host, name):
            raise SwapError(f"it does not tell its {name}")
        settings[name] = getattr(host, name)
    settings["no_obj_embed_spatial"] = host.no_obj_embed_spatial is not None
    return made(
        models.SAM2Model,
        image_encoder=read(host.image_encoder),
        memory_attention=read(host.memory_attention),
        memory_encoder=read(host.memory_encoder),
        prompt=_prompt(host.sam_prompt_encoder, host.sam_mask_decoder),
        **settings,
    )


def _prompt(encoder: Any, decoder: Any) -> PromptConfig:
    """The sizes of a prompt encoder and a mask decoder."""
    transformer, heads = decoder.transformer, _decoder(decoder)
    return PromptConfig(
        embed_dim=heads.pop("transformer_dim"),
        mask_in_chans=encoder.mask_downscaling[3].out_channels,
        transformer_depth=len(transformer.layers),
        transformer_num_heads=transformer.num_heads,
        transformer_mlp_dim=transformer.mlp_dim,
        **heads,
    )
