"""What a row of the bench runs: a graph on tensors, or a call that Python drives; the same for every library.

Nothing here imports an implementation: libraries are spoken to in the reference page's terms.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.bench.generator import photograph
from parity.cases.drive import encoded, prepared
from parity.execution import fill
from parity.execution.case import Library, NoCounterpart

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Graph:
    """Tensors in, tensors out: what can also be converted, compiled and judged.

    Attributes:
        module: of a whole model, the module that is called.
        inputs: for images of a side, what it is called with, in the order of the call.
    """

    module: Callable[[nn.Module], nn.Module]
    inputs: Callable[[int], Inputs]


@dataclass(frozen=True)
class Loop:
    """A call that Python drives from one model's method to the next: there is no one graph in it.

    Attributes:
        call: of a library and its whole model for images of a side, what is called.
    """

    call: Callable[[Library, Any, int], Callable[[], object]]


def random(name: str, *shape: int) -> Tensor:
    """An input of mean 0 and variance 1 in float32, the same in every process."""
    return _wide(name, *shape).float()


def _wide(name: str, *shape: int, low: float = -fill.UNIT, high: float = fill.UNIT) -> Tensor:
    """Values of float32 in float64, which is all that a run in float64 throughout may see."""
    values = fill.uniform(f"bench:{name}", shape, low, high)
    return torch.from_numpy(values.astype(np.float32).astype(np.float64))


def places(side: int, count: int) -> Tensor:
    """Clicks [count, 1, 2] somewhere in an image, in pixels: float32 values in float64."""
    return _wide("clicks", count, 1, 2, low=0.1 * side, high=0.9 * side)


def image(side: int, batch: int = 1) -> Inputs:
    """Normalised images [B, 3, side, side]."""
    return {"image": random("image", batch, 3, side, side)}


class ImageEncoder(nn.Module):
    """SAM's image encoder: [B, 3, S, S] → [B, 256, S/16, S/16]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder = model.get_submodule("image_encoder")

    def forward(self, image: Tensor) -> Tensor:
        """Encode."""
        features: Tensor = self.encoder(image)
        return features


class ImageLevels(nn.Module):
    """SAM 2's trunk, neck and the projections of its two fine levels: all that is made of an image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode: [B, 3, S, S] → [B, 32, S/4, S/4], [B, 64, S/8, S/8], [B, 256, S/16, S/16]."""
        return tuple(self.model.forward_image(image)["backbone_fpn"][:3])


class Decode(nn.Module):
    """Clicks [P, 1, 2] with labels [P, 1] on one image → masks [P, 3, S/4, S/4] and their predicted IoU [P, 3]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        second = hasattr(model, "sam_mask_decoder")
        self.prompts: Any = model.get_submodule("sam_prompt_encoder" if second else "prompt_encoder")
        self.decoder: Any = model.get_submodule("sam_mask_decoder" if second else "mask_decoder")

    def forward(
        self, embedding: Tensor, points: Tensor, labels: Tensor, *levels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode the prompts and decode; levels are those of SAM 2."""
        sparse, dense = self.prompts(points=(points, labels), boxes=None, masks=None)
        more: dict[str, Any] = {}
        if levels:
            more = {"repeat_image": points.shape[0] > 1, "high_res_features": list(levels)}
        found = self.decoder(
            image_embeddings=embedding,
            image_pe=self.prompts.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            **more,
        )
        return found[0], found[1]


def clicks(side: int, count: int, *, levels: bool) -> Inputs:
    """An image's embedding, `count` clicks on it, and its fine levels where the decoder takes them."""
    grid = side // 16
    found = {
        "embedding": random("embedding", 1, 256, grid, grid),
        "points": places(side, count).float(),
        "labels": torch.ones(count, 1, dtype=torch.int32),
    }
    if levels:
        found["fine"] = random("fine", 1, 32, 4 * grid, 4 * grid)
        found["middle"] = random("middle", 1, 64, 2 * grid, 2 * grid)
    return found


_POINTERS = 64
"""Tokens of object pointers: four for each of sixteen."""


