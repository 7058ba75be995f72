"""Recorded values on disk: each tensor once, by its content, and the structure around it as JSON.

A module's input is as a rule what another one returned, and a container's output that of its last child: kept by
content, a recording is not much larger than the activations, and only what is looked at is in memory.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samblocks.numerics.draws import vary

Tree = dict[str, Any]
"""A nested value as JSON: one key tells the kind, its value the content."""


class OpaqueError(TypeError):
    """A recorded value was neither a tensor nor plain data: it cannot be given to a module again."""


class Store:
    """Tensors in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encode(self, value: Any) -> Tree:
        """Write the tensors of a nested value; returns its structure with their names in place."""
        if isinstance(value, Tensor):
            return {"tensor": self._put(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.encode(item) for item in value]}
        if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
            return {"dict": [[key, self.encode(item)] for key, item in value.items()]}
        return {"opaque": type(value).__name__}

    def decode(self, tree: Tree, *, wide: bool = False) -> Any:
        """The value again, its tensors read anew: whoever gets it may change it.

        Args:
            tree: what `encode` returned.
            wide: floating-point tensors as float64, complex ones as complex128.

        Raises:
            OpaqueError: for what could not be written.
        """
        ((kind, content),) = tree.items()
        if kind == "tensor":
            tensor = self._get(content)
            if wide and tensor.is_complex():
                return tensor.to(torch.complex128)
            return tensor.double() if wide and tensor.is_floating_point() else tensor
        if kind == "value":
            return content
        if kind == "dict":
            return {key: self.decode(item, wide=wide) for key, item in content}
        if kind in ("list", "tuple"):
            items = [self.decode(item, wide=wide) for item in content]
            return items if kind == "list" else tuple(items)
        raise OpaqueError(f"a {content} among its arguments")

    def tensors(self, tree: Tree) -> dict[str, Tensor]:
        """The tensors and numbers of a value by path, named as by `flatten`; the rest is left out."""
        return {path: self._get(leaf) if isinstance(leaf, str) else leaf for path, leaf in _leaves(tree)}

    def tensor(self, tree: Tree, path: str) -> Tensor | None:
        """One of them, the others not being read; None where there is none."""
        leaf = dict(_leaves(tree)).get(path)
        return self._get(leaf) if isinstance(leaf, str) else leaf

    def paths(self, tree: Tree) -> list[str]:
        """The paths of a value's tensors and numbers."""
        return [path for path, _ in _leaves(tree)]

    def vary(self, tree: Tree, name: str) -> Tree:
        """The value with its floating-point tensors varied by draws of that name; see `samblocks.numerics.draws`."""
        ((kind, content),) = tree.items()
        if kind == "tensor":
            return {kind: self._put(vary(self._get(content), name))}
        if kind == "dict":
            return {kind: [[key, self.vary(item, f"{name}/{key}")] for key, item in content]}
        if kind in ("list", "tuple"):
            return {kind: [self.vary(item, f"{name}/{place}") for place, item in enumerate(content)]}
        return tree

    def _put(self, tensor: Tensor) -> str:
        plain = tensor.detach().cpu()
        is_complex = plain.is_complex()
        if is_complex:
            plain = torch.view_as_real(plain.resolve_conj())
        # The order in memory is kept: a convolution rounds otherwise on a map whose channels lie last.
        strides = plain.stride()
        order = sorted(range(plain.ndim), key=lambda axis: -strides[axis])
        if not plain.permute(order).is_contiguous():
            order = list(range(plain.ndim))
        dense = plain.permute(order).contiguous()
        content = digest(dense)
        file = self.folder / content
        if not file.exists():
            file.write_bytes(_bytes(dense).data)
        shape = "x".join(map(str, dense.shape))
        dtype = str(dense.dtype).removeprefix("torch.")
        return " ".join([content, "complex" if is_complex else "real", dtype, shape or "-", *map(str, order)])

    def _get(self, name: str) -> Tensor:
        content, kind, dtype, shape, *axes = name.split()
        order = [int(axis) for axis in axes]
        sizes = [] if shape == "-" else [int(size) for size in shape.split("x")]
        # Memory of torch's own, which is aligned as that of a running model is: products may round by it.
        stored = torch.empty(sizes, dtype=getattr(torch, dtype))
        if stored.numel():
            with (self.folder / content).open("rb") as file:
                file.readinto(_bytes(stored).data)
        tensor = stored.permute([order.index(axis) for axis in range(len(order))])
        return torch.view_as_complex(tensor) if kind == "complex" else tensor


def digest(tensor: Tensor) -> str:
    """A hash of the values, the shape and the dtype of a tensor on the CPU."""
    found = blake2b(f"{tensor.dtype} {list(tensor.shape)}".encode(), digest_size=16)
    found.update(_bytes(tensor.contiguous()).data)
    return found.hexdigest()


def _bytes(dense: Tensor) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The memory of a contiguous real tensor."""
    return dense.reshape(-1).view(torch.uint8).numpy()


def _leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, str | Tensor]]:
    """The names of the tensors in a tree, and its numbers, by path."""
    ((kind, content),) = tree.items()
    if kind == "tensor":
        yield path or "out", content
    elif kind == "value" and isinstance(content, bool | int | float):
        yield path or "out", torch.tensor(content)
    elif kind in ("list", "tuple", "dict"):
        for key, item in content if kind == "dict" else enumerate(content):
            yield from _leaves(item, f"{path}/{key}" if path else str(key))
