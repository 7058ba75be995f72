"""The small parts of tracking, which are exported beside the large ones and stay in eager in an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.engines.parts import Axes, Call, Graph, Part, Unanswered
from samblocks.models.sam2.heads import mix_no_object_pointer
from samblocks.models.sam2.memory_bank import mark_absent
from samblocks.numerics.draws import vary


class _Pointer(Part):
    """What makes an object pointer of the decoder's token."""

    kind = "object_pointer"

    def make_graphs(self) -> Iterator[Graph]:
        yield Graph(self.kind, _Tuple(self.module), {"token": {0: "objects"}}, ("pointer",))

    def split(self, *args: Any, **kwargs: Any) -> Call:
        (token,) = args
        return Call(self.kind, (token,))

    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        return outputs[0]


class _Tuple(nn.Module):
    """A module as a function to a tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.part = module

    def forward(self, *tensors: Tensor) -> tuple[Tensor]:
        return (type(self.part).forward(self.part, *tensors),)


def pointer_parts(model: nn.Module) -> list[Part]:
    """The small parts of tracking that are exported beside the large ones, and stay in eager in an engine.

    Args:
        model: of ours; those of other kinds have none.
    """
    found = getattr(model, "obj_ptr_proj", None)
    if not isinstance(found, nn.Module) or not any(True for _ in found.parameters()):
        return []
    parts: list[Part] = [_Pointer("obj_ptr_proj", found, type(found))]
    if getattr(model, "no_obj_ptr", None) is not None:
        parts.append(_Absent("(model)", model, type(model)))
    return parts


class _Absent(Part):
    """What happens to pointer and memory of an object that is not in the frame. The model's own code does it: it is
    exported for drivers in other languages, and driven by none of ours.
    """

    kind = "absent_object"

    def make_graphs(self) -> Iterator[Graph]:
        batch: Axes = {0: "objects"}
        marks = self.module.no_obj_embed_spatial is not None
        inputs: dict[str, Axes] = {"pointer": batch, "score": batch} | ({"memory": batch} if marks else {})
        yield Graph(self.kind, _Marked(self.module), inputs, ("pointer_kept", "memory_kept")[: 1 + marks])

    def split(self, *args: Any, **kwargs: Any) -> Call:
        raise Unanswered("no module is called for it")

    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        raise Unanswered("no module is called for it")

    def made_up(self) -> tuple[Tensor, ...]:
        scores = torch.tensor([[1.5], [-0.5], [-2.0]])
        pointer = vary(torch.ones(3, self.module.hidden_dim), "pointer")
        memory = vary(torch.ones(3, self.module.mem_dim, 4, 4), "memory")
        return (pointer, scores, memory)[: len(self.graphs[self.kind].inputs)]


class _Marked(nn.Module):
    """The model's handling of absent objects as a function."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        self._soft, self._fixed = config.soft_no_obj_ptr, config.fixed_no_obj_ptr
        self.no_object, self.mark = model.no_obj_ptr, model.no_obj_embed_spatial

    def forward(self, pointer: Tensor, score: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        presence = score.sigmoid() if self._soft else score > 0
        kept = mix_no_object_pointer(pointer, presence, self.no_object, fixed=self._fixed)
        return (kept, *(mark_absent(x, score, self.mark) for x in memory))
