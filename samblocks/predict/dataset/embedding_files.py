"""Embeddings of a data set: shards, each an embedding of several pictures, and an index.

A shard takes its name when it is whole, and says of itself which pictures it holds and what they are bound to. The
index says the same of all shards, and is made of what they say: where it is older than they are, as after a process
was killed, the shards count.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from samblocks.files import write_text
from samblocks.locks import file_lock
from samblocks.predict.embeddings import Embedding

INDEX: Final = "index.json"
_FORMAT: Final = "samblocks embeddings 1"
_SHARD: Final = re.compile(r"embeddings-(\d{8})\.safetensors")
_LOCK: Final = ".lock"


def shard_name(number: int) -> str:
    """The file of a shard."""
    return f"embeddings-{number:08d}.safetensors"


class EmbeddingFiles(Mapping[str, Embedding]):
    """Embeddings of a data set, by key, read when they are asked for.

    Args:
        folder: what `samblocks embed` wrote, whole or not.

    Raises:
        ValueError: the folder holds no embeddings, or a file in it is damaged.

    Examples:
        >>> import tempfile
        >>> from samblocks.predict.embeddings import Embedding
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     one = Embedding({"image_embed": torch.zeros(1, 2, 3, 3)}, "weights", "preprocessing",
        ...                     ("hash",), ((6, 9),), ((3, 3),), True, ("cat.jpg",))
        ...     one.save(f"{folder}/embeddings-00000000.safetensors")
        ...     found = EmbeddingFiles(folder)
        ...     list(found), found["cat.jpg"].tensors["image_embed"].shape
        (['cat.jpg'], torch.Size([1, 2, 3, 3]))
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.shards = dict(_shards(self.folder))
        if not self.shards:
            raise ValueError(f"{folder} holds no embeddings: samblocks embed writes them")
        self.weights, self.preprocessing = bound_to(self.shards.values(), self.folder)
        self._places = {
            key: (number, row) for number, shard in self.shards.items() for row, key in enumerate(shard.keys)
        }

    def __getitem__(self, key: str) -> Embedding:
        """What `ImagePredictor.set_embedding` takes for one picture."""
        number, row = self._places[key]
        found = Embedding.read(self.folder / shard_name(number), row)
        if found.keys != (key,):
            raise ValueError(f"{self.folder / shard_name(number)} is not what it was when it was opened")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @staticmethod
    def save_index(folder: str | os.PathLike[str]) -> None:
        """Write the index of what is in a folder."""
        shards = dict(_shards(Path(folder)))
        if shards:
            weights, preprocessing = bound_to(shards.values(), Path(folder))
            index: dict[str, Any] = {"format": _FORMAT, "weights": weights, "preprocessing": preprocessing}
            index["shards"] = {shard_name(number): _said(shard) for number, shard in shards.items()}
            write_text(Path(folder, INDEX), json.dumps(index, indent=1, ensure_ascii=False))


class EmbeddingWriter:
    """Adds shards to a folder, old or new.

    Args:
        folder: it is made where it is missing.
        weights: hash of the weights; other embeddings do not belong into the folder.
        preprocessing: hash of the preprocessing; the same.

    Raises:
        ValueError: the folder holds embeddings of other weights or of another preprocessing, or a damaged file.

    Attributes:
        done: keys of the pictures whose embeddings are there.
        next: the number of the next shard.
    """

    def __init__(self, folder: Path, weights: str, preprocessing: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.weights, self.preprocessing = folder, weights, preprocessing
        shards = dict(_shards(folder))
        if shards and bound_to(shards.values(), folder) != (weights, preprocessing):
            raise ValueError(
                f"{folder} holds embeddings of other weights, or of pictures that were prepared in another way: "
                "name another folder"
            )
        self.done = {key for shard in shards.values() for key in shard.keys}
        self.next = max(shards, default=-1) + 1
        (folder / INDEX).unlink(missing_ok=True)  # from now on the shards say more than it does

    def write(self, parts: Sequence[Embedding]) -> None:
        """Write the next shard, if there is something in it: embeddings of batches of pictures."""
        if parts:
            self.write_shard(self.folder, self.next, parts)
            self.done.update(key for part in parts for key in part.keys)
            self.next += 1

    @staticmethod
    def write_shard(folder: Path, number: int, parts: Sequence[Embedding]) -> None:
        """Write one shard, if there is something in it; whoever calls it has seen to what belongs into the folder."""
        if not parts:
            return
        tensors = {name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors}
        joined: dict[str, Any] = {
            name: tuple(value for part in parts for value in getattr(part, name))
            for name in ("pictures", "original", "inside", "keys")
        }
        replace(parts[0], tensors=tensors, batch=True, **joined).save(folder / shard_name(number))


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder.

    Raises:
        ValueError: another process does so.
    """

    def refuse() -> None:
        raise ValueError(f"another process writes into {folder}: wait for it, or name another folder")

    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / _LOCK, waiting=refuse):
        yield


def bound_to(shards: Any, folder: Path) -> tuple[str, str]:
    """The hashes of weights and preprocessing that all shards have."""
    found = {(shard.weights, shard.preprocessing) for shard in shards}
    if len(found) != 1:
        raise ValueError(
            f"{folder} holds embeddings of several weights or preprocessings: they do not belong together"
        )
    only: tuple[str, str] = found.pop()
    return only


def _shards(folder: Path) -> Iterator[tuple[int, Embedding]]:
    """What each shard says, by number; of the index where it says so, else from the shard itself."""
    index = _read_index(folder)
    if not folder.is_dir():
        return
    for name in sorted(os.listdir(folder)):
        matched = _SHARD.fullmatch(name)
        if matched is None:
            continue
        said = index.get(name)
        yield int(matched[1]), _header(folder / name) if said is None else said


def _header(file: Path) -> Embedding:
    try:
        with safe_open(file, framework="pt") as opened:
            found = Embedding.of_metadata(opened.metadata())
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError):
        raise ValueError(f"{file} is damaged: delete it, and run samblocks embed again") from None
    if len(found.keys) != len(found.pictures):
        raise ValueError(f"{file} is an embedding, but of no data set: put it elsewhere")
    return found


def _said(shard: Embedding) -> dict[str, Any]:
    return {"pictures": dict(zip(shard.keys, shard.pictures, strict=True))}


def _read_index(folder: Path) -> dict[str, Embedding]:
    """What the index says of each shard; nothing where there is no index, or none that can be read."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["format"] != _FORMAT:
            return {}
        return {
            str(name): Embedding(
                {},
                str(index["weights"]),
                str(index["preprocessing"]),
                tuple(map(str, said["pictures"].values())),
                (),
                (),
                True,
                tuple(map(str, said["pictures"])),
            )
            for name, said in index["shards"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
