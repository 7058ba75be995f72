"""What stands in for a reference, in this process: a library of one module, and a client that answers with it."""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from parity.execution.case import Case, NoCounterpart
from parity.execution.execute import execute
from parity.workers.registry import Reference
from parity.workers.reply import Reply


class Library:
    """A library whose only module is made with some arguments, whatever a case says."""

    def __init__(self, make: Callable[..., nn.Module], name: str = "stand-in", **always: Any) -> None:
        self.make, self.name, self.always = make, name, always

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        return self.make(**{**kwargs, **self.always})

    def function(self, name: str) -> Callable[..., Any]:
        raise NoCounterpart(name)

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        raise NoCounterpart(variant)

    def canonical(self, name: str) -> str:
        return name


_ONE_AT_A_TIME = Lock()
"""Lifting is a switch of the whole process."""


class Client:
    """Answers as a worker does, from a library; where a case is `written` down, as a worker knows it by its id."""

    def __init__(self, library: Library, written: Case | None = None) -> None:
        self.reference, self.versions = Reference(library.name, "", ()), {library.name: "1"}
        self.library, self.written = library, written
        self.asked = 0

    def execute(self, case: Case, inputs: Mapping[str, Tensor], **how: Any) -> Reply:
        self.asked += 1
        if how.get("weights") is not None:
            how["weights"] = safetensors.torch.load_file(how["weights"])
        try:
            with _ONE_AT_A_TIME:
                outcome = execute(self.written or case, self.library, inputs, **how)
        except NoCounterpart as missing:
            return Reply("no counterpart", str(missing), {}, ())
        except Exception as error:
            return Reply("raised", str(error), {}, ())
        return Reply("ok", "", outcome.outputs, outcome.state)
