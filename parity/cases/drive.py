"""How cases drive whole models: one way that every library understands, by keyword, and through their own methods.

What the parts of a model return in between is recorded too, so that a difference shows first in the stage that
makes it. Outputs of a few numbers a frame (scores, predicted IoU) are gathered over all frames: the error of two
numbers is a matter of luck, that of twenty is not.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.execution import fill
from parity.execution.case import Side, Spec

PARTS = ("sam_prompt_encoder", "sam_mask_decoder", "memory_attention", "memory_encoder")
"""The parts of a SAM 2 model whose outputs are recorded."""


def pictures(*shape: int) -> Spec:
    """Images [..., H, W], normalised: patches of 16 pixels with detail, so that neighbours are alike."""
    return Spec(shape, _picture)


def _picture(name: str, shape: tuple[int, ...]) -> np.ndarray:
    coarse_shape = (*shape[:-2], -(-shape[-2] // 16), -(-shape[-1] // 16))
    coarse = fill.uniform(f"{name}:coarse", coarse_shape, -1.6, 1.6)
    coarse = coarse.repeat(16, axis=-2).repeat(16, axis=-1)[..., : shape[-2], : shape[-1]]
    return np.asarray(coarse + fill.uniform(f"{name}:fine", shape, -0.6, 0.6))


def rectangles(height: int, width: int, *corners: tuple[int, int, int, int]) -> Spec:
    """Masks [N, 1, H, W], 1 inside a rectangle (left, top, right, bottom) and 0 outside."""

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        masks = np.zeros(shape)
        for mask, (left, top, right, bottom) in zip(masks, corners, strict=True):
            mask[0, top:bottom, left:right] = 1.0
        return masks

    return Spec((len(corners), 1, height, width), values)


@dataclass(frozen=True)
class Step:
    """One call of `track_step`.

    Attributes:
        frame: index into the input `frames`.
        prompt: the input that prompts: points, with their labels in the input `<prompt>_labels`, or, where there
            is no such input, a mask; empty for a frame that is only tracked.
        correct: the prompt corrects what is already known of the frame: its logits are given too.
        reverse: tracking runs backwards.
        remember: run the memory encoder.
        keep_tracked: what was tracked on a frame stays in memory beside the answer to its prompt.
    """

    frame: int
    prompt: str = ""
    correct: bool = False
    reverse: bool = False
    remember: bool = True
    keep_tracked: bool = False


@dataclass
class Calls:
    """What the recorded parts of a model were given and returned, since it was last asked."""

    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)


_watching = True


@contextmanager
def unwatched() -> Iterator[None]:
    """Record nothing meanwhile: hooks that several threads set on one model get into each other's way."""
    global _watching
    before, _watching = _watching, False
    try:
        yield
    finally:
        _watching = before


