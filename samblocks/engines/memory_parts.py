"""Memory attention and memory encoder as parts that run in an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.engines.parts import Axes, Call, Graph, Part, Unanswered


class _Read(nn.Module):
    """Memory attention with maps and pointers apart, so that it shows in the shapes how many there are of each."""

    def __init__(self, module: nn.Module, base: Any) -> None:
        super().__init__()
        self.part, self._forward = module, base.forward

    def forward(
        self,
        frame: Tensor,
        places: Tensor,
        maps: Tensor,
        pointers: Tensor,
        map_places: Tensor,
        pointer_places: Tensor,
    ) -> tuple[Tensor]:
        memory = torch.cat((maps.flatten(0, 1), pointers))
        memory_places = torch.cat((map_places.flatten(0, 1), pointer_places))
        # Not by a call of the module, which may go into an engine by then.
        return (self._forward(self.part, frame, memory, places, memory_places, pointers.shape[0]),)


class _MemoryAttention(Part):
    """Memory attention: any number of memories, pointers and objects."""

    kind = "memory_attention"

    def make_graphs(self) -> Iterator[Graph]:
        batch = {1: "objects"}
        inputs: dict[str, Axes] = {
            "frame": batch,
            "places": batch,
            "maps": {0: "memories", 2: "objects"},
            "pointers": {0: "pointers", 1: "objects"},
            "map_places": {0: "memories", 2: "objects"},
            "pointer_places": {0: "pointers", 1: "objects"},
        }
        yield Graph(self.kind, _Read(self.module, self.base), inputs, ("conditioned",))

    def split(self, *args: Any, **kwargs: Any) -> Call:
        # By place: frame, memory, their positions, pointers. A class for transformers has other names for them.
        given = list(self.bound(args, kwargs).values())
        frame, memory, places, memory_places = (x[0] if isinstance(x, list | tuple) else x for x in given[:4])
        count = int(given[4])
        if places is None or memory_places is None:
            raise Unanswered("no position encodings")
        pixels, kept = len(frame), len(memory) - count
        if not count or kept < pixels or kept % pixels:
            raise Unanswered("no pointers, or no whole maps")
        if not self.module.batch_first:
            raise Unanswered("batch_first is off")
        objects = frame.shape[1]
        memory_places = memory_places.expand(-1, objects, -1)

        def apart(x: Tensor) -> tuple[Tensor, Tensor]:
            return x[:kept].reshape(-1, pixels, *x.shape[1:]), x[kept:]

        (maps, pointers), (map_places, pointer_places) = apart(memory), apart(memory_places)
        tensors = (frame, places.expand(-1, objects, -1), maps, pointers, map_places, pointer_places)
        return Call(self.kind, tensors)

    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        return outputs[0]


class _Write(nn.Module):
    """The memory encoder as a function to its map."""

    def __init__(self, module: nn.Module, base: Any) -> None:
        super().__init__()
        self.part, self._forward = module, base.forward

    def forward(self, features: Tensor, masks: Tensor) -> tuple[Tensor]:
        return (self._forward(self.part, features, masks, skip_mask_sigmoid=True)["vision_features"],)


class _MemoryEncoder(Part):
    """The memory encoder: any number of objects."""

    kind = "memory_encoder"

    def make_graphs(self) -> Iterator[Graph]:
        batch = {0: "objects"}
        yield Graph(
            self.kind, _Write(self.module, self.base), {"features": batch, "masks": batch}, ("memory",)
        )

    def split(self, *args: Any, **kwargs: Any) -> Call:
        given = self.bound(args, kwargs)
        features, masks = given["pix_feat"], given["masks"]
        if len(features) not in (1, len(masks)):
            raise Unanswered("features that do not fit the masks")
        masks = masks if given["skip_mask_sigmoid"] else masks.sigmoid()
        return Call(self.kind, (features.expand(len(masks), -1, -1, -1), masks))

    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        memory = outputs[0]
        return {
            "vision_features": memory,
            "vision_pos_enc": [self.module.position_encoding(memory).to(memory.dtype)],
        }
