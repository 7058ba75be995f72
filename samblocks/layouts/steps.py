"""A plan: what happens to every tensor of a file on the way into another layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samblocks.layouts.rules import Move
from samblocks.layouts.tensors import TensorInfo

KINDS = (
    "unexplained",
    "dropped",
    "invented",
    "packed",
    "unpacked",
    "duplicated",
    "deduplicated",
    "reshaped",
    "renamed",
    "used",
)
"""What a step can be; where several apply, the first."""


@dataclass(frozen=True)
class Step:
    """What happens to some tensors of a file.

    Args:
        kind: one of `KINDS`.
        sources: their names in the file; none where a tensor is invented.
        targets: the names they have afterwards; none where they are dropped or unexplained.
        op: what is done to the values, empty where nothing is.
        why: the reason, where something is dropped, invented or unexplained.
        moves: the same as single operations, for `samblocks.layouts.apply`.
    """

    kind: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    op: str = ""
    why: str = ""
    moves: tuple[Move, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Plan:
    """What happens to every tensor of a file.

    Args:
        source: the layout of the file.
        target: the layout that is wanted.
        steps: in the order of the target's state dict (of their first targets), then what is dropped and
            unexplained; every tensor of the file is a source of exactly one.
        variant: the variant.
        model_class: the class of transformers on the target's side, if any.
        infos: shape and dtype of every target.
        missing: names of the target that nothing in the file becomes, and that cannot be left out.
        misshapen: target, shape and expected shape, where a tensor has not the variant's shape.
    """

    source: str
    target: str
    steps: tuple[Step, ...]
    variant: str = ""
    model_class: str | None = None
    infos: Mapping[str, TensorInfo] = field(default_factory=dict, repr=False)
    missing: tuple[str, ...] = ()
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    def of_kind(self, *kinds: str) -> tuple[Step, ...]:
        """The steps of some kinds."""
        return tuple(step for step in self.steps if step.kind in kinds)
