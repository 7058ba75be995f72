"""Mistakes that ports have shipped, planted into an image encoder of SAM 2 to see that each is found where it is.

Each changes one module, or one method, of a model that is otherwise right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity.diverge.locate import Report
from parity.errors import UsageError


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        why: what is wrong, in words.
        plant: plants it; returns the names, in Meta's layout, of the places where it must be found.
        step: what the report must say of the place in the module, where it says something.
    """

    why: str
    plant: Callable[[nn.Module], list[str]]
    step: str = ""

    def found(self, report: Report, places: list[str]) -> bool:
        """Whether a report names the planted places and nothing else."""
        named = {culprit.tap.name for culprit in report.culprits}
        steps = [culprit.step for culprit in report.culprits]
        return named == set(places) and all(self.step in step for step in steps)


def _middle(module: nn.Module) -> int:
    """A block that does not pool, in the third stage where there is one."""
    blocks = _trunk(module)[1].blocks
    return next(i for i in range(len(blocks) // 2, len(blocks)) if blocks[i].q_stride is None)


def _trunk(module: nn.Module) -> tuple[str, Any]:
    """The Hiera trunk in a model, an encoder or by itself, with its path and a dot."""
    for path in ("image_encoder.trunk", "trunk", ""):
        try:
            trunk: Any = module.get_submodule(path)
        except AttributeError:
            continue
        if hasattr(trunk, "_get_pos_embed"):
            return f"{path}." if path else "", trunk
    raise UsageError(f"a {type(module).__name__} has no Hiera trunk to plant a mistake in")


def _epsilon(value: float) -> Callable[[nn.Module], list[str]]:
    # In the first norm the variance is still small: further on, an epsilon too small by 1e-6 is lost in rounding.
    def plant(module: nn.Module) -> list[str]:
        path, trunk = _trunk(module)
        trunk.blocks[0].norm1.eps = value
        return [f"{path}blocks.0.norm1"]

    return plant


def _tanh(module: nn.Module) -> list[str]:
    path, trunk = _trunk(module)
    index = _middle(module)
    trunk.blocks[index].mlp.act = nn.GELU(approximate="tanh")
    return [f"{path}blocks.{index}.mlp.act"]


def _resized(**how: Any) -> Callable[[nn.Module], list[str]]:
    def plant(module: nn.Module) -> list[str]:
        path, trunk = _trunk(module)

        def positions(hw: tuple[int, int]) -> Tensor:
            window = trunk.pos_embed_window
            repeated = window.tile(1, 1, hw[0] // window.shape[-2], hw[1] // window.shape[-1])
            table: Tensor = F.interpolate(trunk.pos_embed, size=hw, **how) + repeated
            return table.permute(0, 2, 3, 1)

        trunk._get_pos_embed = positions
        return [f"{path}_get_pos_embed()"]

    return plant


def _bias(module: nn.Module) -> list[str]:
    path, trunk = _trunk(module)
    index = _middle(module)
    with torch.no_grad():
        trunk.blocks[index].attn.qkv.bias.zero_()
    return [f"{path}blocks.{index}.attn.qkv"]


def _pyramid(module: nn.Module) -> list[str]:
    path, _ = _trunk(module)
    name = f"{path.removesuffix('trunk.')}neck"
    neck: Any = module.get_submodule(name)
    neck.fpn_interp_model = "bilinear"
    return [name]


def _global(module: nn.Module) -> list[str]:
    path, trunk = _trunk(module)
    blocks = trunk.blocks
    first = next(index for index, block in enumerate(blocks) if block.window_size == 0)
    other = first - 1 if blocks[first - 1].q_stride is None else first + 1
    blocks[first].window_size, blocks[other].window_size = blocks[other].window_size, 0
    return [f"{path}blocks.{index}" for index in (first, other)]


PLANTED: dict[str, Mistake] = {
    "eps-1e-12": Mistake("a LayerNorm with eps 1e-12 instead of 1e-6", _epsilon(1e-12)),
    "eps-1e-5": Mistake("a LayerNorm with eps 1e-5 instead of 1e-6", _epsilon(1e-5)),
    "gelu-tanh": Mistake("GELU in its tanh approximation", _tanh),
    "positions-bilinear": Mistake("the position table resized bilinearly", _resized(mode="bilinear")),
    "positions-aligned": Mistake(
        "the position table resized with align_corners=True", _resized(mode="bicubic", align_corners=True)
    ),
    "bias-zeroed": Mistake("the bias of one qkv projection lost", _bias),
    "pyramid-bilinear": Mistake("the pyramid doubled bilinearly instead of to the nearest", _pyramid),
    "global-off-by-one": Mistake("the first global block is its neighbour", _global, "and attn"),
}
"""By the name on the command line."""