@contextmanager
def recorded(model: nn.Module, parts: Sequence[str] = PARTS) -> Iterator[Calls]:
    """Record the last call of each part, by forward hooks."""
    calls = Calls()
    if not _watching:
        yield calls
        return

    def hook(name: str) -> Any:
        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
            bound = inspect.signature(module.forward).bind(*args, **kwargs)
            calls.arguments[name] = dict(bound.arguments)
            calls.results[name] = copied(result)

        return record

    handles = [
        model.get_submodule(name).register_forward_hook(hook(name), with_kwargs=True) for name in parts
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def copied(result: Any) -> Any:
    """A copy of a nested result: some implementations change what they returned later."""
    if isinstance(result, Tensor):
        return result.detach().clone()
    if isinstance(result, Mapping):
        return {name: copied(value) for name, value in result.items()}
    if isinstance(result, list | tuple):
        return [copied(value) for value in result]
    return result


def encoded(net: Any, image: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    """A SAM 2 model's features of one image [1, 3, H, W]: the dict of `forward_image`."""
    features: dict[str, Any] = net.forward_image(image)
    features["vision_pos_enc"] = [encoding.to(dtype) for encoding in features["vision_pos_enc"]]
    return features


def prepared(net: Any, features: Mapping[str, Any], objects: int) -> tuple[Any, Any, Any]:
    """Features of one image, for several objects, as `track_step` takes them."""
    for_all = {
        name: [level.expand(objects, -1, -1, -1) for level in features[name]]
        for name in ("backbone_fpn", "vision_pos_enc")
    }
    _, maps, encodings, sizes = net._prepare_backbone_features({**features, **for_all})
    return maps, encodings, sizes


def tracked(side: Side, script: Sequence[Step], objects: int = 2) -> dict[str, Tensor]:
    """Run a script of frames and prompts through a SAM 2 model's `track_step`, as a video predictor would.

    Inputs of the case: `frames` [T, 3, S, S], and the prompts that the script names.

    Args:
        side: library, model and inputs.
        script: the steps, in order.
        objects: how many objects are tracked at once.

    Returns:
        Each output of `track_step` and of the parts, the steps that have it stacked; where the number of masks
        or tokens varies, it is a part of the name.
    """
    net, frames = side.net, side.inputs["frames"]
    known: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    features: dict[int, dict[str, Any]] = {}
    found = Stacks()
    with recorded(net) as calls:
        for step in script:
            if step.frame not in features:
                features[step.frame] = encoded(net, frames[step.frame : step.frame + 1], side.dtype)
                found.add_levels(features[step.frame])
            maps, encodings, sizes = prepared(net, features[step.frame], objects)
            points, mask = prompt(side.inputs, step.prompt)
            earlier = _take_back(known, step)
            calls.results.clear()
            result = net.track_step(
                frame_idx=step.frame,
                is_init_cond_frame=bool(step.prompt) and not step.correct,
                current_vision_feats=maps,
                current_vision_pos_embeds=encodings,
                feat_sizes=sizes,
                point_inputs=points,
                mask_inputs=mask,
                output_dict=known,
                num_frames=len(frames),
                track_in_reverse=step.reverse,
                run_mem_encoder=step.remember,
                prev_sam_mask_logits=earlier,
            )
            saved = {name: result.get(name) for name in _SAVED}
            known["cond_frame_outputs" if step.prompt else "non_cond_frame_outputs"][step.frame] = saved
            for name, value in saved.items():
                if value is not None:
                    found.add(name, value[-1] if isinstance(value, list) else value)
            _add_stages(found, net, calls, dense_varies=mask is not None or step.correct)
    return found.stacked()


class Stacks:
    """Outputs of several steps, gathered by name: the error of few numbers is luck, that of many is not."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Keep a copy: some implementations change later what they returned."""
        self._values.setdefault(name, []).append(value.detach().clone())

    def add_levels(self, features: Mapping[str, Any]) -> None:
        """What `forward_image` returned; position encodings are the same for all images."""
        for name in ("backbone_fpn", "vision_pos_enc"):
            for level, value in enumerate(features[name]):
                if name == "backbone_fpn" or f"{name}/{level}" not in self._values:
                    self.add(f"{name}/{level}", value)

    def stacked(self) -> dict[str, Tensor]:
        """Each name's values along a new first axis; where their widths differ, along the second that they have.

        The widths are then an output of their own, `<name>_widths`: so each frame's values can be told apart.
        """
        found: dict[str, Tensor] = {}
        for name, values in self._values.items():
            if len({value.shape for value in values}) > 1:
                found[name] = torch.cat(values, dim=1)
                found[f"{name}_widths"] = torch.tensor([value.shape[1] for value in values])
            else:
                found[name] = torch.stack(values)
        return found


_SAVED = (
    "pred_masks",
    "pred_masks_high_res",
    "obj_ptr",
    "object_score_logits",
    "maskmem_features",
    "maskmem_pos_enc",
)


def prompt(inputs: Mapping[str, Tensor], name: str) -> tuple[dict[str, Tensor] | None, Tensor | None]:
    """The prompt called `name`: points with labels, or a mask; neither where the name is empty."""
    if not name:
        return None, None
    labels = inputs.get(f"{name}_labels")
    if labels is None:
        return None, inputs[name]
    return {"point_coords": inputs[name], "point_labels": labels}, None


def _take_back(known: dict[str, dict[int, Any]], step: Step) -> Tensor | None:
    """Take what was tracked on a prompted frame out of memory, or let it stay; its logits, where they are corrected."""
    if not step.prompt:
        return None
    others = known["non_cond_frame_outputs"]
    tracked = others.get(step.frame) if step.keep_tracked else others.pop(step.frame, None)
    if not step.correct:
        return None
    earlier = tracked or known["cond_frame_outputs"][step.frame]
    logits: Tensor = earlier["pred_masks"]
    return logits.clamp(-32, 32)


def _add_stages(found: Stacks, net: Any, calls: Calls, dense_varies: bool) -> None:
    """What the parts gave in the last step, and what the decoder's choice of one mask was made from."""
    results = calls.results
    if "memory_attention" in results:
        found.add("conditioned", results["memory_attention"])
    if "sam_prompt_encoder" in results:
        sparse, dense = results["sam_prompt_encoder"]
        found.add(f"sparse_{sparse.shape[1]}", sparse)
        if dense_varies:
            found.add("dense", dense)
    if "sam_mask_decoder" in results:
        masks, ious, tokens, _ = results["sam_mask_decoder"]
        arguments = calls.arguments["sam_mask_decoder"]
        found.add(f"decoded_{masks.shape[1]}", masks)
        found.add("ious", ious)
        found.add(f"tokens_{tokens.shape[1]}", tokens)
        if not arguments["multimask_output"]:
            masks, ious, _, _ = net.sam_mask_decoder(**{**arguments, "multimask_output": True})
            found.add("candidates", masks)
            found.add("ious", ious)
