"""The parts of a model that run in an engine, as graphs from tensors to tensors.

A part knows which calls of its module an engine can answer. It takes such a call apart into the tensors that go
through the graph, and puts the result together again as the module would have given it: position encodings, choices
among masks and everything else that costs nothing stays in Python, in the precision that it has in eager.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from samblocks.models.decoder_parts import Plan
from samblocks.models.sam2.hiera import Hiera
from samblocks.models.sam2.mask_decoder import SAM2MaskDecoder

_PLAIN = Plan(None, blocks=False)
"""How a decoder goes about it in a graph."""

Axes = Mapping[int, str]
"""The axes of a tensor whose size is free, by their letters: equal letters are equal sizes."""


@dataclass(frozen=True)
class Graph:
    """One function of a part's, from tensors to tensors.

    Args:
        name: of the part, and what tells it from another graph of the same part.
        module: called with the inputs by place; returns a tuple of tensors.
        inputs: names, with the free axes of each.
        outputs: names.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Axes]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A call taken apart.

    Args:
        graph: the name of the graph that answers it.
        tensors: what goes through it.
        rest: what `join` needs.
    """

    graph: str
    tensors: tuple[Tensor, ...]
    rest: Any = None


class Unanswered(Exception):
    """A call that no graph of the part answers; the text says why, in a few words."""


class Part(ABC):
    """A module that runs in an engine.

    Args:
        path: where it is in the model.
        module: the module.
        base: our class, whose `forward` runs in the engine; the module's own class may do something around it.
    """

    kind: ClassVar[str]
    """What it is called in reports and files."""

    by_item: ClassVar[bool] = False
    """Whether a batch goes through the graph one item at a time."""

    def __init__(self, path: str, module: Any, base: type[nn.Module]) -> None:
        self.path, self.module, self.base = path, module, base
        self.graphs = {graph.name: graph for graph in self.make_graphs()}

    @abstractmethod
    def make_graphs(self) -> Iterator[Graph]:
        """The functions that it consists of."""

    @abstractmethod
    def split(self, *args: Any, **kwargs: Any) -> Call:
        """Take a call of the module apart.

        Raises:
            Unanswered: eager has to answer it.
            TypeError: the module has no such arguments.
        """

    @abstractmethod
    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        """What the module would have returned."""

    def made_up(self) -> tuple[Tensor, ...] | None:
        """A sample of its own, where no call of a module gives one."""
        return None

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by the names that our class's `forward` has for them."""
        found = inspect.signature(self.base.forward).bind(self.module, *args, **kwargs)
        found.apply_defaults()
        return {name: value for name, value in found.arguments.items() if name != "self"}


class _Maps(nn.Module):
    """An image encoder as a function to a tuple of maps."""

    def __init__(self, module: nn.Module, base: Any) -> None:
        super().__init__()
        self.part, self._forward = module, base.forward

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self._forward(self.part, image)
        if isinstance(found, dict):
            found = found["backbone_fpn"]
        return (found,) if isinstance(found, Tensor) else tuple(found)


class _Encoder(Part):
    """An image encoder: pictures one at a time, of the size that it was compiled for."""

    kind, by_item = "image_encoder", True

    def make_graphs(self) -> Iterator[Graph]:
        names = ("map",) if self._levels() == 0 else tuple(f"map_{level}" for level in range(self._levels()))
        yield Graph(self.kind, _Maps(self.module, self.base), {"image": {}}, names)

    def split(self, *args: Any, **kwargs: Any) -> Call:
        image, *others = self.bound(args, kwargs).values()
        if any(others):
            raise Unanswered("other arguments")
        return Call(self.kind, (image,))

    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        return outputs[0] if self._levels() == 0 else list(outputs)

    def _levels(self) -> int:
        return len(self.module.channel_list) if isinstance(self.module, Hiera) else 0


