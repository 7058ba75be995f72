"""What runs in an engine, what it was checked by, and the way back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from torch import nn

from samblocks.engines.attached import Attached
from samblocks.engines.settings import Settings
from samblocks.engines.verify import EngineVerdict, verify
from samblocks.errors import EngineError

IMPACT = "on the first calibration picture"


@dataclass(frozen=True)
class EngineRow:
    """One compiled graph.

    Args:
        path: the module that it stands for.
        graph: its name.
        kind: the module's class.
        engine: backend and precision.
        seconds: what it took to make it.
        cached: whether it was found compiled.
    """

    path: str
    graph: str
    kind: str
    engine: str
    seconds: float
    cached: bool


class EngineReport:
    """What `accelerate` did; a context manager that undoes it at its end.

    Attributes:
        model: the model.
        settings: what was asked for.
        rows: the compiled graphs.
        impact: for int8, what it does to the first calibration picture.
    """

    def __init__(
        self, model: nn.Module, settings: Settings, rows: Sequence[EngineRow], attached: Sequence[Attached]
    ) -> None:
        self.model, self.settings, self.rows = model, settings, tuple(rows)
        self._attached = tuple(attached)
        self.impact: EngineVerdict | None = None
        for one in self._attached:
            one.report = self

    @property
    def applied(self) -> bool:
        """Whether the model's calls go into the engine now."""
        return any(one.attached for one in self._attached)

    @property
    def calls(self) -> dict[str, dict[str, int]]:
        """For each module, how many calls the engine answered, and how many eager did, by the reason."""
        return {one.part.path: dict(one.calls) for one in self._attached}

    def apply(self) -> None:
        """Let calls go into the engine; `accelerate` has done this already, but after `undo` it can be done again."""
        for one in self._attached:
            one.attach()

    def undo(self) -> None:
        """Let calls go where they went before. Nothing else was changed: weights and modules are the same objects."""
        for one in self._attached:
            one.detach()

    def verify(self, picture: Any = None, *, iou: float = 0.95) -> EngineVerdict:
        """Run the model in the engine, in eager and in float64 on the same picture, and judge the difference.

        Args:
            picture: a path, an array, a PIL picture, or a clip (a list of them, a folder); a made-up one if None.
            iou: for bf16 and int8, the least mean overlap of masks with those of eager float32.

        Returns:
            The verdict; it is true in an `if` where it holds.

        Raises:
            ValueError: a picture is none.
        """
        calls = Counter({path: found.get("engine", 0) for path, found in self.calls.items()})
        was = self.applied
        verdict = verify(self._switch, self.model, picture, self.settings.precision, iou, was=was)
        idle = [path for path, found in self.calls.items() if found.get("engine", 0) == calls[path]]
        return verdict.without(idle)

    def _switch(self, on: bool) -> None:
        for one in self._attached:
            if on:
                one.attach()
            else:
                one.detach()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "schema": 1,
            "model": f"{type(self.model).__module__}.{type(self.model).__qualname__}",
            "backend": self.settings.backend,
            "precision": self.settings.precision,
            "wide": list(self.settings.wide),
            "graphs": [asdict(row) for row in self.rows],
            "calls": self.calls,
            "impact": None if self.impact is None else self.impact.to_dict(),
        }

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """The report as a table."""
        width = max(len(row.path) for row in self.rows)
        lines = [
            f"{row.path:{width}}  {row.graph:22}  {row.engine:16}  {row.seconds:6.1f} s"
            f"{'  from the cache' if row.cached else ''}"
            for row in self.rows
        ]
        if self.impact is not None:
            lines.append(f"{IMPACT}: {self.impact.summary()}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"EngineReport({self.settings.name}, {len(self._attached)} modules, applied={self.applied})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def engine_report(model: nn.Module) -> EngineReport:
    """The report on a model that runs in an engine, as `samblocks.load(..., backend=...)` gives it.

    Args:
        model: the model.

    Raises:
        EngineError: nothing of it does.

    Examples:
        >>> engine_report(nn.Linear(2, 2))
        Traceback (most recent call last):
        ...
        samblocks.errors.EngineError: nothing in this Linear runs in an engine: call samblocks.accelerate
    """
    for module in model.modules():
        found = vars(module).get("_compiled_call_impl")
        if isinstance(found, Attached) and isinstance(found.report, EngineReport):
            return found.report
    raise EngineError(f"nothing in this {type(model).__name__} runs in an engine: call samblocks.accelerate")
