"""Checkpoints in several files, with an index that says which tensor is in which: read as one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from samblocks.checkpoints.reading.mapped import MappedFile
from samblocks.errors import CheckpointError, printable

LARGEST_JSON: Final = 2**24
MOST_SHARDS: Final = 1000
_CHECKPOINTS: Final = (".pt", ".pth", ".safetensors")
_WHOLE: Final = ("model.safetensors", "pytorch_model.bin")


def meant(path: Path) -> Path:
    """The file that a folder of huggingface's stands for: its index of shards, or the one file beside config.json."""
    if not path.is_dir():
        return path
    names = sorted(entry.name for entry in path.iterdir())
    indexes = [name for name in names if name.endswith(".index.json")]
    if indexes:
        return path / next((name for name in indexes if "safetensors" in name), indexes[0])
    if "config.json" in names:
        return next((path / name for name in _WHOLE if name in names), path)
    return path


def read_index(path: Path) -> Mapping[str, str]:
    """Tensor to shard, from a file that ends in `.index.json`.

    Raises:
        CheckpointError: it is no such index, or names files outside its own folder.
    """
    weights = read_json(path).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{path} is no index of shards: it has no weight_map.")
    for shard in {shard if isinstance(shard, str) else "" for shard in weights.values()}:
        if os.path.basename(shard) != shard or shard in ("", ".", "..") or "\\" in shard:
            raise CheckpointError(
                f"{path} names a shard that is no file of its folder, '{printable(shard)}'."
            )
    if len(set(weights.values())) > MOST_SHARDS:
        raise CheckpointError(f"{path} names more than {MOST_SHARDS:,} shards.")
    return weights


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file that holds one object.

    Raises:
        CheckpointError: it cannot be read, is too large, or is something else.
    """
    file = MappedFile(path, mmap=False)
    if file.size > LARGEST_JSON:
        raise CheckpointError(f"{path} has {file.size:,} bytes, more than any index or configuration.")
    try:
        made = json.loads(file.bytes(0, file.size).decode())
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path} is no JSON.") from None
    if not isinstance(made, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return made


def sizes_beside(path: Path) -> tuple[int | None, int | None]:
    """Image size and number of memories that a configuration beside a file says: of transformers, or of sam2.

    Args:
        path: the checkpoint file or its index.

    Returns:
        The side of the images in pixels and the frames in memory, each None where nothing is said, or nothing that
        could be meant: another library's configuration, or none, is no error.
    """
    try:
        config = read_json(path.parent / "config.json")
    except CheckpointError:
        return _sizes_of_hydra(path)
    if not str(config.get("model_type", "")).startswith("sam"):
        return _sizes_of_hydra(path)
    sides = [side for side in map(_side, _image_sizes(config)) if side is not None]
    frames = config.get("num_maskmem")
    return sides[0] if sides else None, frames if type(frames) is int and 0 < frames < 100 else None


_HYDRA: Final = re.compile(r"^\s+(image_size|num_maskmem)\s*:\s*(\d{1,5})\s*(?:#.*)?$", re.MULTILINE)


def _sizes_of_hydra(path: Path) -> tuple[int | None, int | None]:
    """The same from one of sam2's own configurations: with the file's name, or alone beside it."""
    beside = path.with_suffix(".yaml")
    try:
        if not beside.is_file():
            names = [entry for entry in path.parent.iterdir() if entry.suffix in (".yaml", *_CHECKPOINTS)]
            beside = next((entry for entry in names if entry.suffix == ".yaml"), beside)
            if len(names) != 2 or path not in names:
                return None, None
        file = MappedFile(beside, mmap=False)
        text = file.bytes(0, file.size).decode() if file.size <= LARGEST_JSON else ""
    except (CheckpointError, OSError, ValueError):
        return None, None
    said = set(_HYDRA.findall(text)) if "_target_: sam2." in text else set()
    image, frames = (
        [int(value) for name, value in said if name == key] for key in ("image_size", "num_maskmem")
    )
    return _side(image[0]) if len(image) == 1 else None, frames[0] if len(frames) == 1 else None


def _image_sizes(config: Mapping[str, Any]) -> Iterator[object]:
    """What the parts of a configuration say, the image encoder first."""
    vision = config.get("vision_config")
    if isinstance(vision, dict):
        backbone = vision.get("backbone_config")
        yield vision.get("image_size")
        if isinstance(backbone, dict):
            yield backbone.get("image_size")
    prompt = config.get("prompt_encoder_config")
    if isinstance(prompt, dict):
        yield prompt.get("image_size")
    yield config.get("image_size")


def _side(value: object) -> int | None:
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    return value if type(value) is int and 0 < value < 2**16 else None
