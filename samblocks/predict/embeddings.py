"""What the image encoder made of pictures, kept apart from the predictor and bound to its weights and its pictures."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from samblocks.files import write_atomically
from samblocks.image_size import ImageSize
from samblocks.predict.in_memory import packed, unpacked
from samblocks.predict.transforms import Size

_FORMAT: Final = "samblocks embedding 1"


@dataclass(frozen=True)
class Embedding:
    """Features of pictures, with what they belong to.

    Attributes:
        tensors: by name; "image_embed" [B, C, H, W], and beside SAM 1 the finer maps "high_res_feats.0" and so on.
        weights: sha256 of all that the features depend on in the model.
        preprocessing: sha256 of how pictures become the model's input.
        pictures: sha256 of each picture's pixels.
        original: height and width of each picture.
        inside: height and width that each takes up in the model's input.
        batch: whether they were given as several pictures.
        keys: what each picture is called in its data set; empty where it is of none.
    """

    tensors: Mapping[str, Tensor]
    weights: str
    preprocessing: str
    pictures: tuple[str, ...]
    original: tuple[Size, ...]
    inside: tuple[Size, ...]
    batch: bool
    keys: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all."""
        facts = {name: value for name, value in vars(self).items() if name != "tensors"}
        tensors, axes = packed(self.tensors)
        metadata = {"format": _FORMAT, "embedding": json.dumps(facts), **axes}
        with write_atomically(path) as stream:
            stream.write(safetensors.torch.save(tensors, metadata))

    @classmethod
    def read(cls, path: str | os.PathLike[str], row: int | None = None) -> Embedding:
        """Read what `save` wrote.

        Args:
            path: the file.
            row: of several pictures the one to read, which then stands alone; no others are read.

        Raises:
            ValueError: the file is something else, or damaged.
            OSError: it cannot be read.
        """
        with open(path, "rb"):  # a file that is missing or locked away is named by the system's own error
            pass
        try:
            with safe_open(path, framework="pt") as file:
                whole = cls.of_metadata(file.metadata())
                some = slice(None) if row is None else slice(row, row + 1)
                tensors = {
                    name: file.get_tensor(name) if row is None else file.get_slice(name)[some]
                    for name in list(file.keys())
                }
                tensors = unpacked(tensors, file.metadata())
        except (KeyError, TypeError, ValueError, RecursionError, SafetensorError):
            raise ValueError(f"{path} holds no embedding that get_embedding or embed wrote") from None
        if row is None:
            return replace(whole, tensors=tensors)
        each = {name: getattr(whole, name)[some] for name in ("pictures", "original", "inside", "keys")}
        return replace(whole, tensors=tensors, batch=False, **each)

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str] | None) -> Embedding:
        """What a file says of its pictures, without the tensors.

        Raises:
            ValueError: this is no embedding's metadata. KeyError and TypeError: it is damaged.
        """
        if metadata is None or metadata["format"] != _FORMAT:
            raise ValueError("another format")
        facts = json.loads(metadata["embedding"])
        return cls(
            {},
            str(facts["weights"]),
            str(facts["preprocessing"]),
            tuple(str(one) for one in facts["pictures"]),
            _sizes(facts["original"]),
            _sizes(facts["inside"]),
            bool(facts["batch"]),
            tuple(str(one) for one in facts["keys"]),
        )


def named(features: Any) -> dict[str, Tensor]:
    """What an image encoder gave, one map or maps of several kinds, as tensors by name."""
    if not isinstance(features, dict):
        return {"image_embed": features}
    finer = {f"high_res_feats.{i}": level for i, level in enumerate(features["high_res_feats"])}
    return {"image_embed": features["image_embed"], **finer}


def hash_of_picture(pixels: NDArray[np.generic] | Tensor) -> str:
    """sha256 of a picture's size, kind and values."""
    kind = f"{pixels.dtype} {tuple(pixels.shape)}"
    if isinstance(pixels, Tensor):
        pixels = pixels.detach().cpu().contiguous().view(torch.uint8).numpy()
    digest = hashlib.sha256(kind.encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def hash_of_text(text: str) -> str:
    """sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of_weights(model: nn.Module, beginnings: Sequence[str], size: ImageSize) -> str:
    """sha256 of the tensors whose names begin with one of some strings, and of the input's size."""
    digest = hashlib.sha256(str(size).encode())
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(tuple(beginnings)):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sizes(values: Sequence[Sequence[int]]) -> tuple[Size, ...]:
    return tuple((int(height), int(width)) for height, width in values)
