"""What a module is called with, held against the shapes that its docstring states.

`forward` says `x: [B, H, W, C]` under `Args:`. The number of axes is looked at before a call: with another one some
modules would compute something. Sizes, channels, dtypes and devices are looked at only after a call has failed, so that
they cost nothing, and nobody asks where they do not matter. Graphs (compiled, exported, traced) hold none of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_LINE = re.compile(r"^    (\w+): (.*(?:\n      .*)*)", re.MULTILINE)
_GROUP = re.compile(r"\[([^\[\]]+)\]")
_MULTIPLE = re.compile(r"(\d*)([A-Z])(?:/(\d+))?")
"""A size by a letter: H, 4H, C/8."""

Made = TypeVar("Made", bound=nn.Module)

is_compiling, is_tracing = torch.compiler.is_compiling, torch._C._is_tracing


class ArgumentError(ValueError):
    """An argument that does not fit the module: what it is, and what it must be."""


_FAILURES = (RuntimeError, TypeError, IndexError, AttributeError, NotImplementedError, ArgumentError)


@dataclass(frozen=True)
class _Shape:
    """One shape of an argument.

    Args:
        text: as the docstring has it.
        rank: number of axes; at least so many where `open`.
        fixed: (axis from the end, size) of sizes that are written out.
        named: (axis from the end, attribute path) of sizes that the module knows.
        open: whether "..." stands for any axes.
    """

    text: str
    rank: int
    fixed: tuple[tuple[int, int], ...]
    named: tuple[tuple[int, str], ...]
    open: bool


def checks_arguments(*methods: str, **channels: str) -> Callable[[type[Made]], type[Made]]:
    """Let a module class check what its `forward` is called with.

    Args:
        *methods: methods that are checked as well, or instead where the class has no docstring of shapes for it.
        **channels: for a letter of the shapes in the docstring, where the module has its size: a path of attributes,
            to a number or to a tensor, whose first axis it is then.

    Returns:
        A decorator of the class, which is changed in place.

    Examples:
        >>> @checks_arguments(C="norm.weight")
        ... class Scaled(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.norm = nn.LayerNorm(4)
        ...
        ...     def forward(self, x):
        ...         '''Scale.
        ...
        ...         Args:
        ...             x: [B, C]
        ...         '''
        ...         return self.norm(x)
        >>> Scaled()(torch.zeros(2, 3))
        Traceback (most recent call last):
        ...
        samblocks.blocks.arguments.ArgumentError: x must be [B, C] with C=4, got the shape (2, 3)
    """

    def decorate(kind: type[Made]) -> type[Made]:
        for name in ("forward", *methods):
            method = getattr(kind, name)
            if _stated(method, channels) or _tensors(method):
                setattr(kind, name, _checked(method, channels))
        return kind

    return decorate


def _checked(forward: Callable[..., Any], channels: Mapping[str, str]) -> Callable[..., Any]:
    names = list(inspect.signature(forward).parameters)[1:]
    shapes, kinds = _stated(forward, channels), _tensors(forward)
    places = [(place, name, shapes[name]) for place, name in enumerate(names) if name in shapes]
    ranks = [(place, name, _ranks(alternatives)) for place, name, alternatives in places]

    @wraps(forward)
    def checked(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or is_tracing():
            return forward(self, *args, **kwargs)
        count = len(args)
        for place, name, allowed in ranks:
            value = args[place] if place < count else kwargs.get(name)
            if type(value) is Tensor and value.dim() not in allowed:
                raise _refused(self, name, value, shapes[name])
        try:
            return forward(self, *args, **kwargs)
        except _FAILURES as error:
            given = dict(zip(names, args, strict=False)) | kwargs
            for name in names:
                value = given.get(name)
                if name in kinds and (words := _no_tensor(self, name, value, kinds[name])):
                    raise ArgumentError(words) from error
                if name in shapes and isinstance(value, Tensor):
                    wrong = _wrong(self, name, value, shapes[name])
                    if wrong is not None:
                        raise wrong from error
            if words := _disagreement(_with_shapes(given, shapes, kinds)):
                raise ArgumentError(words) from error
            raise

    return checked


def _ranks(alternatives: tuple[_Shape, ...]) -> range | tuple[int, ...]:
    """Numbers of axes that one of the shapes has."""
    least = min((one.rank for one in alternatives if one.open), default=None)
    return tuple(one.rank for one in alternatives) if least is None else range(least, 64)


def _wrong(
    module: nn.Module, name: str, value: Tensor, alternatives: tuple[_Shape, ...]
) -> ArgumentError | None:
    """What is wrong with an argument, with which a call has failed; None where nothing is."""
    if not _fits(value, alternatives, module):
        return _refused(module, name, value, alternatives)
    words = _misplaced(module, name, value)
    return ArgumentError(words) if words else None


@dataclass(frozen=True)
class _Kind:
    """What an argument of tensors is by its annotation, and of those in a list the shapes that the docstring states:
    one for all, or one for each, the last behind an "and".
    """

    several: bool
    optional: bool
    shapes: tuple[_Shape, ...] = ()

    def rank(self) -> int | None:
        """Number of axes of each tensor in a list, None where none is stated."""
        return self.shapes[0].rank if self.shapes and not self.shapes[0].open else None


def _tensors(forward: Callable[..., Any]) -> dict[str, _Kind]:
    """The arguments that are tensors, or lists of them."""
    text = (inspect.getdoc(forward) or "").partition("Args:")[2].partition("Returns:")[0]
    says = dict(_LINE.findall(text))
    found = {}
    for name, one in inspect.signature(forward).parameters.items():
        words = str(one.annotation)
        if re.search(r"\bTensor\b", words) and one.default in (inspect.Parameter.empty, None):
            several = re.search(r"list|tuple|Sequence", words) is not None
            stated = _GROUP.findall(says.get(name, "")) if several else []
            each = stated if "] and [" in says.get(name, "") else stated[:1]
            found[name] = _Kind(several, "None" in words, tuple(_shape(text, {}) for text in each))
    return found


def _no_tensor(module: nn.Module, name: str, value: Any, kind: _Kind) -> str:
    """What is wrong with an argument that is none of the tensors it must be; empty where it is one that is dense."""
    if value is None and kind.optional:
        return ""
    if kind.several and isinstance(value, list | tuple):
        for place, one in enumerate(value):
            each = f"{name}[{place}]"
            words = _no_tensor(module, each, one, _Kind(several=False, optional=False))
            if not words and kind.rank() not in (None, one.dim()):
                words = f"{each} must be [{kind.shapes[0].text}], got the shape {tuple(one.shape)}"
            if words or (words := _misplaced(module, each, one)):
                return words
        return ""
    if not isinstance(value, Tensor):
        return f"{name} must be {'a list of tensors' if kind.several else 'a tensor'}, got {type(value).__name__}"
    if value.layout is not torch.strided:
        return f"{name} is {str(value.layout).removeprefix('torch.')}: make it dense with to_dense()"
    return f"{name} is empty, of the shape {tuple(value.shape)}" if not value.numel() else ""


def _with_shapes(
    given: Mapping[str, Any], shapes: Mapping[str, tuple[_Shape, ...]], kinds: Mapping[str, _Kind]
) -> Iterator[tuple[str, Tensor, tuple[_Shape, ...]]]:
    """The tensors of a call whose shapes are stated; those of a list where each has a shape of its own."""
    for name, alternatives in shapes.items():
        if isinstance(given.get(name), Tensor):
            yield name, given[name], alternatives
    for name, kind in kinds.items():
        if isinstance(given.get(name), list | tuple) and len(kind.shapes) == len(given[name]) > 1:
            for place, (value, shape) in enumerate(zip(given[name], kind.shapes, strict=True)):
                yield f"{name}[{place}]", value, (shape,)


def _disagreement(tensors: Iterable[tuple[str, Tensor, tuple[_Shape, ...]]]) -> str:
    """Two tensors of a call that failed whose sizes differ where the docstring has one letter, or multiples of it."""
    seen: dict[str, tuple[Fraction, str]] = {}
    for name, value, alternatives in tensors:
        texts = [one.text.split(", ") for one in alternatives if one.rank == value.dim() and not one.open]
        for size, *axes in zip(value.shape, *texts, strict=False):
            found = _MULTIPLE.fullmatch(axes[0]) if len(set(axes)) == 1 else None
            if not found or found[2] == "B":
                continue
            unit = Fraction(size * int(found[3] or 1), int(found[1] or 1))
            first, where = seen.setdefault(found[2], (unit, f"{name} has {axes[0]}={size}"))
            if first != unit:
                return f"{name} has {axes[0]}={size} in its shape {tuple(value.shape)}, {where}"
    return ""


def _stated(forward: Callable[..., Any], channels: Mapping[str, str]) -> dict[str, tuple[_Shape, ...]]:
    """The shapes of arguments in a docstring; those joined by "or" are alternatives."""
    text = (inspect.getdoc(forward) or "").partition("Args:")[2].partition("Returns:")[0]
    found = {}
    for name, says in _LINE.findall(text):
        groups: list[_Shape] = []
        end = 0
        for group in _GROUP.finditer(says):
            between = says[end : group.start()]
            if groups and not re.fullmatch(r",?\s*or\s*", between):
                break
            groups.append(_shape(group.group(1), channels))
            end = group.end()
        if groups and says.lstrip().startswith("["):
            found[name] = tuple(groups)
    return found


def _shape(text: str, channels: Mapping[str, str]) -> _Shape:
    axes = [axis.strip() for axis in text.split(",")]
    count = len(axes)
    fixed = [(place - count, int(axis)) for place, axis in enumerate(axes) if axis.isdecimal()]
    named = [(place - count, channels[axis]) for place, axis in enumerate(axes) if axis in channels]
    return _Shape(text, count - ("..." in axes), tuple(fixed), tuple(named), "..." in axes)


def _fits(value: Tensor, alternatives: tuple[_Shape, ...], module: nn.Module) -> bool:
    shape = value.shape
    rank = len(shape)
    for one in alternatives:
        if rank < one.rank if one.open else rank != one.rank:
            continue
        if all(shape[axis] == size for axis, size in one.fixed) and all(
            _known(module, path) in (shape[axis], None) for axis, path in one.named
        ):
            return True
    return False


def _known(module: Any, path: str) -> int | None:
    """A size that a module knows; None where it does not, as with layers that others have put in."""
    found = module
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    if isinstance(found, Tensor):
        return int(found.shape[0]) if found.dim() else None
    return found if isinstance(found, int) else None


def _refused(module: nn.Module, name: str, value: Tensor, alternatives: tuple[_Shape, ...]) -> ArgumentError:
    words = " or ".join(f"[{one.text}]" for one in alternatives)
    sizes: dict[str, int | None] = {}
    for one in alternatives:
        axes = [axis.strip() for axis in one.text.split(",")]
        sizes |= {axes[axis]: _known(module, path) for axis, path in one.named}
    known = ", ".join(f"{letter}={size}" for letter, size in sizes.items() if size is not None)
    return ArgumentError(
        f"{name} must be {words}{f' with {known}' if known else ''}, got the shape {tuple(value.shape)}"
    )


def _misplaced(module: nn.Module, name: str, value: Any) -> str:
    """What is wrong with the dtype or the device of an argument, with which a call has failed."""
    weight = next(module.parameters(), None)
    if weight is None or not isinstance(value, Tensor):
        return ""
    if value.device != weight.device:
        return f"{name} is on {value.device}, the module's weights are on {weight.device}: move one of them"
    autocast = torch.is_autocast_enabled(value.device.type)
    if value.dtype == weight.dtype or (autocast and value.is_floating_point()):
        return ""
    got, expected = (str(dtype).removeprefix("torch.") for dtype in (value.dtype, weight.dtype))
    return f"{name} is {got}, the module's weights are {expected}: convert one of them"
