"""A short way through a host's model from a picture or a clip: each of its parts runs, as its own drivers call them.

Nothing of a library is imported: what the model has tells which way is its own. The first picture is clicked on and
boxed, its logits are fed back, and the pictures after it are tracked where the model tracks.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samblocks.errors import SwapError
from samblocks.numerics.draws import vary
from samblocks.predict.pictures import as_rgb
from samblocks.swap.catalog import home

Drive = Callable[[Any, Tensor], Any]
"""Runs a model on pictures [T, 3, S, S] and gives what came out, nested."""

_FRAMES = 2, 4
"""How many frames are tracked at least, the first one included, and at most."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def understood(
    model: nn.Module, inputs: tuple[Any, ...], run: Callable[..., Any] | None
) -> tuple[tuple[Any, ...], Callable[..., Any]]:
    """What to call and with what: a callable, the model's own way from a picture or a clip, or a plain call.

    Raises:
        SwapError: nothing is given, and the model has no way of its own.
    """
    if run is not None:
        return inputs, run
    if len(inputs) == 1 and callable(inputs[0]) and not isinstance(inputs[0], nn.Module):
        return (), _for_model(inputs[0])
    if not inputs or (len(inputs) == 1 and is_pictures(inputs[0])):
        drive = short_drive(model)
        if not inputs and drive is None:
            raise SwapError(
                f"a {type(model).__name__} has no way of its own from a picture to masks: give its inputs, or a "
                "callable that runs it"
            )
        images = as_images(inputs[0], model) if inputs else made_up(model)
        return (images,), drive or _call
    return inputs, _call


def _for_model(function: Callable[..., Any]) -> Callable[..., Any]:
    """A callable that takes the model, or nothing."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return lambda model: function()
    except ValueError:
        pass  # a function of C's
    return function


def _call(model: Any, *inputs: Any) -> Any:
    """A plain call; SAM 2 has no forward, its image encoder stands for it."""
    without_forward = type(model).__name__ in ("SAM2Base", "SAM2Model", "SAM2VideoPredictor")
    return model.forward_image(*inputs) if without_forward else model(*inputs)


def is_pictures(given: Any) -> bool:
    """Whether something is a picture or a clip: a path, an array, a PIL picture, a list of these."""
    if isinstance(given, list | tuple):
        return bool(given) and all(is_pictures(one) for one in given)
    if isinstance(given, np.ndarray):
        return given.ndim in (2, 3) or (given.ndim == 4 and given.shape[-1] == 3)
    return isinstance(given, str | os.PathLike) or (hasattr(given, "convert") and hasattr(given, "getbands"))


def as_images(given: Any, model: nn.Module) -> Tensor:
    """Pictures as a model takes them, red first, about zero.

    Args:
        given: a picture or a clip, see `is_pictures`; a folder is the clip of the pictures in it, by name.
        model: for the size, the device and the dtype.

    Returns:
        [T, 3, S, S].

    Raises:
        ValueError: something of it is no picture.
    """
    side = _side(model)
    frames = []
    for number, picture in enumerate(_frames(given)):
        pixels = torch.from_numpy(np.array(as_rgb(picture, argument=f"picture {number}")))
        frame = pixels.permute(2, 0, 1).float() / (255.0 if pixels.dtype == torch.uint8 else 1.0)
        size = (side, side) if side else frame.shape[-2:]
        frames.append(nn.functional.interpolate(frame[None], size=size, mode="bilinear", antialias=True))
    return _placed(torch.cat(frames) * 4 - 2, model)


def _placed(images: Tensor, model: nn.Module) -> Tensor:
    weight = next(iter(model.parameters()), None)
    return images if weight is None else images.to(weight.device, weight.dtype)


def _frames(given: Any) -> Sequence[Any]:
    if isinstance(given, str | os.PathLike) and Path(given).is_dir():
        found = sorted(path for path in Path(given).iterdir() if path.suffix.lower() in _SUFFIXES)
        if not found:
            raise ValueError(f"the folder {str(given)!r} holds no pictures ({', '.join(_SUFFIXES)})")
        return found
    if isinstance(given, list | tuple) or (isinstance(given, np.ndarray) and given.ndim == 4):
        return list(given)
    return [given]


def made_up(model: nn.Module) -> Tensor:
    """A picture where none is given: smooth shapes and fine grain.

    Raises:
        SwapError: the model does not say how large its pictures are.
    """
    side = _side(model)
    if not side:
        raise SwapError(
            "the model does not say what it takes: give verify its inputs, or a callable that runs it"
        )
    place = torch.arange(side) / side * 6.3
    shapes = torch.stack([(place[:, None] * k).sin() * (place[None, :] * (4 - k)).cos() for k in (1, 2, 3)])
    return _placed(vary(shapes[None].float() * 2, "made-up picture"), model)


def _side(model: Any) -> int:
    """The side of a model's pictures, 0 where it does not say."""
    config = getattr(model, "config", None)
    vision = getattr(config, "vision_config", None)
    places = (
        getattr(model, "image_size", None),
        getattr(getattr(model, "image_encoder", None), "img_size", None),
        getattr(getattr(config, "prompt_encoder_config", None), "image_size", None),
        getattr(vision, "image_size", None),
    )
    found = next((side for side in places if side), 0)
    return int(found if isinstance(found, int) else max(found))


