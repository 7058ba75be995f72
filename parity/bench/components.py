"""What is timed: parts of the models at their released widths, made by either library from the same description.

Nothing here imports an implementation; both sides run these very functions, each in a process of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from parity.cases.drive import encoded, prepared
from parity.execution import fill
from parity.execution.case import Library

Run = Callable[[], object]


@dataclass(frozen=True)
class Component:
    """One thing that is timed.

    Attributes:
        name: what the table calls it.
        make: makes it, filled, and returns a call of it; that call alone is timed.
    """

    name: str
    make: Callable[[Library], Run]


def random(name: str, *shape: int) -> Tensor:
    """An input of mean 0 and variance 1."""
    return torch.from_numpy(fill.uniform(f"bench:{name}", shape).astype("float32"))


def _parts(library: Library, variant: str, side: int, *names: str) -> list[Any]:
    """Parts of a model, filled."""
    model = library.model(variant, side, {}).eval()
    return [fill.fill_(model.get_submodule(name)) for name in names]


def _vit(library: Library) -> Run:
    [encoder] = _parts(library, "sam_vit_b", 1024, "image_encoder")
    image = random("image", 1, 3, 1024, 1024)
    return lambda: encoder(image)


def _hiera(library: Library) -> Run:
    [encoder] = _parts(library, "sam2.1_hiera_tiny", 1024, "image_encoder")
    image = random("image", 1, 3, 1024, 1024)
    return lambda: encoder(image)


def _decoder(library: Library, clicks: int = 1) -> Run:
    encoder, decoder = _parts(library, "sam_vit_b", 1024, "prompt_encoder", "mask_decoder")
    points = (
        512 + 400 * random("clicks", clicks, 1, 2).clamp(-1, 1),
        torch.ones(clicks, 1, dtype=torch.int32),
    )
    embedding = random("embedding", 1, 256, 64, 64)

    def run() -> object:
        sparse, dense = encoder(points=points, boxes=None, masks=None)
        return decoder(
            image_embeddings=embedding,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )

    return run


def _memory_attention(library: Library) -> Run:
    [attention] = _parts(library, "sam2.1_hiera_tiny", 1024, "memory_attention")
    current, encoding = random("current", 4096, 1, 256), random("encoding", 4096, 1, 256)
    tokens = 7 * 4096 + 64
    memory, memory_encoding = random("memory", tokens, 1, 64), random("memory_encoding", tokens, 1, 64)
    return lambda: attention(
        curr=current, memory=memory, curr_pos=encoding, memory_pos=memory_encoding, num_obj_ptr_tokens=64
    )


def _track_step(library: Library) -> Run:
    """The eighth frame of a video: encode the image, attend to seven memories, decode, encode a memory."""
    [model] = _parts(library, "sam2.1_hiera_tiny", 1024, "")
    frames = random("frames", 2, 3, 1024, 1024)
    known: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    click = {"point_coords": torch.tensor([[[200.0, 260.0]]]), "point_labels": torch.tensor([[1]])}

    def step(index: int) -> Any:
        image = frames[min(index, 1)][None]
        maps, encodings, sizes = prepared(model, encoded(model, image, torch.float32), 1)
        return model.track_step(
            frame_idx=index,
            is_init_cond_frame=index == 0,
            current_vision_feats=maps,
            current_vision_pos_embeds=encodings,
            feat_sizes=sizes,
            point_inputs=click if index == 0 else None,
            mask_inputs=None,
            output_dict=known,
            num_frames=8,
        )

    with torch.no_grad():
        first = step(0)
    known["cond_frame_outputs"][0] = first
    known["non_cond_frame_outputs"].update(dict.fromkeys(range(1, 7), first))
    return lambda: step(7)


COMPONENTS = (
    Component("ViT-B image encoder, image of 1024", _vit),
    Component("Hiera-T and neck, image of 1024", _hiera),
    Component("SAM prompts and decoder, one click", _decoder),
    Component("SAM prompts and decoder, 64 clicks", partial(_decoder, clicks=64)),
    Component("memory attention, 7 memories of 64x64", _memory_attention),
    Component("tracked frame with 7 memories, image of 1024", _track_step),
)
