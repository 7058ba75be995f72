"""What the image encoder made of pictures, kept apart from the predictor and bound to its weights and its pictures."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from samblocks.files import write_atomically
from samblocks.predict.transforms import Size

_FORMAT: Final = "samblocks embedding 1"


@dataclass(frozen=True)
class Embedding:
    """Features of pictures, with what they belong to.

    Attributes:
        tensors: by name; "image_embed" [B, C, H, W], and of SAM 2 the finer maps "high_res_feats.0" and so on.
        weights: sha256 of all that the features depend on in the model.
        pictures: sha256 of each picture's pixels.
        original: height and width of each picture.
        inside: height and width that each takes up in the model's input.
        batch: whether they were given as several pictures.
    """

    tensors: Mapping[str, Tensor]
    weights: str
    pictures: tuple[str, ...]
    original: tuple[Size, ...]
    inside: tuple[Size, ...]
    batch: bool

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all."""
        facts = {
            "weights": self.weights,
            "pictures": self.pictures,
            "original": self.original,
            "inside": self.inside,
            "batch": self.batch,
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        metadata = {"format": _FORMAT, "embedding": json.dumps(facts)}
        with write_atomically(path) as stream:
            stream.write(safetensors.torch.save(tensors, metadata))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Embedding:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is something else, or damaged.
            OSError: it cannot be read.
        """
        raw = Path(path).read_bytes()
        try:
            header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
            if header["__metadata__"]["format"] != _FORMAT:
                raise ValueError("another format")
            facts = json.loads(header["__metadata__"]["embedding"])
            tensors = safetensors.torch.load(raw)
            return cls(
                tensors,
                str(facts["weights"]),
                tuple(str(one) for one in facts["pictures"]),
                _sizes(facts["original"]),
                _sizes(facts["inside"]),
                bool(facts["batch"]),
            )
        except (KeyError, TypeError, ValueError, RecursionError, SafetensorError):
            raise ValueError(f"{path} holds no embedding that get_embedding wrote") from None


def hash_of_picture(pixels: NDArray[np.generic] | Tensor) -> str:
    """sha256 of a picture's size, kind and values."""
    kind = f"{pixels.dtype} {tuple(pixels.shape)}"
    if isinstance(pixels, Tensor):
        pixels = pixels.detach().cpu().contiguous().view(torch.uint8).numpy()
    digest = hashlib.sha256(kind.encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def hash_of_weights(model: nn.Module, beginnings: Sequence[str], side: int) -> str:
    """sha256 of the tensors whose names begin with one of some strings, and of the input's side."""
    digest = hashlib.sha256(str(side).encode())
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(tuple(beginnings)):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sizes(values: Sequence[Sequence[int]]) -> tuple[Size, ...]:
    return tuple((int(height), int(width)) for height, width in values)