class Attend(nn.Module):
    """Memory attention: features [N, B, 256], memories [M, B, 64], and the encodings of both."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.attention: Any = model.get_submodule("memory_attention")

    def forward(self, current: Tensor, memory: Tensor, position: Tensor, memory_position: Tensor) -> Tensor:
        """Condition the features on the memories."""
        conditioned: Tensor = self.attention(
            curr=current,
            memory=memory,
            curr_pos=position,
            memory_pos=memory_position,
            num_obj_ptr_tokens=_POINTERS,
        )
        return conditioned


def memories(side: int, count: int) -> Inputs:
    """Features of one frame, and `count` memories of other frames with their object pointers."""
    grid = (side // 16) ** 2
    tokens = count * grid + _POINTERS
    return {
        "current": random("current", grid, 1, 256),
        "memory": random("memory", tokens, 1, 64),
        "position": random("position", grid, 1, 256),
        "memory_position": random("memory_position", tokens, 1, 64),
    }


class Remember(nn.Module):
    """Memory encoder: features [B, 256, G, G] and masks [B, 1, S, S] → a memory [B, 64, G, G]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder: Any = model.get_submodule("memory_encoder")

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        """Encode."""
        memory: Tensor = self.encoder(features, masks, skip_mask_sigmoid=True)["vision_features"]
        return memory


def frame_and_mask(side: int) -> Inputs:
    """Features of a frame and a mask with soft edges."""
    return {
        "features": random("features", 1, 256, side // 16, side // 16),
        "masks": random("masks", 1, 1, side, side).sigmoid(),
    }


LOOPING = ("meta", "transformers")
"""Libraries whose video predictors track object by object; those of the others take all objects at once."""


def video_step(library: Library, model: Any, side: int, objects: int) -> Callable[[], object]:
    """The eighth frame of a video: encode it, attend to seven memories, decode, encode a memory.

    Objects are tracked as the library's own predictor does it: one by one, or all at once.
    """
    parameter = next(model.parameters())
    frames = _wide("frames", 2, 3, side, side).to(parameter)
    points = places(side, objects).to(parameter.device, torch.promote_types(parameter.dtype, torch.float32))
    groups = [slice(n, n + 1) for n in range(objects)] if library.name in LOOPING else [slice(objects)]
    known: list[dict[str, dict[int, Any]]] = [
        {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}} for _ in groups
    ]

    def step(index: int) -> list[Any]:
        features = encoded(model, frames[min(index, 1)][None], parameter.dtype)
        results = []
        for group, outputs in zip(groups, known, strict=True):
            chosen = points[group]
            maps, encodings, sizes = prepared(model, features, len(chosen))
            labels = torch.ones(len(chosen), 1, dtype=torch.int32, device=parameter.device)
            click = {"point_coords": chosen, "point_labels": labels}
            results.append(
                model.track_step(
                    frame_idx=index,
                    is_init_cond_frame=index == 0,
                    current_vision_feats=maps,
                    current_vision_pos_embeds=encodings,
                    feat_sizes=sizes,
                    point_inputs=click if index == 0 else None,
                    mask_inputs=None,
                    output_dict=outputs,
                    num_frames=8,
                    track_in_reverse=False,
                    run_mem_encoder=True,
                    prev_sam_mask_logits=None,
                )
            )
        return results

    for outputs, first in zip(known, step(0), strict=True):
        outputs["cond_frame_outputs"][0] = first
        outputs["non_cond_frame_outputs"].update(dict.fromkeys(range(1, 7), first))
    return lambda: torch.cat([result["pred_masks"] for result in step(7)])


_GENERATORS: Mapping[str, str] = {
    "samblocks": "parity.bench.generator",
    "meta": "parity.references.bench.generator",
}


def everything(library: Library, model: Any, side: int) -> Callable[[], object]:
    """Masks of everything in a photograph, from 32 x 32 clicks, by the library's own generator."""
    if library.name not in _GENERATORS:
        raise NoCounterpart(f"{library.name} has no generator with Meta's steps and arguments")
    generator = importlib.import_module(_GENERATORS[library.name]).generator(model, side)
    picture = photograph(side)
    return lambda: generator.generate(picture)
