"""Tracking with transformers' video model through the reference page's `track_step`.

The reference page's call is told all that is known of other frames; transformers keeps it in a session. So each
step gets a session that holds what the call was given, runs the model's own `forward` on it, and takes the results out
again. What the parts were given meanwhile is recorded, and handed out when they are called by those names.
"""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter
from parity.references.transformers import decoder, memory

_PARTS = ("prompt_encoder", "mask_decoder", "memory_attention", "memory_encoder")
_GROUPS = ("cond_frame_outputs", "non_cond_frame_outputs")
_OUTPUTS = {
    "pred_masks": "pred_masks",
    "pred_masks_high_res": "high_res_masks",
    "obj_ptr": "object_pointer",
    "object_score_logits": "object_score_logits",
    "maskmem_features": "maskmem_features",
    "maskmem_pos_enc": "maskmem_pos_enc",
}
"""What the reference page calls a step's outputs → what a session calls them."""


class Encoder(Adapter):
    """A prompt encoder, called by keyword."""

    def forward(self, points: Any = None, boxes: Any = None, masks: Any = None) -> Any:
        """See the reference page's PromptEncoder."""
        return super().forward(points=points, boxes=boxes, masks=masks)


class Decoder(Adapter):
    """A mask decoder, whose arguments can be read from a record of the call."""

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: list[Tensor] | None = None,
    ) -> Any:
        """See the reference page's SAM2MaskDecoder."""
        return super().forward(
            image_embeddings=image_embeddings,
            image_pe=image_pe,
            sparse_prompt_embeddings=sparse_prompt_embeddings,
            dense_prompt_embeddings=dense_prompt_embeddings,
            multimask_output=multimask_output,
            repeat_image=repeat_image,
            high_res_features=high_res_features,
        )


