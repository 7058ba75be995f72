"""Meta's layout and timm's, which holds image encoders only: SAM's with its neck, SAM 2's trunk without."""

from __future__ import annotations

from samblocks.layouts.manifest import meta_tensors
from samblocks.layouts.operations import Create
from samblocks.layouts.rules import Rule, Table, only_meta, only_other, same
from samblocks.layouts.tensors import TensorInfo
from samblocks.variants import Variant

_BEYOND = "timm holds the image encoder alone"
_BEYOND_TRUNK = "timm holds the trunk of the image encoder alone"
_CLASSIFIER = "timm's classifier is no part of SAM"
_HEAD_NORM = (
    "timm's pooled output has a norm of its own, which is no part of SAM 2 and starts as ones and zeros"
)


def _beyond(row: Variant, prefix: str, why: str) -> list[Rule]:
    """Everything of Meta's outside a prefix, which timm has no place for."""
    return [only_meta(key, why) for key in meta_tensors(row) if not key.startswith(prefix)]


def sam_table(row: Variant) -> Table:
    """Meta's SAM and timm's `samvit_*_patch16.sa1b`.

    Upstream: huggingface/pytorch-image-models samvit (the names of its state dict)
    """
    meta = "image_encoder"
    block, layer = f"{meta}.blocks.{{i}}", "blocks.{i}"
    kept = ("norm1.*", "attn.rel_pos_h", "attn.rel_pos_w", "attn.qkv.*", "attn.proj.*", "norm2.*")
    neck = ("0.weight", "1.*", "2.weight", "3.*")
    rules = [
        same(f"{meta}.pos_embed", "pos_embed"),
        same(f"{meta}.patch_embed.proj.*", "patch_embed.proj.*"),
        *(same(f"{block}.{name}", f"{layer}.{name}") for name in kept),
        same(f"{block}.mlp.lin1.*", f"{layer}.mlp.fc1.*"),
        same(f"{block}.mlp.lin2.*", f"{layer}.mlp.fc2.*"),
        *(same(f"{meta}.neck.{name}", f"neck.{name}") for name in neck),
        only_other("head.fc.*", _CLASSIFIER),
        *_beyond(row, f"{meta}.", _BEYOND),
    ]
    return Table("timm", rules)


def sam2_table(row: Variant) -> Table:
    """Meta's SAM 2 and 2.1, and timm's `sam2_hiera_*`, in which 2.0 and 2.1 are alike.

    Upstream: huggingface/pytorch-image-models sam2_hiera (the names of its state dict)
    """
    meta = "image_encoder.trunk"
    block, layer = f"{meta}.blocks.{{i}}", "blocks.{i}"
    coarsest = meta_tensors(row)["image_encoder.neck.convs.0.conv.weight"]
    norm = TensorInfo(coarsest.shape[1:2])
    position = f"{meta}.pos_embed"
    rules = [
        same(f"{meta}.pos_embed", "pos_embed"),
        same(f"{meta}.pos_embed_window", "pos_embed_window"),
        same(f"{meta}.patch_embed.proj.*", "patch_embed.proj.*"),
        *(
            same(f"{block}.{name}.*", f"{layer}.{name}.*")
            for name in ("proj", "norm1", "attn.qkv", "attn.proj", "norm2")
        ),
        same(f"{block}.mlp.layers.0.*", f"{layer}.mlp.fc1.*"),
        same(f"{block}.mlp.layers.1.*", f"{layer}.mlp.fc2.*"),
        only_other("head.norm.weight", _HEAD_NORM, Create("ones", norm), position),
        only_other("head.norm.bias", _HEAD_NORM, Create("zeros", norm), position),
        only_other("head.fc.*", _CLASSIFIER),
        *_beyond(row, f"{meta}.", _BEYOND_TRUNK),
    ]
    return Table("timm", rules)
