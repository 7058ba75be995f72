"""What a callable reaches: modules and tensors in bound methods, partials, closures and the globals of its file.

A callable is copied with all of it, so that a run leaves no trace in what the caller owns, and so that the copy can be
widened to float64: a lambda around a module is as good as the module.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from parity.testing.values import WIDE, joined, mapped, wide, with_items

Function = Callable[..., Any]

_HELD = (nn.Module, Tensor, functools.partial, MethodType, FunctionType, list, tuple, dict)
"""Types that can hold a module or a tensor."""

_LIBRARIES = ("torch", "numpy", "parity", "samblocks")
"""Packages whose functions hold nothing of a caller's."""


@dataclass(frozen=True)
class Twin:
    """A copy of a callable that shares no tensor with it.

    Attributes:
        function: the copy.
        modules: the modules that it reaches, by the name it has for them; "" for the module that it is.
        copied: false where it is no copy, but what the caller owns.
    """

    function: Function
    modules: Mapping[str, nn.Module]
    copied: bool = True

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by name; where one module is reached, by its own names."""
        for prefix, module in self.named_modules():
            for name, value in module.named_parameters():
                yield prefix + name, value

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Buffers by name."""
        for prefix, module in self.named_modules():
            for name, value in module.named_buffers():
                yield prefix + name, value

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules that are reached, with the prefix of their tensors' names."""
        alone = len(self.modules) == 1
        for name, module in self.modules.items():
            yield "" if alone or not name else f"{name}.", module

    @property
    def training(self) -> bool:
        """Whether the training flag is on in any module that is reached."""
        return any(part.training for module in self.modules.values() for part in module.modules())


def twin(function: Function, *, widen: bool = False, given: Mapping[int, nn.Module] | None = None) -> Twin:
    """Copy a callable with all that it reaches.

    Args:
        function: what to copy.
        widen: put every floating-point tensor that is reached into double width.
        given: by id, modules that take the place of others.

    Raises:
        Exception: whatever something that cannot be copied raises.
    """
    memo: dict[int, Any] = dict(given or {})
    widened: dict[int, tuple[Tensor, Tensor]] = {}

    def wider(value: Tensor) -> Tensor:
        """Once for each tensor, so that tied ones stay tied."""
        if value.dtype not in WIDE:
            return value
        if id(value) not in widened:
            new = wide(value.detach())
            made = nn.Parameter(new, value.requires_grad) if isinstance(value, nn.Parameter) else new
            widened[id(value)] = (value, made)
        return widened[id(value)][1]

    def replace(value: Any) -> Any:
        if isinstance(value, Tensor):
            value = memo.setdefault(id(value), value.detach().clone().requires_grad_(value.requires_grad))
            return wider(value) if widen else value
        new = copy.deepcopy(value, memo)
        if widen and id(value) not in (given or {}):
            for part in new.modules() if isinstance(new, nn.Module) else ():
                _widen(part, wider)
        return new

    walk = _Walk(replace)
    return Twin(walk.callable(function, "", own=True), walk.modules)


def reached(function: Function) -> Mapping[str, nn.Module]:
    """The modules that a callable reaches, by the name it has for them, as they are."""
    walk = _Walk(lambda value: value)
    walk.callable(function, "", own=True)
    return walk.modules


def uncompiled(function: Function) -> Function:
    """The Python code of what `torch.compile` returned; others as they are."""
    inner = getattr(function, "_orig_mod", None) or getattr(function, "_torchdynamo_orig_callable", None)
    return inner if inner is not None else function


def is_compiled(function: Function) -> bool:
    """Whether `torch.compile` made it: a copy would be compiled again, and again, until torch gives up."""
    return uncompiled(function) is not function


