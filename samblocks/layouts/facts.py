"""The facts about the variants that decide names and shapes of their tensors.

They stand here a second time, beside `samblocks.variants`, because recognising a file must work on
names and shapes alone, without torch; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class SamFacts:
    """A SAM variant with a ViT image encoder; mobile_sam has none of these and only its name.

    Args:
        name: the variant.
        width: channels of the image encoder.
        depth: its blocks.
        heads: its attention heads.
        global_blocks: the blocks that attend over the whole image; the last one of each quarter.
    """

    name: str
    width: int = 0
    depth: int = 0
    heads: int = 0
    global_blocks: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        """Whose names the tensors have: "sam" or "mobile_sam"."""
        return "sam" if self.depth else "mobile_sam"


@dataclass(frozen=True)
class Sam2Facts:
    """A SAM 2 or 2.1 variant.

    Args:
        name: the variant.
        width: channels of the first stage; every later stage has twice as many.
        heads: attention heads of the first stage.
        stages: blocks per stage.
        windows: window side per stage.
        global_spacing: distance between the global blocks of the third stage.
        grid: side of the background position embedding.
        is_21: whether it has the three tensors that 2.1 added.
    """

    name: str
    width: int
    heads: int
    stages: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_spacing: int
    grid: int
    is_21: bool

    family = "sam2"

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels per stage."""
        return tuple(self.width * 2**stage for stage in range(len(self.stages)))

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Stage and index inside the stage of every block, by its number in the trunk."""
        return tuple((stage, index) for stage, depth in enumerate(self.stages) for index in range(depth))


Facts = SamFacts | Sam2Facts


_HIERA = (
    Sam2Facts("sam2_hiera_tiny", 96, 1, (1, 2, 7, 2), (8, 4, 14, 7), 2, 7, is_21=False),
    Sam2Facts("sam2_hiera_small", 96, 1, (1, 2, 11, 2), (8, 4, 14, 7), 3, 7, is_21=False),
    Sam2Facts("sam2_hiera_base_plus", 112, 2, (2, 3, 16, 3), (8, 4, 14, 7), 4, 14, is_21=False),
    Sam2Facts("sam2_hiera_large", 144, 2, (2, 6, 36, 4), (8, 4, 16, 8), 10, 7, is_21=False),
)

_HIERA_21 = tuple(replace(row, name=row.name.replace("sam2_", "sam2.1_"), is_21=True) for row in _HIERA)

_ROWS: tuple[Facts, ...] = (
    SamFacts("sam_vit_b", 768, 12, 12, (2, 5, 8, 11)),
    SamFacts("sam_vit_l", 1024, 24, 16, (5, 11, 17, 23)),
    SamFacts("sam_vit_h", 1280, 32, 16, (7, 15, 23, 31)),
    SamFacts("mobile_sam"),
    *_HIERA,
    *_HIERA_21,
)

FACTS: Mapping[str, Facts] = MappingProxyType({row.name: row for row in _ROWS})
"""The facts of every variant by its name."""


def facts_of(variant: str) -> Facts:
    """The facts of a variant.

    Args:
        variant: its name.

    Returns:
        its facts.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in FACTS:
        raise ValueError(f"variant {variant!r} is unknown; it must be one of {', '.join(FACTS)}")
    return FACTS[variant]
