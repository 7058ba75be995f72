"""From a row of `VARIANTS` to modules: the one file that knows how the parts fit together."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from samblocks.blocks import MemoryAttentionLayer, RoPEAttention, TwoWayTransformer
from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam1.image_encoder import ImageEncoderViT
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.models.sam1.model import SAMModel
from samblocks.models.sam2.hiera import Hiera
from samblocks.models.sam2.image_encoder import FpnNeck, ImageEncoder
from samblocks.models.sam2.memory import MemoryAttention, MemoryEncoder
from samblocks.models.sam2.model import SAM2Model
from samblocks.models.tiny_vit.tiny_vit import TinyViT
from samblocks.variants import (
    VARIANTS,
    FpnNeckConfig,
    HieraConfig,
    MemoryConfig,
    PromptConfig,
    TinyViTConfig,
    Trunk,
    Variant,
)

_HIERA_STRIDES = (8, 4, 2, 1)  # channels of the stages over those of the first, coarsest first


def build(
    variant: str, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> SAMModel | SAM2Model:
    """Make a released model, in evaluation mode, with fresh weights.

    It is what Meta's builders make: where upstreams differ, the choice is that of those who made the
    weights. `samblocks.load` gives a model with the weights of a checkpoint.

    Args:
        variant: a name in `VARIANTS`.
        device: where to make it; None takes torch's default. On "meta" it takes no memory.
        dtype: of the weights, a floating-point one; None takes torch's default.

    Returns:
        A `SAMModel` for SAM 1 and MobileSAM, a `SAM2Model` for SAM 2.0 and 2.1.

    Raises:
        ValueError: there is no such variant, or `dtype` is not a floating-point one.

    Examples:
        >>> model = build("sam_vit_b", device="meta")
        >>> sum(parameter.numel() for parameter in model.parameters())
        93735472
    """
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(
            f"dtype={dtype} must be a floating-point dtype, such as torch.float32 or torch.bfloat16"
        )
    if device is None:
        model = assemble(variant)
    else:
        with torch.device(device):
            model = assemble(variant)
    if dtype is not None:
        model.to(dtype)
        materialize(model)
    return model


def assemble(
    variant: str | Variant,
    *,
    image_size: int | None = None,
    num_maskmem: int | None = None,
    drop_path_rate: float | None = None,
    **options: object,
) -> SAMModel | SAM2Model:
    """Make a model of another size, or with other settings, than the released one; for use inside samblocks.

    Args:
        variant: a name in `VARIANTS`, or a row.
        image_size: side of the image in pixels; tables of positions are made for it.
        num_maskmem: SAM 2 only, frames in memory.
        drop_path_rate: of the trunk, in training.
        options: any field of the row's `prompt`, `memory`, `tracking` or `multimask`, such as
            `embed_corner_labels` or `add_tpos_enc_to_obj_ptrs`.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: the variant, the size or a setting does not exist.

    Examples:
        >>> with torch.device("meta"):
        ...     model = assemble("sam_vit_b", image_size=512)
        >>> model.image_encoder.pos_embed.shape
        torch.Size([1, 32, 32, 768])
    """
    row = variant if isinstance(variant, Variant) else _row(variant)
    if num_maskmem is not None:
        options["num_maskmem"] = num_maskmem
    row = _with_options(row, options)
    if drop_path_rate is not None:
        if not hasattr(row.trunk, "drop_path_rate"):
            raise ValueError(f"drop_path_rate={drop_path_rate}: {row.name} has no drop path")
        row = replace(row, trunk=replace(cast(HieraConfig, row.trunk), drop_path_rate=drop_path_rate))
    if image_size is not None:
        # Hiera's first windows are 8 patches of 4 pixels wide and its position table repeats with them.
        unit = 32 if isinstance(row.trunk, HieraConfig) else 16
        if image_size < unit or image_size % unit:
            raise ValueError(f"image_size={image_size} must be a positive multiple of {unit} for {row.name}")
        row = replace(row, image_size=image_size)
    model = _sam(row) if row.tracking is None else _sam2(row)
    return model.eval()


def materialize(model: nn.Module, device: torch.device | str | None = None) -> None:
    """Make anew what no checkpoint holds: pixel mean and deviation, bias indices, marks on parameters.

    A model that was made on the meta device and got its tensors from `load_state_dict(..., assign=True)`
    still has these on the meta device. Modules that have any say so by a method `remake(device)`.

    Args:
        model: the model, changed in place.
        device: where to make them; None takes that of the first parameter.

    Examples:
        >>> from samblocks.models import TinyViT
        >>> with torch.device("meta"):
        ...     encoder = TinyViT(64, embed_dims=(8, 16, 32, 320), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 10))
        >>> _ = encoder.to_empty(device="cpu")
        >>> materialize(encoder)
        >>> encoder.layers[1].blocks[0].attn.attention_bias_idxs.max()
        tensor(48)
    """
    target = next(model.parameters()).device if device is None else torch.device(device)
    for module in model.modules():
        if hasattr(module, "remake"):
            cast(Any, module).remake(target)


def _row(name: str) -> Variant:
    if not isinstance(name, str):
        raise TypeError(f"variant must be a name, got {type(name).__name__}; names: {', '.join(VARIANTS)}")
    if name not in VARIANTS:
        [closest] = get_close_matches(name, VARIANTS, n=1, cutoff=0.0)
        raise ValueError(f"no variant {name!r}; the closest is {closest!r}, of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def _with_options(row: Variant, options: Mapping[str, object]) -> Variant:
    """Put each option into the part of the row that has a field of this name."""
    rest = dict(options)
    for part in ("prompt", "memory", "tracking", "multimask"):
        config = getattr(row, part)
        if config is not None:
            own = {f.name: rest.pop(f.name) for f in fields(config) if f.name in rest}
            row = replace(row, **{part: replace(config, **own)})
    if rest:
        raise ValueError(f"{row.name} has no setting {', '.join(sorted(rest))}")
    return row


def _sam(row: Variant) -> SAMModel:
    prompt, size = row.prompt, row.image_size
    return SAMModel(
        image_encoder=_image_encoder(row.trunk, size),
        prompt_encoder=PromptEncoder(
            embed_dim=prompt.embed_dim,
            image_embedding_size=(size // 16, size // 16),
            input_image_size=(size, size),
            mask_in_chans=prompt.mask_in_chans,
            embed_corner_labels=prompt.embed_corner_labels,
        ),
        mask_decoder=_mask_decoder(prompt),
        pixel_mean=row.pixel_mean,
        pixel_std=row.pixel_std,
    )


def _image_encoder(trunk: Trunk, image_size: int) -> ImageEncoderViT | TinyViT:
    settings = asdict(trunk)
    if isinstance(trunk, TinyViTConfig):
        return TinyViT(img_size=image_size, **settings)
    norm = partial(nn.LayerNorm, eps=settings.pop("norm_eps"))
    return ImageEncoderViT(img_size=image_size, norm_layer=norm, **settings)


def _mask_decoder(prompt: PromptConfig) -> MaskDecoder:
    transformer = TwoWayTransformer(
        depth=prompt.transformer_depth,
        embedding_dim=prompt.embed_dim,
        num_heads=prompt.transformer_num_heads,
        mlp_dim=prompt.transformer_mlp_dim,
    )
    return MaskDecoder(
        transformer_dim=prompt.embed_dim,
        transformer=transformer,
        num_multimask_outputs=prompt.num_multimask_outputs,
        iou_head_depth=prompt.iou_head_depth,
        iou_head_hidden_dim=prompt.iou_head_hidden_dim,
    )


def _sam2(row: Variant) -> SAM2Model:
    trunk, neck, memory = (
        cast(HieraConfig, row.trunk),
        cast(FpnNeckConfig, row.neck),
        cast(MemoryConfig, row.memory),
    )
    tracking, multimask = cast(Any, row.tracking), cast(Any, row.multimask)
    dim = row.prompt.embed_dim
    image_encoder = ImageEncoder(
        trunk=Hiera(**asdict(trunk)),
        neck=FpnNeck(
            d_model=dim,
            backbone_channel_list=[trunk.embed_dim * factor for factor in _HIERA_STRIDES],
            fpn_interp_model=neck.fpn_interp_model,
            fuse_type=neck.fuse_type,
            fpn_top_down_levels=list(neck.fpn_top_down_levels),
        ),
        scalp=neck.scalp,
    )
    attention = MemoryAttention(
        d_model=dim,
        pos_enc_at_input=memory.pos_enc_at_input,
        layer=_memory_attention_layer(memory, dim, row.image_size // tracking.backbone_stride),
        num_layers=memory.num_layers,
    )
    return SAM2Model(
        image_encoder=image_encoder,
        memory_attention=attention,
        memory_encoder=MemoryEncoder(out_dim=memory.mem_dim),
        image_size=row.image_size,
        sam_mask_decoder_extra_args=asdict(multimask),
        **asdict(tracking),
    )


def _memory_attention_layer(memory: MemoryConfig, dim: int, side: int) -> MemoryAttentionLayer:
    rope = partial(
        RoPEAttention,
        dim,
        memory.num_heads,
        dropout=memory.dropout,
        rope_theta=memory.rope_theta,
        feat_sizes=(side, side),
    )
    return MemoryAttentionLayer(
        d_model=dim,
        dim_feedforward=memory.dim_feedforward,
        dropout=memory.dropout,
        pos_enc_at_attn=memory.pos_enc_at_attn,
        pos_enc_at_cross_attn_keys=memory.pos_enc_at_cross_attn_keys,
        pos_enc_at_cross_attn_queries=memory.pos_enc_at_cross_attn_queries,
        self_attn=rope(),
        cross_attn=rope(kv_in_dim=memory.mem_dim, rope_k_repeat=True),
    )
