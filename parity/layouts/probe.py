"""What a loaded model is asked, by Meta's names: enough that every tensor of the weights has a say.

Nothing here imports an implementation: the same functions run on ours, Meta's and Ultralytics' modules.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parity.execution import fill

SIDE = {"sam": 1024, "sam2": 256}
"""Side of the image: SAM's table of positions has one size, Hiera's is interpolated to any."""


_EARLY = {"b": 768, "l": 1024, "h": 1280, "tiny": 160}
"""Channels of the map from inside the encoder that HQ-SAM's decoder takes."""


def family(variant: str) -> str:
    """`sam` (HQ-SAM too) or `sam2`."""
    return "sam2" if variant.startswith("sam2") else "sam"


def inputs(variant: str) -> dict[str, Tensor]:
    """One image, one set of prompts, and what the later stages are given, each made up by itself."""
    kind = family(variant)
    made = {"image": _uniform("image", 1, 3, SIDE[kind], SIDE[kind])}
    made["embedding"] = _uniform("embedding", 1, 256, 64, 64)
    made["coords"] = torch.tensor([[[300.0, 620.5], [811.25, 97.0]]])
    made["labels"] = torch.tensor([[1, 0]], dtype=torch.int32)
    made["prompt_mask"] = _uniform("prompt_mask", 1, 1, 256, 256)
    if variant.startswith("sam_hq"):
        made["early"] = _uniform("early", 1, 64, 64, _EARLY[variant.rpartition("_")[2]])
    if kind == "sam2":
        made["high_0"] = _uniform("high_0", 1, 32, 256, 256)
        made["high_1"] = _uniform("high_1", 1, 64, 128, 128)
        made["mask"] = _uniform("mask", 1, 1, 1024, 1024)
        made["pointer"] = _uniform("pointer", 1, 256)
        made["current"] = _uniform("current", 4096, 1, 256)
        made["memory"] = _uniform("memory", 4096 + 4, 1, 64)
        made["memory_pos"] = _uniform("memory_pos", 4096 + 4, 1, 64)
    return made


def _uniform(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(fill.uniform(f"probe:{name}", shape).astype("float32"))


@torch.no_grad()
def outputs(model: Any, variant: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run a whole model's stages.

    Args:
        model: a module with Meta's names, in evaluation mode.
        variant: which it is.
        given: what `inputs` made.

    Returns:
        An output for each stage; for SAM 2 the free tensors too, by Meta's names.
    """
    if variant.startswith("sam_hq"):
        return sam_hq(model, given)
    return sam2(model, given) if family(variant) == "sam2" else sam(model, given)


def sam(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAM: image encoder, then prompt encoder and mask decoder on a made-up embedding."""
    sparse, dense = prompts(model.prompt_encoder, given)
    masks, quality = model.mask_decoder(
        image_embeddings=given["embedding"],
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    return {"image": model.image_encoder(given["image"]), "dense": dense, "masks": masks, "quality": quality}


def sam_hq(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """HQ-SAM: the same, with the map from inside; the decoder is given one of its own, in both its ways."""
    encode = getattr(model.image_encoder, "forward_intermediates", model.image_encoder)
    image, maps = encode(given["image"])
    sparse, dense = prompts(model.prompt_encoder, given)
    made = {"image": image, "early": maps[0], "dense": dense}
    for name, alone in (("summed", False), ("alone", True)):
        made[name], made["quality"] = model.mask_decoder(
            image_embeddings=given["embedding"],
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            hq_token_only=alone,
            interm_embeddings=[given["early"]],
        )
    return made


def prompts(encoder: nn.Module, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Two points and a mask."""
    points = (given["coords"], given["labels"])
    sparse, dense = encoder(points=points, boxes=None, masks=given["prompt_mask"])
    return sparse, dense


def sam2(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAM 2: pyramid, decoder, memory encoder, memory attention, pointer projections, free tensors."""
    levels = model.forward_image(given["image"])["backbone_fpn"]
    made = {f"level_{number}": level for number, level in enumerate(levels)}
    made |= sam2_decoder(model.sam_prompt_encoder, model.sam_mask_decoder, given)
    encoded = model.memory_encoder(given["embedding"], given["mask"], skip_mask_sigmoid=True)
    made["memory"] = encoded["vision_features"]
    made["attended"] = model.memory_attention(
        curr=given["current"],
        memory=given["memory"],
        curr_pos=torch.zeros_like(given["current"]),
        memory_pos=given["memory_pos"],
        num_obj_ptr_tokens=4,
    )
    made["pointer"] = model.obj_ptr_proj(given["pointer"])
    made["mask_prompt"] = model.mask_downsample(given["mask"])
    if isinstance(getattr(model, "obj_ptr_tpos_proj", None), nn.Linear):
        made["time"] = model.obj_ptr_tpos_proj(given["pointer"])
    free = ("maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr", "no_obj_embed_spatial")
    held: Callable[[str], Any] = lambda name: getattr(model, name, None)  # noqa: E731
    return made | {name: held(name).detach() for name in free if held(name) is not None}


def sam2_decoder(encoder: Any, decoder: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAM 2's prompt encoder and mask decoder."""
    sparse, dense = prompts(encoder, given)
    masks, quality, _, presence = decoder(
        image_embeddings=given["embedding"],
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=False,
        high_res_features=[given["high_0"], given["high_1"]],
    )
    return {"dense": dense, "masks": masks, "quality": quality, "presence": presence}