class _EncoderWithNeck(_Encoder):
    """SAM 2's image encoder; position encodings, which depend on sizes alone, are made outside the graph.

    They are larger than the maps, and are kept from call to call, unless somebody has written into them.
    """

    def __init__(self, path: str, module: Any, base: type[nn.Module]) -> None:
        super().__init__(path, module, base)
        self._kept: dict[int, tuple[Tensor, int]] = {}

    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        encodings = [self._encoding(level, x) for level, x in enumerate(outputs)]
        return {"vision_features": outputs[-1], "vision_pos_enc": encodings, "backbone_fpn": list(outputs)}

    def _encoding(self, level: int, x: Tensor) -> Tensor:
        found, version = self._kept.get(level, (None, 0))
        if (
            found is None
            or found._version != version
            or found.shape[:1] + found.shape[2:] != x.shape[:1] + x.shape[2:]
        ):
            with torch.inference_mode(False):
                found = self.module.neck.position_encoding(x).to(x.dtype)
            self._kept[level] = found, found._version
        return found

    def _levels(self) -> int:
        return len(self.module.neck.convs) - int(self.module.scalp)


class _Decode(nn.Module):
    """A mask decoder up to all masks, for one image or for one of each prompt."""

    def __init__(self, module: Any, *, shared: bool) -> None:
        super().__init__()
        self.part, self.shared = module, shared

    def forward(
        self, tokens: Tensor, image: Tensor, places: Tensor, dense: Tensor, *finer: Tensor
    ) -> tuple[Tensor, ...]:
        count = tokens.shape[0]

        def spread(x: Tensor) -> Tensor:
            return x.expand(count, -1, -1, -1)

        if self.shared:
            image, dense = spread(image), spread(dense)
            finer = tuple(spread(maps) for maps in finer)
        found: tuple[Tensor, ...] = self.part._decode(
            _PLAIN, self.part._tokens(tokens), None, image, spread(places), dense, *finer
        )
        return found


class _Decoder(Part):
    """A mask decoder: any number of prompts and of tokens; masks are chosen outside the graph."""

    kind = "mask_decoder"

    def make_graphs(self) -> Iterator[Graph]:
        second = self.module if isinstance(self.module, SAM2MaskDecoder) else None
        finer = ("finest", "finer") if second is not None and second.use_high_res_features else ()
        outputs = ("masks", "iou") if second is None else ("masks", "iou", "mask_tokens", "score")
        for name, axes in (("shared", {}), ("paired", {0: "prompts"})):
            inputs: dict[str, Axes] = {"tokens": {0: "prompts", 1: "length"}, "image": axes, "places": {}}
            inputs |= {"dense": axes} | dict.fromkeys(finer, axes)
            module = _Decode(self.module, shared=name == "shared")
            yield Graph(f"{self.kind}_{name}", module, inputs, outputs)

    def split(self, *args: Any, **kwargs: Any) -> Call:
        given = self.bound(args, kwargs)
        tokens, places = given["sparse_prompt_embeddings"], _once(given["image_pe"])
        finer = given.get("high_res_features") or ()
        uses = isinstance(self.module, SAM2MaskDecoder) and self.module.use_high_res_features
        if len(finer) != (2 if uses else 0):
            raise Unanswered("high_res_features are missing, or are not used")
        if not tokens.shape[0] or not tokens.shape[1]:
            raise Unanswered("no prompts, or prompts without tokens")
        count = len(tokens)
        maps = [_once(x) for x in (given["image_embeddings"], given["dense_prompt_embeddings"], *finer)]
        if len(places) != 1 or any(len(x) not in (1, count) for x in maps):
            raise Unanswered("images that do not fit the prompts")
        images = len(given["image_embeddings"])
        repeats = given.get("repeat_image", True) and images == 1
        if images != count and not repeats:
            raise Unanswered("images that do not fit the prompts")
        shared = all(len(x) == 1 for x in maps)
        if not shared:
            maps = [x.expand(count, -1, -1, -1) for x in maps]
        image, dense, *others = maps
        name = f"{self.kind}_{'shared' if shared else 'paired'}"
        return Call(name, (tokens, image, places, dense, *others), bool(given["multimask_output"]))

    def join(self, outputs: Sequence[Tensor], rest: Any) -> Any:
        masks, iou, *others = outputs
        module = self.module
        if not isinstance(module, SAM2MaskDecoder):
            kept = slice(1, None) if rest else slice(0, 1)
            return masks[:, kept], iou[:, kept]
        return module._choose(masks, iou, others[0], others[1], multimask_output=rest)


def _once(maps: Tensor) -> Tensor:
    """The one map [1, C, H, W] of which all are views, or the maps."""
    return maps[:1] if len(maps) > 1 and maps.stride(0) == 0 else maps
