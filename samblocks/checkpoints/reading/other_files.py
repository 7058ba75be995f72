"""Files and folders that are no checkpoint by themselves, named for what they are, with the next step."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from samblocks.errors import counted, printable

SHARD: Final = re.compile(r".+-(\d{5})-of-(\d{5})\.(safetensors|bin|pt|pth)")
"""The name of one of several files that are a checkpoint together."""

_TORCH_FILES: Final = (".pt", ".pth", ".safetensors")
_DISTRIBUTED: Final = (
    "make one file of it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save(FOLDER, 'model.pt')"
)
_ORIGINAL: Final = "take the checkpoint that it was made from"
_UNPACK: Final = "unpack it first"
_KINDS: Final = (
    (
        b"version https://git-lfs",
        "it is a pointer of git-lfs, the weights themselves were not fetched: git lfs pull",
    ),
    (b"\x1f\x8b", f"it is compressed with gzip: {_UNPACK}"),
    (b"BZh", f"it is compressed with bzip2: {_UNPACK}"),
    (b"\xfd7zXZ", f"it is compressed with xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"it is compressed with zstandard: {_UNPACK}"),
    (b"7z\xbc\xaf", f"it is a 7z archive: {_UNPACK}"),
    (b"Rar!", f"it is a rar archive: {_UNPACK}"),
    (b"\x89HDF", f"it is an HDF5 file, as Keras and TensorFlow write them: {_ORIGINAL}"),
    (b"\x93NUMPY", "it is a numpy array: put arrays into a dict of tensors by name, and torch.save that"),
    (b"GGUF", f"it is a GGUF file, as ggml reads them: {_ORIGINAL}"),
    (b"\x08", f"it looks like an ONNX model: {_ORIGINAL}"),
    (b"\x89PNG", "it is a picture"),
    (b"\xff\xd8\xff", "it is a picture"),
    (b"PK", "it is a damaged or empty zip archive"),
)


def file_words(head: bytes) -> str:
    """What the first bytes say about a file that is none of ours."""
    if b"<html" in head.lower() or head.lstrip()[:9].lower() == b"<!doctype" or head.lstrip()[:5] == b"<?xml":
        return "it is a web page; the download was answered by a login, an error page or a proxy"
    if head[257:262] == b"ustar":
        return f"it is a tar archive: {_UNPACK} (what PyTorch 0.1 saved is not read)"
    for magic, words in _KINDS:
        if head.startswith(magic):
            return words
    return "its first bytes are those of neither torch.save nor safetensors"


def zip_words(path: Path, names: Collection[str]) -> str | None:
    """What a zip archive is by the names of its records, or None for one that torch.save may have written."""
    if path.suffix == ".distcp":
        return f"is one piece of a folder of torch.distributed.checkpoint: {_DISTRIBUTED}"
    tails = {name.partition("/")[2] for name in names}
    if any(tail.startswith("code/") for tail in tails):
        return (
            "is a TorchScript program, not a checkpoint: torch.jit.load it where you trust it, and save its "
            "state_dict() with torch.save"
        )
    if "archive_format" in tails or "serialized_exported_program.json" in {*tails, *names}:
        return (
            "is an exported program of torch.export, not a checkpoint: torch.export.load it where you trust it, and "
            "save its state_dict with torch.save"
        )
    folders = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(folders) != 1 or "/" in folders[0]:
        held = ", ".join(f"'{printable(name, 60)}'" for name in list(names)[:3]) or "nothing"
        return f"is a zip archive but no file of torch.save: it holds {held}; if a checkpoint is in it, {_UNPACK}"
    return None


def globals_words(names: Collection[str]) -> str | None:
    """What a pickle is by the globals that it asks for, or None."""
    if any(name.startswith("torch.distributed.checkpoint.") for name in names):
        return f"is the table of a folder of torch.distributed.checkpoint: {_DISTRIBUTED}"
    return None


def folder_words(path: Path) -> str:
    """What to say of a folder: what it is, and the checkpoint in it, if there is one."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError:
        names = []
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        return f"{path} is a folder of torch.distributed.checkpoint: {_DISTRIBUTED}"
    shards = [name for name in names if is_one_of_several(name)]
    if shards:
        return (
            f"{path} is a folder with {counted(len(shards), 'shard')} of a checkpoint and without an index: get the "
            "file that ends in .index.json too, and give that or the folder"
        )
    inside = [name for name in names if name.endswith(_TORCH_FILES)]
    hint = (
        f"give the file itself, for example {path / inside[0]}"
        if inside
        else "give the path of a checkpoint file"
    )
    return f"{path} is a folder: {hint}"


def is_one_of_several(name: str) -> bool:
    """Whether a file's name says that it is one shard of a checkpoint of several.

    >>> is_one_of_several("model-00001-of-00002.safetensors"), is_one_of_several("model-00001-of-00001.safetensors")
    (True, False)
    """
    found = SHARD.fullmatch(name)
    return found is not None and int(found[2]) > 1


def index_beside(path: Path) -> Path | None:
    """The index in a shard's folder, or None."""
    try:
        return next((one for one in sorted(path.parent.iterdir()) if one.name.endswith(".index.json")), None)
    except OSError:
        return None
