"""Upstream's ViT image encoder with tables of positions for images that are not square, which its arguments lack."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from parity.references.common.dialect import Entry


def entry(path: str) -> Entry:
    """The entry of a library's ViT image encoder.

    Args:
        path: `package.module:Class`.
    """
    return Entry(f"{__name__}:image_encoder", lambda kwargs: {"path": path, "kwargs": kwargs})


def image_encoder(path: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Upstream's class, with the tables that it would have for a height and a width.

    Args:
        path: `package.module:Class`.
        kwargs: its arguments; `img_size` may be a pair.
    """
    module, _, name = path.partition(":")
    make = getattr(importlib.import_module(module), name)
    size = kwargs.get("img_size")
    if not isinstance(size, tuple):
        encoder: nn.Module = make(**kwargs)
        return encoder
    net: Any = make(**{**kwargs, "img_size": max(size)})
    rows, columns = (side // kwargs.get("patch_size", 16) for side in size)
    if net.pos_embed is not None:
        net.pos_embed = nn.Parameter(torch.zeros(1, rows, columns, net.pos_embed.shape[-1]))
    for block in net.blocks:
        if block.window_size == 0 and block.attn.use_rel_pos:
            depth = block.attn.rel_pos_h.shape[-1]
            block.attn.rel_pos_h = nn.Parameter(torch.zeros(2 * rows - 1, depth))
            block.attn.rel_pos_w = nn.Parameter(torch.zeros(2 * columns - 1, depth))
    built: nn.Module = net
    return built