class Tracker:
    """Runs single frames of a video model, and answers for its parts what they gave in the last frame."""

    def __init__(self, inner: Any, binarize: bool) -> None:
        self._inner, self._binarize = inner, binarize
        self._answers: dict[str, Any] = {}

    def attend(self, inner: Any, *args: Any, **kwargs: Any) -> Any:
        """The reference page's call on memory attention."""
        return self._answer("memory_attention", lambda: memory.attend(inner, *args, **kwargs))

    def encode_memory(self, inner: Any, *args: Any, **kwargs: Any) -> Any:
        """The reference page's call on the memory encoder."""
        return self._answer("memory_encoder", lambda: memory.encode_memory(inner, *args, **kwargs))

    def encode_prompts(self, inner: Any, **given: Any) -> Any:
        """The reference page's call on the prompt encoder."""
        return self._answer("prompt_encoder", lambda: decoder.encode_prompts(inner, **given))

    def decode(self, inner: Any, **given: Any) -> Any:
        """The reference page's call on the mask decoder."""
        return self._answer("mask_decoder", lambda: _decode_each(inner, **given))

    def _answer(self, name: str, compute: Any) -> Any:
        return self._answers.pop(name) if name in self._answers else compute()

    def step(
        self,
        whole: Any,
        *,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: list[Tensor],
        current_vision_pos_embeds: list[Tensor],
        feat_sizes: Any,
        point_inputs: Mapping[str, Tensor] | None,
        mask_inputs: Tensor | None,
        output_dict: Mapping[str, Mapping[int, Any]],
        num_frames: int,
        track_in_reverse: bool,
        run_mem_encoder: bool,
        prev_sam_mask_logits: Tensor | None,
    ) -> dict[str, Any]:
        """See the reference page's `SAM2Model.track_step`."""
        conditioning, tracked_ones = (output_dict[group] for group in _GROUPS)
        if frame_idx in conditioning or conditioning.keys() & tracked_ones.keys():
            raise NoCounterpart("has a session that keeps one answer a frame, and none for the frame at hand")
        if self._inner.training:
            raise NoCounterpart("runs its session in evaluation only")
        objects, dtype = current_vision_feats[-1].shape[1], current_vision_feats[-1].dtype
        session = _session(objects, num_frames, dtype)
        _remember(session, output_dict, frame_idx)
        # One image for all objects: what is cached is that of the first.
        cached = {"vision_feats": current_vision_feats, "vision_pos_embeds": current_vision_pos_embeds}
        session.cache.cache_vision_features(
            frame_idx, {name: [level[:, :1] for level in levels] for name, levels in cached.items()}
        )
        prompted = _prompt(session, frame_idx, point_inputs, mask_inputs)
        if prompted and not is_init_cond_frame:
            for tracked in session.frames_tracked_per_obj.values():
                tracked[frame_idx] = {"reverse": track_in_reverse}
        with (
            self._corrections(prev_sam_mask_logits),
            self._binarizing(),
            _memory_in(dtype),
            self._recorded() as calls,
        ):
            self._inner(
                session, frame_idx=frame_idx, reverse=track_in_reverse, run_mem_encoder=run_mem_encoder
            )
        self._hand_out(whole, calls, masked=mask_inputs is not None)
        # A prompt on a frame that was tracked before is kept with the tracked ones.
        stored = [
            next(group[frame_idx] for name in _GROUPS if frame_idx in (group := outputs[name]))
            for outputs in session.output_dict_per_obj.values()
        ]
        return {
            name: _taken(name, [value[theirs] for value in stored])
            for name, theirs in _OUTPUTS.items()
            if all(value.get(theirs) is not None for value in stored)
        }

    @contextmanager
    def _corrections(self, logits: Tensor | None) -> Iterator[None]:
        """`forward` never hands the earlier logits of a corrected mask on, though the method it calls takes them."""
        if logits is None:
            yield
            return
        run = self._inner._run_single_frame_inference

        def with_logits(*args: Any, **kwargs: Any) -> Any:
            place = kwargs["obj_idx"]
            return run(*args, **{**kwargs, "prev_sam_mask_logits": logits[place : place + 1]})

        with mock.patch.object(self._inner, "_run_single_frame_inference", with_logits):
            yield

    @contextmanager
    def _binarizing(self) -> Iterator[None]:
        """`forward` makes masks that answer to points binary before they are remembered: a setting elsewhere."""
        if self._binarize:
            yield
            return
        encode = self._inner._batch_encode_memories

        def without(*args: Any, **kwargs: Any) -> Any:
            flags = [False for _ in kwargs["is_mask_from_pts_per_obj"]]
            return encode(*args, **{**kwargs, "is_mask_from_pts_per_obj": flags})

        with mock.patch.object(self._inner, "_batch_encode_memories", without):
            yield

    @contextmanager
    def _recorded(self) -> Iterator[dict[str, list[tuple[dict[str, Any], Any]]]]:
        """What the parts are given by keyword, and give, while the context lasts."""
        calls: dict[str, list[tuple[dict[str, Any], Any]]] = {name: [] for name in _PARTS}

        def record(name: str, module: nn.Module, args: Any, kwargs: dict[str, Any], result: Any) -> None:
            calls[name].append((kwargs, result))

        handles = [
            self._inner.get_submodule(name).register_forward_hook(
                functools.partial(record, name), with_kwargs=True
            )
            for name in _PARTS
        ]
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()

    def _hand_out(
        self, whole: Any, calls: Mapping[str, list[tuple[dict[str, Any], Any]]], masked: bool
    ) -> None:
        """Call the parts by the reference page's names once each: they answer with what they gave for all objects.

        Where a mask is the prompt, `forward` asks its decoder for three masks, of which it uses one's token, and
        the reference page's asks for one: so the decoder is asked again.
        """
        if attended := calls["memory_attention"]:
            self._answers["memory_attention"] = torch.cat([memory.attended(r) for _, r in attended], dim=1)
            whole.memory_attention()
        if encoded := calls["prompt_encoder"]:
            sparse, dense = zip(*(result for _, result in encoded), strict=True)
            self._answers["prompt_encoder"] = (torch.cat(sparse).squeeze(1), torch.cat(dense))
            whole.sam_prompt_encoder()
        if decoded := calls["mask_decoder"]:
            if not masked:
                results = zip(*(result for _, result in decoded), strict=True)
                self._answers["mask_decoder"] = tuple(torch.cat(values).squeeze(1) for values in results)
            given = [kwargs for kwargs, _ in decoded]
            levels = zip(*(kwargs["high_resolution_features"] for kwargs in given), strict=True)
            whole.sam_mask_decoder(
                image_embeddings=_joined(given, "image_embeddings"),
                image_pe=given[0]["image_positional_embeddings"],
                sparse_prompt_embeddings=_joined(given, "sparse_prompt_embeddings").squeeze(1),
                dense_prompt_embeddings=_joined(given, "dense_prompt_embeddings"),
                multimask_output=given[0]["multimask_output"] and not masked,
                repeat_image=False,
                high_res_features=[torch.cat(level) for level in levels],
            )