def short_drive(model: nn.Module, *, scores: bool = False) -> Drive | None:
    """The way that is a model's own; None where it is none that is known.

    Args:
        model: the model.
        scores: of SAM 2, also what it says about whether the object is there, of all frames together.
    """
    parts = ("image_encoder", "prompt_encoder", "mask_decoder")
    if all(hasattr(model, name) for name in ("forward_image", "track_step", "_prepare_backbone_features")):
        return partial(_sam2, scores=True) if scores else _sam2
    if all(hasattr(model, name) for name in parts):
        return _sam
    if home(model).startswith("transformers.") and hasattr(model, "config"):
        return _transformers_video if "Video" in type(model).__name__ else _transformers
    return None


def _click(images: Tensor) -> tuple[Tensor, Tensor]:
    """A click on the first picture, [1, 1, 2], and its label."""
    side = images.shape[-1]
    points = torch.tensor([[[0.4, 0.55]]], device=images.device, dtype=images.dtype) * side
    return points, torch.ones(1, 1, dtype=torch.int32, device=images.device)


def _box(images: Tensor) -> Tensor:
    side = images.shape[-1]
    return torch.tensor([[0.2, 0.25, 0.75, 0.7]], device=images.device, dtype=images.dtype) * side


def _sam(model: Any, images: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    embedding, more = _encoded(model, images[:1])
    found["embedding"] = embedding
    prompts: dict[str, Any] = {"points": _click(images), "boxes": None, "masks": None}
    for step in ("click", "box and logits"):
        sparse, dense = model.prompt_encoder(**prompts)
        masks, iou = model.mask_decoder(
            image_embeddings=embedding,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=step == "click",
            **more,
        )
        found[f"masks of {step}"], found[f"scores of {step}"] = masks, iou
        prompts = {"points": None, "boxes": _box(images), "masks": masks[:, :1]}
    return found


def _encoded(model: Any, image: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """An image's features, and what else HQ-SAM's decoder is called with."""
    if not hasattr(model.mask_decoder, "hf_token"):
        return model.image_encoder(image), {}
    encoder = model.image_encoder
    features, maps = getattr(encoder, "forward_intermediates", encoder)(image)
    return features, {"hq_token_only": False, "interm_embeddings": maps}


def _sam2(model: Any, images: Tensor, *, scores: bool = False) -> dict[str, Any]:
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    found: dict[str, Any] = {}
    points, labels = _click(images)
    click = {"point_coords": points, "point_labels": labels}
    least, most = _FRAMES
    encoded = [model.forward_image(image[None]) for image in images[:most]]
    # Encoding takes most of the time: what is tracked beyond the last picture is that picture again.
    encoded += encoded[-1:] * (least - len(encoded))
    for frame, one in enumerate(encoded):
        _, features, encodings, sizes = model._prepare_backbone_features(dict(one))
        first = frame == 0
        result = model.track_step(
            frame, first, features, encodings, sizes, click if first else None, None, outputs, len(encoded)
        )
        outputs["cond_frame_outputs" if first else "non_cond_frame_outputs"][frame] = result
        for name in ("pred_masks", "obj_ptr", "maskmem_features"):
            found[f"{name} of frame {frame}"] = result[name]
    tracked = [one for kind in outputs.values() for one in kind.values()]
    if scores and all("object_score_logits" in one for one in tracked):
        found["object scores"] = torch.cat([one["object_score_logits"] for one in tracked])
    return found


def _clip(images: Tensor) -> list[Tensor]:
    """A clip of the pictures; the last one moves on where they are too few."""
    least, most = _FRAMES
    frames = list(images[:most])
    while len(frames) < least:
        frames.append(frames[-1].roll(images.shape[-1] // 32, dims=-1) * 0.9)
    return frames


def _transformers(model: Any, images: Tensor) -> dict[str, Any]:
    points, labels = _click(images)
    clicked = dict(
        model(pixel_values=images[:1], input_points=points[None], input_labels=labels[None].long())
    )
    boxed = dict(
        model(
            pixel_values=images[:1],
            input_boxes=_box(images)[None],
            input_masks=clicked["pred_masks"][:, 0, :1],
            multimask_output=False,
        )
    )
    found = {"click": clicked, "box and logits": boxed}
    return {step: {k: v for k, v in one.items() if v is not None} for step, one in found.items()}


def _transformers_video(model: Any, images: Tensor) -> list[Any]:
    kind = sys.modules[home(model)].__dict__["Sam2VideoInferenceSession"]
    side = images.shape[-1]
    video = torch.stack(_clip(images))
    session = kind(video=video, video_height=side, video_width=side, dtype=images.dtype)
    points, labels = _click(images)
    index = session.obj_id_to_idx(1)
    session.add_point_inputs(index, 0, {"point_coords": points[None], "point_labels": labels[None].long()})
    session.obj_with_new_inputs = [1]
    return [dict(model(inference_session=session, frame_idx=frame)) for frame in range(len(video))]
