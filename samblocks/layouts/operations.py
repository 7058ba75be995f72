"""What can happen to tensors between two layouts, each with its inverse.

Only shapes and dtypes are handled here; `samblocks.layouts.apply` does the same to values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samblocks.errors import LayoutError
from samblocks.layouts.tensors import TensorInfo, shape_text


@dataclass(frozen=True)
class Keep:
    """One tensor becomes one tensor, untouched."""

    kind = "renamed"
    text = ""

    @property
    def inverse(self) -> Keep:
        """Itself."""
        return self

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shapes and dtypes after the operation."""
        return tuple(inputs)


@dataclass(frozen=True)
class Axes:
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

    @property
    def text(self) -> str:
        """How it is written in a plan."""
        return f"{self.before} -> {self.after}"

    @property
    def inverse(self) -> Axes:
        """The way back."""
        return Axes(self.after, self.before)

    @property
    def order(self) -> tuple[int, ...]:
        """Where each named axis of `after` stands among the named axes of `before`."""
        named = [word for word in self.before.split() if word != "1"]
        return tuple(named.index(word) for word in self.after.split() if word != "1")

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shapes and dtypes after the operation; raises where the tensor has other axes."""
        (info,) = inputs
        words = self.before.split()
        if len(words) != len(info.shape) or any(
            word == "1" and size != 1 for word, size in zip(words, info.shape, strict=True)
        ):
            raise LayoutError(f"its shape is {shape_text(info.shape)}, which does not fit {self.before!r}")
        sizes = dict(zip(words, info.shape, strict=True)) | {"1": 1}
        return (TensorInfo(tuple(sizes[word] for word in self.after.split()), info.dtype),)


@dataclass(frozen=True)
class Pack:
    """Several tensors become one, one behind the other along the first axis.

    Args:
        count: how many.
    """

    count: int

    kind = "packed"

    @property
    def text(self) -> str:
        """How it is written in a plan."""
        return f"concatenate {self.count} along axis 0"

    @property
    def inverse(self) -> Unpack:
        """The way back."""
        return Unpack(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shapes and dtypes after the operation; raises where the tensors differ."""
        if len(set(inputs)) != 1 or not inputs[0].shape:
            shapes = ", ".join(f"{shape_text(info.shape)} {info.dtype}" for info in inputs)
            raise LayoutError(f"only tensors of one shape and dtype can be packed, these have {shapes}")
        first = inputs[0]
        return (TensorInfo((first.shape[0] * self.count, *first.shape[1:]), first.dtype),)


@dataclass(frozen=True)
class Unpack:
    """One tensor becomes several, equal parts along its first axis.

    Args:
        count: how many.
    """

    count: int

    kind = "unpacked"

    @property
    def text(self) -> str:
        """How it is written in a plan."""
        return f"split into {self.count} along axis 0"

    @property
    def inverse(self) -> Pack:
        """The way back."""
        return Pack(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shapes and dtypes after the operation; raises where the first axis cannot be split."""
        (info,) = inputs
        if not info.shape or info.shape[0] % self.count or not info.shape[0]:
            raise LayoutError(
                f"its shape is {shape_text(info.shape)}, which does not split into {self.count}"
            )
        return (TensorInfo((info.shape[0] // self.count, *info.shape[1:]), info.dtype),) * self.count


@dataclass(frozen=True)
class Copies:
    """One tensor is written several times, under several names."""

    count: int

    kind = "duplicated"

    @property
    def text(self) -> str:
        """How it is written in a plan."""
        return f"write {self.count} copies"

    @property
    def inverse(self) -> Agree:
        """The way back."""
        return Agree(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shapes and dtypes after the operation."""
        return tuple(inputs) * self.count


@dataclass(frozen=True)
class Agree:
    """Several tensors must be equal, bit for bit, and become one."""

    count: int

    kind = "deduplicated"

    @property
    def text(self) -> str:
        """How it is written in a plan."""
        return f"check that {self.count} copies are equal, keep one"

    @property
    def inverse(self) -> Copies:
        """The way back."""
        return Copies(self.count)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Shapes and dtypes after the operation; raises where they differ."""
        if len(set(inputs)) != 1:
            shapes = ", ".join(f"{shape_text(info.shape)} {info.dtype}" for info in inputs)
            raise LayoutError(f"copies of one tensor must have one shape and dtype, these have {shapes}")
        return (inputs[0],)


@dataclass(frozen=True)
class Drop:
    """The tensor has no place on the other side.

    Args:
        invent: what is written in its place on the way back; nothing if None.
    """

    invent: Make | None = None

    kind = "dropped"
    text = "drop"

    @property
    def inverse(self) -> Make | None:
        """The way back, where there is one."""
        return self.invent

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Nothing is left."""
        return ()


@dataclass(frozen=True)
class Make:
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

    @property
    def text(self) -> str:
        """How it is written in a plan."""
        return f"{self.fill} {shape_text(self.info.shape)} {self.info.dtype}"

    @property
    def inverse(self) -> Drop:
        """The way back."""
        return Drop(self)

    def infer(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """The tensor that is made."""
        return (self.info,)


Operation = Keep | Axes | Pack | Unpack | Copies | Agree | Drop | Make

KEEP = Keep()
