"""From a row of `VARIANTS` to modules: the one file that knows how the parts fit together."""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import nn

from samblocks.blocks import (
    MaskDownSampler,
    MemoryAttentionLayer,
    PatchEmbed,
    PositionEmbeddingSine,
    RoPEAttention,
    TwoWayTransformer,
)
from samblocks.image_size import ImageSize, Sizes, image_sides, image_size_of
from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam1.hq_mask_decoder import MaskDecoderHQ
from samblocks.models.sam1.hq_model import SAMModelHQ
from samblocks.models.sam1.image_encoder import ImageEncoderViT
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.models.sam1.model import SAMModel
from samblocks.models.sam2.hiera import Hiera
from samblocks.models.sam2.image_encoder import FpnNeck, ImageEncoder
from samblocks.models.sam2.memory import MemoryAttention, MemoryEncoder
from samblocks.models.sam2.model import SAM2Model
from samblocks.models.tiny_vit.convs import merging_stride
from samblocks.models.tiny_vit.tiny_vit import TinyViT
from samblocks.variants import (
    VARIANTS,
    HieraConfig,
    ImageEncoderViTConfig,
    MemoryConfig,
    PromptConfig,
    SAM2Variant,
    TinyViTConfig,
    Variant,
)

Row = TypeVar("Row", bound=Variant)


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
        A `SAMModel` for SAM 1, MobileSAM, SlimSAM and HQ-SAM, a `SAM2Model` for SAM 2.0 and 2.1.

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
    row = _row(variant)
    if device is None:
        model = assemble(row)
    else:
        with torch.device(device):
            model = assemble(row)
    if dtype is not None:
        model.to(dtype)
        materialize(model)
    return model


