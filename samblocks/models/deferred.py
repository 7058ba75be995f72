"""Initial values of some of a model's tensors, without making the others.

The model is made on the meta device while every call that makes or changes a tensor is written down. Then those calls
alone are made that lead to the tensors that are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from samblocks.image_size import Sizes
from samblocks.models.build import assemble
from samblocks.models.skeleton import DRAWS
from samblocks.variants import Variant


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of torch, with what came of it on the meta device."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


class _Recorder(TorchFunctionMode):
    """Writes down what makes or changes tensors; what draws at random is not done here."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        draws = name in DRAWS
        result = (args[0] if args else kwargs["tensor"]) if draws else func(*args, **kwargs)
        if draws or any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)) or name in _SETTERS:
            self.calls.append(_Call(func, args, kwargs, result))
        return result


_SETTERS = frozenset({"__setitem__", "__set__"})


def initial_values(row: Variant, names: Collection[str], sizes: Sizes) -> dict[str, Tensor]:
    """What a new model of a variant has under these names.

    Args:
        row: the variant.
        names: names of its state dict.
        sizes: of its images and memory.

    Returns:
        Name to tensor on the CPU, each with memory of its own.

    >>> from samblocks.variants import VARIANTS
    >>> list(initial_values(VARIANTS["sam_vit_h"], {"image_encoder.patch_embed.proj.bias"}, Sizes()))
    ['image_encoder.patch_embed.proj.bias']
    """
    recorder = _Recorder()
    with torch.device("meta"), recorder:
        model = assemble(row, **sizes._asdict())
    wanted = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if name in names}
    made: dict[int, torch.UntypedStorage] = {}
    with torch.no_grad(), torch.device("cpu"):
        for call in _needed(recorder.calls, {_storage(tensor) for tensor in wanted.values()}):
            _replay(call, made)
        return {name: _real(tensor, made).detach().clone() for name, tensor in wanted.items()}


def _needed(calls: list[_Call], wanted: set[int]) -> Iterator[_Call]:
    """The calls that lead to storages, in their order."""
    chosen = []
    for call in reversed(calls):
        changed = {_storage(leaf) for leaf in _metas(call.result)}
        if call.function.__name__ in _SETTERS:
            changed |= {_storage(leaf) for leaf in _metas(call.args[:1])}
        if changed & wanted:
            chosen.append(call)
            wanted |= {_storage(leaf) for leaf in _metas((call.args, call.kwargs))}
    yield from reversed(chosen)


def _replay(call: _Call, made: dict[int, torch.UntypedStorage]) -> None:
    args, kwargs = tree_map(lambda leaf: _real(leaf, made), (call.args, call.kwargs))
    if "device" in kwargs:
        kwargs["device"] = "cpu"
    result = call.function(*args, **kwargs)
    for meta, real in zip(_tensors(call.result), _tensors(result), strict=True):
        if meta.device.type == "meta":
            made.setdefault(_storage(meta), real.untyped_storage())


def _real(value: Any, made: dict[int, torch.UntypedStorage]) -> Any:
    """The tensor that lies in the storage that was made for a meta tensor's; anything else as it is."""
    if not (isinstance(value, Tensor) and value.device.type == "meta"):
        return value
    storage = made[_storage(value)]
    empty = torch.empty(0, dtype=value.dtype, device="cpu")
    return empty.set_(storage, value.storage_offset(), value.shape, value.stride())


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _metas(value: Any) -> list[Tensor]:
    return [leaf for leaf in _tensors(value) if leaf.device.type == "meta"]
