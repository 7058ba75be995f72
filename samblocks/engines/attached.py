"""A module whose calls go into an engine where that gives what eager would, and into eager otherwise."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from samblocks.engines.fingerprint import versions_of
from samblocks.engines.parts import Part, Unanswered
from samblocks.engines.samples import items, through


class Runner(Protocol):
    """A compiled graph."""

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Run it on tensors by place; results have memory of their own."""
        ...


class Attached:
    """What a module calls in place of its own `forward`, as long as it is attached.

    Eager answers, and `calls` says why, in training, where gradients are recorded, on other devices and dtypes than
    float32 on a processor, under autocast, where hooks listen inside the module, while a graph is traced, when the
    weights were changed since, and for shapes that no graph was compiled for. It hangs on the module where torch's
    own `Module.compile` does, so that copies and pickles of the module are plain ones.

    Args:
        part: the module and its graphs.
        runners: a compiled graph for each name of a graph.
        shapes: the shapes that each was compiled for.
    """

    def __init__(
        self, part: Part, runners: Mapping[str, Runner], shapes: Mapping[str, tuple[tuple[int, ...], ...]]
    ) -> None:
        self.part, self._runners, self._shapes = part, runners, shapes
        self._versions = versions_of(part.module)
        self._answer: Callable[..., Any] = through(part, self._answered)
        self._counting = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.report: object = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer a call of the module's."""
        if torch.compiler.is_compiling() or torch._C._is_tracing():
            return self.part.module._call_impl(*args, **kwargs)
        reason = self._obstacle()
        if reason:
            self._count(reason)
            return self.part.module._call_impl(*args, **kwargs)
        return self._answer(*args, **kwargs)

    @property
    def attached(self) -> bool:
        """Whether the module's calls come here."""
        return vars(self.part.module).get("_compiled_call_impl") is self

    def attach(self) -> None:
        """Let the module's calls come here."""
        self.part.module._compiled_call_impl = self

    def detach(self) -> None:
        """Let them go where they went before."""
        if self.attached:
            del self.part.module._compiled_call_impl

    def _answered(self, *args: Any, **kwargs: Any) -> Any:
        part = self.part
        try:
            call = part.split(*args, **kwargs)
            reason = self._misfit(call.graph, call.tensors)
        except Unanswered as error:
            reason = str(error)
        if reason:
            self._count(reason)
            return part.base.forward(part.module, *args, **kwargs)
        runner = self._runners[call.graph]
        found = [runner(tensors) for tensors in items(part, call)]
        outputs = found[0] if len(found) == 1 else [torch.cat(parts) for parts in zip(*found, strict=True)]
        self._count("engine")
        return part.join(outputs, call.rest)

    def _obstacle(self) -> str:
        """Why the engine cannot stand for the module now; empty where it can."""
        module: nn.Module = self.part.module
        if module.training:
            return "training mode"
        if torch.is_grad_enabled() and any(x.requires_grad for x in module.parameters()):
            return "gradients are recorded"
        if torch.is_autocast_enabled("cpu"):
            return "autocast"
        if _global_forward_hooks or _global_forward_pre_hooks or any(map(_listened, module.modules())):
            return "forward hooks"
        if versions_of(module) != self._versions:
            if not self.calls["changed weights"]:
                warnings.warn(
                    f"the weights of {self.part.path} were changed after it was compiled: it runs in eager; undo the "
                    "report and accelerate again",
                    stacklevel=3,
                )
            return "changed weights"
        return ""

    def _misfit(self, graph: str, tensors: Sequence[Tensor]) -> str:
        """Why the engine cannot take these tensors; empty where it can."""
        for x in tensors:
            if type(x) not in (Tensor, nn.Parameter) or x.device.type != "cpu" or x.dtype != torch.float32:
                return "another dtype, device or kind of tensor"
            if x.requires_grad and torch.is_grad_enabled():
                return "gradients are recorded"
        part = self.part
        axes = part.graphs[graph].inputs.values()
        for x, free, shape in zip(tensors, axes, self._shapes[graph], strict=True):
            if x.dim() != len(shape) or any(
                size != wanted and axis not in free and not (part.by_item and axis == 0)
                for axis, (size, wanted) in enumerate(zip(x.shape, shape, strict=True))
            ):
                return "another size than it was compiled for"
        return ""

    def _count(self, what: str) -> None:
        with self._counting:
            self.calls[what] += 1


def _listened(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
