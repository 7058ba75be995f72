"""What can happen to tensors between two layouts, each with its inverse: to shapes and dtypes, and to values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from samblocks.errors import LayoutError
from samblocks.layouts.tensors import TORCH_DTYPES, TensorInfo, shape_text


class Operation(ABC):
    """What happens to some tensors; `kind` is one of `samblocks.layouts.KINDS`."""

    kind: ClassVar[str]

    def __str__(self) -> str:
        """How it is written in a plan; empty where values are untouched."""
        return ""

    @property
    @abstractmethod
    def inverse(self) -> Operation | None:
        """The operation in the other direction, where there is one."""

    @abstractmethod
    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shapes and dtypes after the operation.

        Raises:
            LayoutError: the inputs have shapes or dtypes that it is not made for.
        """

    @abstractmethod
    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """The values after the operation; they share memory with the inputs where nothing has to be copied.

        Args:
            inputs: tensors of which `infer` takes the shapes and dtypes.
            names: what errors call them.

        Raises:
            LayoutError: the values are not what the operation is made for.
        """


@dataclass(frozen=True)
class Identity(Operation):
    """One tensor becomes one tensor, untouched."""

    kind = "renamed"

    @property
    def inverse(self) -> Identity:
        """Itself."""
        return self

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shape and dtype stay."""
        return tuple(inputs)

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """The value stays."""
        return inputs


@dataclass(frozen=True)
class Axes(Operation):
    """Axes are permuted, axes of size one added or removed: `Axes("1 h w c", "1 c h w")`.

    Args:
        before: a letter or word per axis, `1` for an axis of size one.
        after: the same words in the new order, with `1` wherever one is wanted.
    """

    before: str
    after: str

    kind = "reshaped"

    def __post_init__(self) -> None:
        named = [[word for word in side.split() if word != "1"] for side in (self.before, self.after)]
        if sorted(named[0]) != sorted(named[1]) or len(set(named[0])) != len(named[0]):
            raise LayoutError(f"axes {self.before!r} and {self.after!r} must name the same axes, each once")

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}"

    @property
    def inverse(self) -> Axes:
        """The same with the sides exchanged."""
        return Axes(self.after, self.before)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """The sizes in their new order; the tensor must have the axes of `before`."""
        (info,) = inputs
        words = self.before.split()
        if len(words) != len(info.shape) or any(
            word == "1" and size != 1 for word, size in zip(words, info.shape, strict=True)
        ):
            raise LayoutError(f"its shape is {shape_text(info.shape)}, which does not fit {self.before!r}")
        sizes = dict(zip(words, info.shape, strict=True)) | {"1": 1}
        return (TensorInfo(tuple(sizes[word] for word in self.after.split()), info.dtype),)

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """A view of the tensor, or a copy where none can have that shape."""
        (value,) = inputs
        words = self.before.split()
        if value.dim() != len(words):
            raise LayoutError(f"{names[0]} has {value.dim()} axes, the plan was made for {self.before!r}")
        named = [word for word in words if word != "1"]
        sizes = dict(zip(words, value.shape, strict=True)) | {"1": 1}
        turned = value.reshape([sizes[word] for word in named]).permute(
            [named.index(word) for word in self.after.split() if word != "1"]
        )
        return [turned.reshape([sizes[word] for word in self.after.split()])]


@dataclass(frozen=True)
class Pack(Operation):
    """Several tensors become one, one behind the other along the first axis.

    Args:
        count: how many.
    """

    count: int

    kind = "packed"

    def __str__(self) -> str:
        return f"concatenate {self.count} along axis 0"

    @property
    def inverse(self) -> Unpack:
        """The split into as many."""
        return Unpack(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """The first size is multiplied; the tensors must have one shape and dtype."""
        if len(set(inputs)) != 1 or not inputs[0].shape:
            raise LayoutError(f"only tensors of one shape and dtype can be packed, these have {_all(inputs)}")
        first = inputs[0]
        return (TensorInfo((first.shape[0] * self.count, *first.shape[1:]), first.dtype),)

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """Their concatenation."""
        return [torch.cat(list(inputs))]


@dataclass(frozen=True)
class Unpack(Operation):
    """One tensor becomes several, equal parts along its first axis.

    Args:
        count: how many.
    """

    count: int

    kind = "unpacked"

    def __str__(self) -> str:
        return f"split into {self.count} along axis 0"

    @property
    def inverse(self) -> Pack:
        """The concatenation of as many."""
        return Pack(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """The first size is divided; it must be a multiple of the number."""
        (info,) = inputs
        if not info.shape or info.shape[0] % self.count or not info.shape[0]:
            raise LayoutError(
                f"its shape is {shape_text(info.shape)}, which does not split into {self.count}"
            )
        return (TensorInfo((info.shape[0] // self.count, *info.shape[1:]), info.dtype),) * self.count

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """Copies of the parts, so that none of them keeps the whole in memory."""
        return [part.clone() for part in inputs[0].chunk(self.count)]


@dataclass(frozen=True)
class Duplicate(Operation):
    """One tensor is written several times, under several names.

    Args:
        count: how many times.
    """

    count: int

    kind = "duplicated"

    def __str__(self) -> str:
        return f"write {self.count} copies"

    @property
    def inverse(self) -> Deduplicate:
        """The check that as many are equal."""
        return Deduplicate(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """The same each time."""
        return tuple(inputs) * self.count

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """The tensor, and copies that share no memory with it."""
        return [inputs[0], *(inputs[0].clone() for _ in range(self.count - 1))]


@dataclass(frozen=True)
class Deduplicate(Operation):
    """Several tensors must be equal, bit for bit, and become one.

    Args:
        count: how many.
    """

    count: int

    kind = "deduplicated"

    def __str__(self) -> str:
        return f"check that {self.count} copies are equal, keep one"

    @property
    def inverse(self) -> Duplicate:
        """As many copies again."""
        return Duplicate(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """That of the first; all must have it."""
        if len(set(inputs)) != 1:
            raise LayoutError(
                f"copies of one tensor must have one shape and dtype, these have {_all(inputs)}"
            )
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """The first; all must have its bits."""
        first = inputs[0]
        for value, name in zip(inputs[1:], names[1:], strict=True):
            same = value.dtype == first.dtype and value.shape == first.shape
            if not (same and torch.equal(_bits(value), _bits(first))):
                raise LayoutError(
                    f"{names[0]} and {name} must be copies of one tensor, but their values differ"
                )
        return [first]


@dataclass(frozen=True)
class Drop(Operation):
    """The tensor has no place on the other side.

    Args:
        create: what the inverse writes in its place; nothing if None.
    """

    create: Create | None = None

    kind = "dropped"

    def __str__(self) -> str:
        return "drop"

    @property
    def inverse(self) -> Create | None:
        """What is written in its place."""
        return self.create

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Nothing is left."""
        return ()

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """Nothing is left."""
        return []