def _decode_each(inner: nn.Module, image_embeddings: Tensor, **given: Any) -> Any:
    """Objects with features of their own one by one, as `forward` does: so equal masks are equal to the bit."""
    items = image_embeddings.shape[0]
    if items == 1:
        return decoder.decode(inner, image_embeddings=image_embeddings, **given)
    levels, common = given.pop("high_res_features"), given.pop("image_pe")
    settings = {name: given.pop(name) for name in ("multimask_output", "repeat_image")}
    found = [
        decoder.decode(
            inner,
            image_embeddings=image_embeddings[item : item + 1],
            image_pe=common,
            high_res_features=[level[item : item + 1] for level in levels],
            **{name: value[item : item + 1] for name, value in given.items()},
            **settings,
        )
        for item in range(items)
    ]
    return tuple(torch.cat(values) for values in zip(*found, strict=True))


def _joined(given: list[dict[str, Any]], name: str) -> Tensor:
    return torch.cat([kwargs[name] for kwargs in given])


@contextmanager
def _memory_in(dtype: torch.dtype) -> Iterator[None]:
    """A session keeps memory rounded to bfloat16; here that type's name stands for the run's."""
    with mock.patch.object(torch, "bfloat16", dtype):
        yield


def _session(objects: int, frames: int, dtype: torch.dtype) -> Any:
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    # The pictures themselves are never looked at: features are cached.
    video = torch.zeros(frames, 3, 1, 1, dtype=dtype)
    session = Sam2VideoInferenceSession(video=video, video_height=1, video_width=1, dtype=dtype)
    for number in range(objects):
        session.obj_id_to_idx(number + 1)
    return session


def _remember(session: Any, known: Mapping[str, Mapping[int, Any]], now: int) -> None:
    """Put into the session what is known of other frames, object by object."""
    for place, outputs in session.output_dict_per_obj.items():
        for group in _GROUPS:
            for frame, values in known[group].items():
                if frame != now:
                    outputs[group][frame] = {
                        theirs: _given(name, values[name], place)
                        for name, theirs in _OUTPUTS.items()
                        if values.get(name) is not None
                    }


def _given(name: str, value: Any, place: int) -> Tensor:
    """One object's part of an output as the reference page has it, as a session keeps it."""
    own: Tensor = (value[-1] if isinstance(value, list) else value)[place : place + 1]
    if name in ("maskmem_features", "maskmem_pos_enc"):
        return own.flatten(2).permute(2, 0, 1)
    return own.unsqueeze(1) if name in ("obj_ptr", "object_score_logits") else own


def _taken(name: str, values: list[Tensor]) -> Any:
    """All objects' outputs as a session keeps them, as the reference page has them."""
    if name in ("maskmem_features", "maskmem_pos_enc"):
        joined = torch.cat(values, dim=1)
        side = round(joined.shape[0] ** 0.5)
        maps = joined.permute(1, 2, 0).reshape(joined.shape[1], joined.shape[2], side, side)
        return [maps] if name == "maskmem_pos_enc" else maps
    joined = torch.cat(values)
    return joined.squeeze(1) if name in ("obj_ptr", "object_score_logits") else joined


def _prompt(session: Any, frame: int, points: Mapping[str, Tensor] | None, masks: Tensor | None) -> bool:
    """Give each object its prompt; whether there is one."""
    for place in session.output_dict_per_obj:
        if points is not None:
            own = {name: value[place : place + 1].unsqueeze(1) for name, value in points.items()}
            session.add_point_inputs(place, frame, own)
        if masks is not None:
            session.add_mask_inputs(place, frame, masks[place : place + 1])
    prompted = points is not None or masks is not None
    session.obj_with_new_inputs = list(session.obj_ids) if prompted else []
    return prompted
