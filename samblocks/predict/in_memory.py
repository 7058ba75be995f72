"""How tensors lie in memory, kept in files that hold them row by row.

A map may lie channels last. By how a matrix lies the products of some processors have other last bits, so that what is
read back must lie as it did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

KEY = "axes"
"""Of a safetensors file's metadata."""


def packed(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Prepare tensors for a safetensors file.

    Args:
        tensors: by name, of any shapes, on any device.

    Returns:
        Copies that lie row by row on the processor, and an entry of metadata that says how they lay.

    Examples:
        >>> import torch
        >>> tensors, metadata = packed({"map": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)})
        >>> tensors["map"].stride(), metadata
        ((60, 20, 5, 1), {'axes': '{"map": [0, 2, 3, 1]}'})
    """
    axes = {name: _axes(value) for name, value in tensors.items()}
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    return copies, {KEY: json.dumps(axes)}


def unpacked(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> dict[str, Tensor]:
    """Let tensors of a file lie as they lay when it was written.

    Args:
        tensors: as they were read.
        metadata: of the file; where it says nothing they stay as they are.

    Raises:
        ValueError: it says what cannot be.

    Examples:
        >>> import torch
        >>> x = torch.arange(120.0).view(2, 3, 4, 5).to(memory_format=torch.channels_last)
        >>> found = unpacked(*packed({"map": x}))["map"]
        >>> found.stride() == x.stride(), torch.equal(found, x)
        (True, True)
    """
    said: Any = json.loads((metadata or {}).get(KEY, "{}"))
    if not isinstance(said, dict):
        raise ValueError(f"{KEY} is no table")
    return {name: _laid_out(value, said[name]) if name in said else value for name, value in tensors.items()}


def _axes(x: Tensor) -> list[int]:
    """From the axis with the largest steps in memory to the one with the smallest."""
    return sorted(range(x.dim()), key=lambda axis: -x.stride()[axis])


def _laid_out(x: Tensor, axes: Any) -> Tensor:
    if not isinstance(axes, list) or sorted(axes, key=str) != sorted(range(x.dim()), key=str):
        raise ValueError(f"{KEY} must order {x.dim()} axes, got {axes}")
    back = sorted(range(len(axes)), key=lambda axis: axes[axis])
    return x.permute(*axes).contiguous().permute(*back)
