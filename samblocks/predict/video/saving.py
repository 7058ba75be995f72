"""States in files: everything that is known of a video, in one safetensors file, but for the video itself."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from samblocks.errors import CheckpointError
from samblocks.files import write_atomically
from samblocks.image_size import image_sides, image_size_of
from samblocks.predict.embeddings import hash_of_weights
from samblocks.predict.in_memory import packed, unpacked
from samblocks.predict.video.clips import Clip, Stream
from samblocks.predict.video.settings import Settings
from samblocks.predict.video.sources import open_clip
from samblocks.predict.video.state import Output, State, Track
from samblocks.predict.video.tracked import TrackedFrames

SomeState = TypeVar("SomeState", bound=State)

_FORMAT: Final = "samblocks video state 1"
_TENSORS: Final = ("pred_masks", "maskmem_features", "obj_ptr", "object_score_logits")


def save(state: State, path: str | os.PathLike[str]) -> None:
    """Write a state; see `VideoState.save`."""
    clip = state.clip
    tensors: dict[str, Tensor] = {}
    for number, encoding in enumerate(state.memory_encodings or []):
        tensors[f"encodings/{number}"] = encoding
    if isinstance(clip, Stream):
        tensors |= {f"held/{frame}": torch.from_numpy(pixels) for frame, pixels in clip.held.items()}
    about = {
        "format": _FORMAT,
        "weights": _weights(state.settings),
        "policies": state.settings.policies(),
        "history": state.history,
        "image_size": state.settings.image_size,
        "source": str(_path(clip)) if _path(clip) else None,
        "size": [clip.height, clip.width],
        "count": clip.count,
        "read": clip.read if isinstance(clip, Stream) else None,
        "last": state.last,
        "visited": state.visited,
        "offloaded": state.storage_device != state.settings.device,
        "serial": next(state.serials),
        "tracks": [
            _track(obj_id, track, tensors, i) for i, (obj_id, track) in enumerate(state.tracks.items())
        ],
    }
    own, axes = packed(tensors)
    with write_atomically(path) as stream:
        stream.write(save_tensors(own, metadata={"state": json.dumps(about), **axes}))


def resume(
    kind: type[SomeState], settings: Settings, path: str | os.PathLike[str], video_path: Any
) -> SomeState:
    """Read a state; see `VideoPredictor.resume`."""
    tensors, about = _read(path)
    for what, saved, own in (
        ("image size", image_size_of(*image_sides(about["image_size"])), settings.image_size),
        ("weights", about["weights"], _weights(settings)),
        *((name, about["policies"].get(name), value) for name, value in settings.policies().items()),
    ):
        if saved != own:
            raise ValueError(f"{path}: was saved with {what} {saved}, the predictor has {own}")
    clip = _clip(settings, about, tensors, video_path)
    if (clip.height, clip.width) != tuple(about["size"]) or (clip.count or about["count"]) != about["count"]:
        height, width = about["size"]
        raise ValueError(
            f"video_path: has {clip.count} frames of {clip.width} x {clip.height} pixels, "
            f"but {path} was saved for {about['count']} of {width} x {height}"
        )
    state = kind(settings, clip, offload_state_to_cpu=about["offloaded"], history=about["history"])
    state.last, state.visited = about["last"], about["visited"]
    state.serials = count(about["serial"])
    encodings = [name for name in tensors if name.startswith("encodings/")]
    if encodings:
        state.encodings([tensors[name].to(settings.device) for name in sorted(encodings)])
    for number, saved in enumerate(about["tracks"]):
        state.tracks[saved["obj_id"]] = _restored(state, saved, tensors, number)
    return state


def _weights(settings: Settings) -> str:
    return hash_of_weights(settings.model, [""], settings.image_size)


def _track(obj_id: Any, track: Track, tensors: dict[str, Tensor], number: int) -> dict[str, Any]:
    """What is written of an object beside its tensors, which are added to `tensors`."""
    if isinstance(obj_id, bool) or not isinstance(obj_id, int | str):
        raise ValueError(f"obj_id={obj_id!r}: only numbers and strings can be saved")
    for frame, points in track.points.items():
        for name, values in points.items():
            tensors[f"{number}/points/{frame}/{name}"] = values
    for frame, mask in track.masks.items():
        tensors[f"{number}/masks/{frame}"] = mask
    outputs = []
    for place in ("outputs", "pending"):
        for role, frames in getattr(track, place).items():
            for frame, output in frames.items():
                key = f"{number}/{place}/{role}/{frame}"
                tensors |= {f"{key}/{name}": output[name] for name in _TENSORS if output[name] is not None}
                outputs.append([place, role, frame, output["serial"], output["reads"]])
    return {
        "obj_id": obj_id,
        "outputs": outputs,
        "tracked": track.tracked.runs,
        "corrected": sorted(track.corrected),
        "points": list(track.points),
        "masks": list(track.masks),
    }


def _restored(state: State, saved: dict[str, Any], tensors: dict[str, Tensor], number: int) -> Track:
    device = state.settings.device
    track = Track(
        tracked=TrackedFrames([(first, last, reverse) for first, last, reverse in saved["tracked"]]),
        corrected=set(saved["corrected"]),
    )
    for frame in saved["points"]:
        track.points[frame] = {
            name: tensors[f"{number}/points/{frame}/{name}"].to(device)
            for name in ("point_coords", "point_labels")
        }
    for frame in saved["masks"]:
        track.masks[frame] = tensors[f"{number}/masks/{frame}"].to(device)
    for place, role, frame, serial, reads in saved["outputs"]:
        found = {name: tensors.get(f"{number}/{place}/{role}/{frame}/{name}") for name in _TENSORS}
        stored = ("pred_masks", "maskmem_features")
        output: Output = {
            name: None if value is None else value.to(state.storage_device if name in stored else device)
            for name, value in found.items()
        }
        output["maskmem_pos_enc"] = None if found["maskmem_features"] is None else state.memory_encodings
        output["serial"] = serial
        output["reads"] = None if reads is None else tuple(tuple(entry) for entry in reads)
        getattr(track, place)[role][frame] = output
    return track


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("state", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            tensors = unpacked(tensors, file.metadata())
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is no saved state of a video: {error}") from None
    if about.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is no saved state of a video; make one by state.save(path)")
    return tensors, about


def _clip(settings: Settings, about: dict[str, Any], tensors: dict[str, Tensor], video_path: Any) -> Clip:
    """The video that a state goes on with."""
    if about["read"] is None:
        if video_path is None and about["source"] is None:
            raise ValueError("video_path: the state was made of an array, which must be given again")
        return open_clip(about["source"] if video_path is None else video_path, settings.image_size)
    held = {
        int(name.removeprefix("held/")): np.ascontiguousarray(tensor.numpy())
        for name, tensor in tensors.items()
        if name.startswith("held/")
    }
    rest = () if video_path is None else video_path
    keep, size = about["history"] == "all", (about["size"][0], about["size"][1])
    return Stream(settings.image_size, rest, keep=keep, held=held, start=about["read"], size=size)


def _path(clip: Clip) -> Path | None:
    path: Path | None = getattr(clip, "path", None)  # folders and video files have one
    return None if path is None else path.resolve()
