"""A plan: what happens to every tensor of a file that is brought into another layout, to shapes and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from samblocks.layouts.key_prefix import KeyPrefix
from samblocks.layouts.rules import TensorMapping
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
        mappings: the same as single operations, in the order in which they are carried out.
    """

    kind: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    op: str = ""
    why: str = ""
    mappings: tuple[TensorMapping, ...] = field(default=(), repr=False)

    def infer(self, tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
        """Shape and dtype of every target, from those of the file."""
        held = {key: tensors[key] for key in self.sources}
        for mapping in self.mappings:
            results = mapping.operation.infer([held[key] for key in mapping.inputs])
            held.update(zip(mapping.outputs, results, strict=True))
        return {key: held[key] for key in self.targets}

    def apply(self, get: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The value of every target; `get` gives a tensor of the file by its name and is called once for each.

        Raises:
            LayoutError: as `samblocks.layouts.apply`.
        """
        if not self.targets:
            return {}
        held = {key: get(key) for key in self.sources}
        for mapping in self.mappings:
            results = mapping.operation.apply([held[key] for key in mapping.inputs], mapping.inputs)
            held.update(zip(mapping.outputs, results, strict=True))
        return {key: held[key] for key in self.targets}


@dataclass(frozen=True)
class Plan:
    """What happens to every tensor of a file.

    Args:
        source: the layout of the file.
        target: the layout that is wanted.
        steps: in the order of the target's state dict (of their first targets), then what is dropped and
            unexplained; every tensor of the file is a source of exactly one.
        model_class: the class of transformers on the target's side, if any.
        infos: shape and dtype of every target.
        missing: names of the target that nothing in the file becomes, and that cannot be left out.
        misshapen: target, shape and expected shape, where a tensor has not the variant's shape.
        prefix: how the names of the file were read.
    """

    source: str
    target: str
    steps: tuple[Step, ...]
    model_class: str | None = None
    infos: Mapping[str, TensorInfo] = field(default_factory=dict, repr=False)
    missing: tuple[str, ...] = ()
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    prefix: KeyPrefix = field(default_factory=lambda: KeyPrefix("meta", "sam"), repr=False)

    def of_kind(self, *kinds: str) -> tuple[Step, ...]:
        """The steps of some kinds."""
        return tuple(step for step in self.steps if step.kind in kinds)


def apply(plan: Plan, get: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Carry a plan out, holding the tensors of one step at a time.

    Args:
        plan: what `samblocks.layouts.plan` gave.
        get: gives a tensor of the file by its name; it is called once per name, and never for what is
            dropped or unexplained.

    Yields:
        name and value in the target layout, in the plan's order. Values share memory with what `get` gave
        wherever nothing had to be copied.

    Raises:
        LayoutError: copies of one tensor differ, or a tensor has not the shape that the plan was made for.

    >>> import torch
    >>> from samblocks.layouts import TensorInfo, plan
    >>> from samblocks.variants import VARIANTS
    >>> name = "image_encoder.blocks.0.mlp.lin1.bias"
    >>> steps = plan({name: TensorInfo((3072,))}, source="meta", target="timm", row=VARIANTS["sam_vit_b"])
    >>> [(key, value.shape) for key, value in apply(steps, {name: torch.zeros(3072)}.__getitem__)]
    [('blocks.0.mlp.fc1.bias', torch.Size([3072]))]
    """
    for step in plan.steps:
        yield from step.apply(get).items()
