"""Record every call of a module's parts: of submodules through hooks, of some methods through a wrapper.

Calls form a tree: each knows which other call it was made in.
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from parity.diverge.store import Tree

METHODS = (
    "forward_image",
    "forward_with_coords",
    "get_dense_pe",
    "postprocess_masks",
    "predict_masks",
    "preprocess",
    "_dynamic_multimask_via_stability",
    "_embed_boxes",
    "_embed_masks",
    "_embed_points",
    "_encode_new_memory",
    "_forward_sam_heads",
    "_get_pos_embed",
    "_pe_encoding",
    "_prepare_memory_conditioned_features",
    "_use_mask_as_output",
)
"""Methods that upstream's modules have beside `forward` and that are steps of their own."""


@dataclass(frozen=True)
class Argument:
    """One argument of a recorded call.

    Attributes:
        name: the parameter that it was bound to; None for one of `*args`.
        keyword: it was one of `**kwargs`.
        default: it equals the parameter's default.
        value: the recorded value.
    """

    name: str | None
    keyword: bool
    default: bool
    value: Tree


@dataclass
class Call:
    """One recorded call.

    Attributes:
        index: position in the order in which calls began.
        path: the module's name in its model.
        method: "" for `forward`.
        occurrence: how many calls of the same went before.
        parent: index of the call that it was made in.
        arguments: as recorded before the call.
        result: as recorded after it; None where it was not wanted, or the call did not end.
    """

    index: int
    path: str
    method: str
    occurrence: int
    parent: int | None
    arguments: list[Argument] = field(default_factory=list)
    result: Tree | None = None

    @property
    def name(self) -> str:
        """The path, with the method where it is not `forward`."""
        return call_name(self.path, self.method)

    def as_json(self) -> dict[str, Any]:
        """Plain data; see `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Call":
        """A call from its plain data."""
        return cls(**{**data, "arguments": [Argument(**argument) for argument in data["arguments"]]})


def call_name(path: str, method: str) -> str:
    """A module's name, with the method where it is not `forward`."""
    return ".".join(part for part in (path, f"{method}()" if method else "") if part) or "(model)"


@contextmanager
def tapped(
    module: nn.Module,
    encode: Callable[[Any], Tree],
    *,
    arguments: bool = True,
    ended: Callable[[Call, Any], None] | None = None,
) -> Iterator[list[Call]]:
    """While the context lasts, record the calls of `module` and of its parts, in order.

    Args:
        module: what is watched.
        encode: keeps a value; called at once, before anything can change it.
        arguments: keep arguments too, not results alone.
        ended: gets each call with its result, which is not kept then.
    """
    calls: list[Call] = []
    stack: list[Call] = []
    counts: Counter[tuple[str, str]] = Counter()

    def begin(path: str, method: str, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        parent = stack[-1].index if stack else None
        call = Call(len(calls), path, method, counts[path, method], parent)
        counts[path, method] += 1
        if arguments:
            call.arguments = _described(function, args, kwargs, encode)
        calls.append(call)
        stack.append(call)

    def end(result: Any) -> None:
        call = stack.pop()
        if ended is None:
            call.result = encode(result)
        else:
            ended(call, result)

    handles = []
    wrapped: list[tuple[nn.Module, str]] = []
    try:
        for path, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(_before(path, begin), with_kwargs=True))
            handles.append(part.register_forward_hook(_after(end), with_kwargs=True))
            for name in METHODS:
                if callable(getattr(type(part), name, None)) and name not in vars(part):
                    setattr(part, name, _wrapper(getattr(part, name), path, name, begin, end))
                    wrapped.append((part, name))
        yield calls
    finally:
        for handle in handles:
            handle.remove()
        for part, name in wrapped:
            delattr(part, name)


def _before(path: str, begin: Callable[..., None]) -> Any:
    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        begin(path, "", module.forward, args, kwargs)

    return hook


def _after(end: Callable[[Any], None]) -> Any:
    def hook(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        end(result)

    return hook


def _wrapper(
    function: Callable[..., Any], path: str, name: str, begin: Callable[..., None], end: Callable[[Any], None]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        begin(path, name, function, args, kwargs)
        result = function(*args, **kwargs)
        end(result)
        return result

    return call


def _described(
    function: Callable[..., Any], args: Any, kwargs: Any, encode: Callable[[Any], Tree]
) -> list[Argument]:
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        found = [Argument(None, False, False, encode(value)) for value in args]
        return found + [Argument(name, True, False, encode(value)) for name, value in kwargs.items()]
    found = []
    for name, value in bound.arguments.items():
        parameter = bound.signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            found += [Argument(None, False, False, encode(item)) for item in value]
        elif parameter.kind is parameter.VAR_KEYWORD:
            found += [Argument(key, True, False, encode(item)) for key, item in value.items()]
        else:
            found.append(Argument(name, False, _is_default(value, parameter.default), encode(value)))
    return found


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return not isinstance(value, torch.Tensor) and type(value) is type(default) and bool(value == default)