class _Walk:
    """Follows a callable to what it reaches, and builds it anew where something was replaced."""

    def __init__(self, replace: Callable[[Any], Any]) -> None:
        self.modules: dict[str, nn.Module] = {}
        self._replace = replace
        self._known: dict[int, tuple[Any, Any]] = {}

    def callable(self, value: Any, name: str, *, own: bool = False) -> Any:
        """The callable, or anything else that it holds, with what it reaches replaced.

        Args:
            value: what to look at.
            name: what it is called.
            own: it is what is called, or what a method that is called belongs to.
        """
        if id(value) in self._known:
            return self._known[id(value)][1]
        self._known[id(value)] = (value, value)  # a function that reaches itself ends here
        new = self._new(value, name, own)
        self._known[id(value)] = (value, new)
        return new

    def _new(self, value: Any, name: str, own: bool) -> Any:
        if isinstance(value, nn.Module):
            return self._module(value, name)
        if isinstance(value, Tensor):
            return self._replace(value)
        if isinstance(value, functools.partial):
            args = [self.callable(item, str(place)) for place, item in enumerate(value.args)]
            named = {key: self.callable(item, key) for key, item in value.keywords.items()}
            return functools.partial(self.callable(value.func, name, own=own), *args, **named)
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self.callable(value.__self__, name, own=own))
        if isinstance(value, FunctionType):
            return self._function(value)
        if type(value) in (list, tuple, dict):
            return self._container(value, name)
        if hasattr(value, "__dict__") and not isinstance(value, type | ModuleType):
            return self._object(value, own=own)
        return value

    def _module(self, value: nn.Module, name: str) -> nn.Module:
        new: nn.Module = self._replace(value)
        if name in self.modules:
            name = f"{name}_{len(self.modules)}"
        self.modules[name] = new
        return new

    def _container(self, value: Any, name: str) -> Any:
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        new = [self.callable(item, joined(name, str(key))) for key, item in items]
        same = all(made is item for made, (_, item) in zip(new, items, strict=True))
        return value if same else with_items(value, new)

    def _object(self, value: Any, *, own: bool) -> Any:
        """An object such as a predictor: the one that is called is copied, others where they hold what is replaced."""
        held = {key: item for key, item in vars(value).items() if isinstance(item, _HELD)}
        made = {key: self.callable(item, key) for key, item in held.items()}
        changed = {key: item for key, item in made.items() if item is not held[key]}
        if not changed and not own:
            return value
        new = self._replace(value)
        if new is not value:
            vars(new).update(changed)
        return new

    def _function(self, value: FunctionType) -> FunctionType:
        if (value.__module__ or "").split(".")[0] in _LIBRARIES:
            return value
        inner = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True))
        cells = {name: cell for name, cell in inner.items() if not _is_empty(cell)}
        names = set(_names(value.__code__)) & value.__globals__.keys()
        outer = {
            name: item
            for name in sorted(names)
            if _may_hold(item := value.__globals__[name], value.__globals__)
        }
        closed = {name: self.callable(cell.cell_contents, name) for name, cell in cells.items()}
        found = {name: self.callable(item, name) for name, item in outer.items()}
        defaults = tuple(self.callable(item, "") for item in value.__defaults__ or ())
        named = {name: self.callable(item, name) for name, item in (value.__kwdefaults__ or {}).items()}
        same = (
            all(closed[name] is cell.cell_contents for name, cell in cells.items())
            and all(found[name] is outer[name] for name in outer)
            and all(a is b for a, b in zip(defaults, value.__defaults__ or (), strict=True))
            and all(named[name] is item for name, item in (value.__kwdefaults__ or {}).items())
        )
        if same:
            return value
        closure = tuple(_cell(closed[name]) if name in closed else cell for name, cell in inner.items())
        new = FunctionType(
            value.__code__, {**value.__globals__, **found}, value.__name__, defaults or None, closure or None
        )
        new.__kwdefaults__ = named or None
        new.__dict__.update(value.__dict__)
        new.__module__, new.__qualname__ = value.__module__, value.__qualname__
        return new


def _widen(part: nn.Module, wider: Callable[[Tensor], Tensor]) -> None:
    """Put a module's own tensors into double width, those too that are neither parameters nor buffers."""
    tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
    for held in tables:
        held.update({name: wider(value) for name, value in held.items() if value is not None})
    for name, item in list(vars(part).items()):
        if name not in ("_parameters", "_buffers", "_modules") and isinstance(
            item, Tensor | list | tuple | dict
        ):
            vars(part)[name] = mapped(item, lambda _, tensor: wider(tensor), arrays=False)


def _names(code: CodeType) -> Iterator[str]:
    """Names of globals and attributes that a function's code, and code within it, looks up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _may_hold(value: Any, home: Mapping[str, Any]) -> bool:
    """Whether a global can hold what must be copied: functions only of the same file."""
    if isinstance(value, FunctionType):
        return value.__globals__ is home
    return isinstance(value, nn.Module | Tensor | functools.partial | MethodType)


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the question
    except ValueError:
        return True
    return False


def _cell(contents: Any) -> Any:
    return (lambda: contents).__closure__[0]  # type: ignore[index]