def assemble(
    variant: str | Variant,
    *,
    image_size: ImageSize | None = None,
    num_maskmem: int | None = None,
    in_chans: int | None = None,
    drop_path_rate: float | None = None,
    **options: object,
) -> SAMModel | SAM2Model:
    """Make a model of another size, or with other settings, than the released one; for use inside samblocks.

    Args:
        variant: a name in `VARIANTS`, or a row.
        image_size: side of the image in pixels, or its height and width; tables of positions are made for it.
        num_maskmem: SAM 2 only, frames in memory.
        in_chans: channels of the image. Unless there are three, a SAM 1 takes pictures as they come: the released
            mean and deviation are those of red, green and blue.
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
    sizes = Sizes(image_size, num_maskmem, in_chans).checked()
    if sizes.num_maskmem is not None:
        options["num_maskmem"] = sizes.num_maskmem
    row = _with_options(row, options)
    if drop_path_rate is not None:
        if isinstance(row.trunk, ImageEncoderViTConfig):
            raise ValueError(f"drop_path_rate={drop_path_rate}: {row.name} has no drop path")
        row = replace(row, trunk=replace(row.trunk, drop_path_rate=drop_path_rate))
    height, width = image_sides(sizes.image_size or row.image_size)
    row = replace(row, image_size=height)
    channels = 3 if sizes.in_chans is None else sizes.in_chans
    model = _sam2(row, width, channels) if isinstance(row, SAM2Variant) else _sam(row, width, channels)
    model.mask_threshold = row.mask_threshold
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


def _with_options(row: Row, options: Mapping[str, object]) -> Row:
    """Put each option into the part of the row that has a field of this name."""
    rest = dict(options)
    for part in ("prompt", "memory", "tracking", "multimask"):
        config = getattr(row, part, None)
        if config is not None:
            own = {f.name: rest.pop(f.name) for f in fields(config) if f.name in rest}
            row = replace(row, **{part: replace(config, **own)})
    if rest:
        raise ValueError(f"{row.name} has no setting {', '.join(sorted(rest))}")
    return row


def _sam(row: Variant, width: int, in_chans: int) -> SAMModel:
    prompt, height = row.prompt, row.image_size
    image_encoder, stride = _image_encoder(row, width, in_chans)
    rgb = in_chans == 3
    if row.pixel_range != 255:
        raise ValueError(f"pixel_range={row.pixel_range}: the model normalises pictures from 0 to 255 itself")
    channels = cast(nn.Conv2d, image_encoder.neck[0]).out_channels
    if channels != prompt.embed_dim:
        raise ValueError(
            f"embed_dim={prompt.embed_dim}: must be the channels of the image encoder (out_chans), {channels}"
        )
    model = SAMModelHQ if row.early_dim else SAMModel
    return model(
        image_encoder=image_encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=prompt.embed_dim,
            image_embedding_size=(height // stride, width // stride),
            input_image_size=(height, width),
            mask_in_chans=prompt.mask_in_chans,
            embed_corner_labels=prompt.embed_corner_labels,
        ),
        mask_decoder=_mask_decoder(prompt, row.early_dim),
        pixel_mean=row.pixel_mean if rgb else (0.0,) * in_chans,
        pixel_std=row.pixel_std if rgb else (1.0,) * in_chans,
    )


def _image_encoder(row: Variant, width: int, in_chans: int) -> tuple[ImageEncoderViT | TinyViT, int]:
    """Make the image encoder of SAM 1, and say how many pixels one place of its map is wide."""
    trunk = row.trunk
    settings = asdict(trunk)
    if isinstance(trunk, TinyViTConfig):
        stride = 4 * math.prod(merging_stride(channels) for channels in trunk.embed_dims[1:])
        _check_size(row, width, stride, "embed_dims")
        encoder = TinyViT(img_size=row.image_size, in_chans=in_chans, **settings)
        encoder.set_imgsz((row.image_size, width))
        return encoder, stride
    if isinstance(trunk, HieraConfig):
        raise ValueError(f"{row.name}: its trunk is SAM 2's; make its row a SAM2Variant")
    _check_size(row, width, trunk.patch_size, "patch_size")
    _check_blocks("global_attn_indexes", trunk.global_attn_indexes, "depth", trunk.depth)
    norm = partial(nn.LayerNorm, eps=settings.pop("norm_eps"))
    size = image_size_of(row.image_size, width)
    return ImageEncoderViT(size, in_chans=in_chans, norm_layer=norm, **settings), trunk.patch_size


def _check_size(row: Variant, width: int, unit: int, by: str) -> None:
    if any(side < unit or side % unit for side in (row.image_size, width)):
        size = image_size_of(row.image_size, width)
        what = "be a positive multiple" if isinstance(size, int) else "have positive multiples"
        raise ValueError(f"image_size={size} must {what} of {unit} for {row.name}, by its {by}")


def _check_blocks(name: str, blocks: tuple[int, ...], total_name: str, total: int) -> None:
    """Refuse numbers of blocks that are not there; they would be ignored."""
    if any(not 0 <= block < total for block in blocks):
        raise ValueError(f"{name}={blocks}: must be numbers of the {total} blocks that {total_name} gives")


def _mask_decoder(prompt: PromptConfig, early_dim: int) -> MaskDecoder:
    transformer = TwoWayTransformer(
        depth=prompt.transformer_depth,
        embedding_dim=prompt.embed_dim,
        num_heads=prompt.transformer_num_heads,
        mlp_dim=prompt.transformer_mlp_dim,
    )
    make = partial(MaskDecoderHQ, vit_dim=early_dim) if early_dim else MaskDecoder
    return make(
        transformer_dim=prompt.embed_dim,
        transformer=transformer,
        num_multimask_outputs=prompt.num_multimask_outputs,
        iou_head_depth=prompt.iou_head_depth,
        iou_head_hidden_dim=prompt.iou_head_hidden_dim,
    )


def _sam2(row: SAM2Variant, width: int, in_chans: int) -> SAM2Model:
    stride, dim, memory = row.tracking.backbone_stride, row.prompt.embed_dim, row.memory
    if memory.mem_dim < 4 or memory.mem_dim % 4:
        raise ValueError(
            f"mem_dim={memory.mem_dim} must be a positive multiple of 4: half sines, half cosines"
        )
    if row.tracking.use_signed_tpos_enc_to_obj_ptrs and not row.tracking.add_tpos_enc_to_obj_ptrs:
        raise ValueError("use_signed_tpos_enc_to_obj_ptrs=True: needs add_tpos_enc_to_obj_ptrs=True")
    # The position table of Hiera's first stage, in patches of 4 pixels, repeats with its windows.
    _check_size(row, width, math.lcm(4 * row.trunk.window_spec[0], stride), "window_spec and backbone_stride")
    _check_blocks("global_att_blocks", row.trunk.global_att_blocks, "stages", sum(row.trunk.stages))
    _check_levels(row)
    trunk = Hiera(**asdict(row.trunk))
    if in_chans != 3:
        trunk.patch_embed = PatchEmbed((7, 7), (4, 4), (3, 3), in_chans, row.trunk.embed_dim)
    image_encoder = ImageEncoder(
        trunk=trunk,
        neck=FpnNeck(
            d_model=dim,
            backbone_channel_list=trunk.channel_list,
            fpn_interp_model=row.neck.fpn_interp_model,
            fuse_type=row.neck.fuse_type,
            fpn_top_down_levels=list(row.neck.fpn_top_down_levels),
            position_encoding=PositionEmbeddingSine(dim),
        ),
        scalp=row.neck.scalp,
    )
    attention = MemoryAttention(
        d_model=dim,
        pos_enc_at_input=memory.pos_enc_at_input,
        layer=_memory_attention_layer(memory, dim, row.image_size // stride),
        num_layers=memory.num_layers,
    )
    memory_encoder = MemoryEncoder(
        out_dim=memory.mem_dim,
        in_dim=dim,
        mask_downsampler=MaskDownSampler(dim, kernel_size=3, stride=2, padding=1, total_stride=stride),
        position_encoding=PositionEmbeddingSine(memory.mem_dim),
    )
    model = SAM2Model(
        image_encoder=image_encoder,
        memory_attention=attention,
        memory_encoder=memory_encoder,
        image_size=row.image_size,
        prompt=row.prompt,
        sam_mask_decoder_extra_args=asdict(row.multimask),
        **asdict(row.tracking),
    )
    if width != row.image_size:
        model.set_imgsz((row.image_size, width))
    return model


def _check_levels(row: SAM2Variant) -> None:
    """Refuse a trunk and a neck whose levels are not those that the heads are made for."""
    trunk, neck, stride = row.trunk, row.neck, row.tracking.backbone_stride
    strides = [
        tuple(4 * side ** min(stage, trunk.q_pool) for side in trunk.q_stride)
        for stage in range(len(trunk.stages))
    ]
    used = (stride // 4, stride // 2, stride) if row.tracking.use_high_res_features_in_sam else (stride,)
    kept = strides[: len(strides) - neck.scalp]
    if kept[-len(used) :] != [(side, side) for side in used]:
        raise ValueError(
            f"stages={trunk.stages}, q_pool={trunk.q_pool}, q_stride={trunk.q_stride} and scalp={neck.scalp} "
            f"leave levels of strides {kept}; backbone_stride={stride} needs {used} at the end"
        )
    for level in neck.fpn_top_down_levels:
        coarser = [2 * side for side in strides[level]] if 0 <= level < len(strides) else None
        if coarser is None or strides[level + 1 :][:1] not in ([], [tuple(coarser)]):
            raise ValueError(
                f"fpn_top_down_levels={neck.fpn_top_down_levels}: level {level} has no level of twice its stride "
                f"among {strides}"
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