@dataclass(frozen=True)
class Create(Operation):
    """A tensor that the other side wants and this side does not hold.

    Args:
        fill: "zeros", "ones", or "bytes".
        info: its shape; and its dtype, which for zeros and ones gives way to that of the file.
        data: the bytes themselves.
    """

    fill: str
    info: TensorInfo
    data: bytes = b""

    kind = "invented"

    def __str__(self) -> str:
        return f"{self.fill} {shape_text(self.info.shape)} {self.info.dtype}"

    @property
    def inverse(self) -> Drop:
        """The tensor is left out again."""
        return Drop(self)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """The tensor that is made."""
        return (self.info,)

    def apply(self, inputs: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
        """The tensor that is made."""
        if self.fill == "bytes":
            return [torch.frombuffer(bytearray(self.data), dtype=torch.uint8)]
        make = torch.ones if self.fill == "ones" else torch.zeros
        return [make(self.info.shape, dtype=TORCH_DTYPES[self.info.dtype])]


IDENTITY = Identity()


def _all(inputs: Sequence[TensorInfo]) -> str:
    return ", ".join(f"{shape_text(info.shape)} {info.dtype}" for info in inputs)


def _bits(value: Tensor) -> Tensor:
    return value.detach().contiguous().reshape(-1).view(torch.uint8)
