"""The verdict on an engine: R, pixels and scores, against eager in float32 and in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.engines.sibling import ManyRows
from samblocks.errors import EngineError
from samblocks.numerics.draws import settle, undecided, vary
from samblocks.numerics.float64 import lifted
from samblocks.numerics.nested import subscripted, tensors
from samblocks.numerics.verdict import BOUND, Comparison, compare, error, largest, ratio_of, rms
from samblocks.swap.float64 import widen, widened
from samblocks.swap.short_drive import as_images, made_up, short_drive
from samblocks.swap.verify import evaluating

Outputs = Mapping[str, Tensor]

TOLD = "out['object scores']"
"""An output of which changes are told and R is not judged: a number for each frame, in which R is luck."""

Run = tuple[Outputs, Outputs, Outputs, Outputs]
"""What the engine gave, eager in float32, the same by kernels for many rows, and eager in float64, for one picture."""


@dataclass(frozen=True)
class OutputFigures:
    """One output of the model.

    Args:
        output: where it is in what the model's way gives.
        ratio: R: rms(engine − float64) / rms(eager float32 − float64), where eager's is the larger error of the two
            ways in which it computes products, see `samblocks.engines.sibling`. Where one draw was above 2, the
            geometric mean of further ones.
        largest: the largest difference from eager float32, and `relative` the same over the largest value.
        relative: see there.
        pixels: elements of a mask; 0 where it is no mask.
        flipped: pixels whose sign is another one than eager's.
        beyond: pixels whose sign is not float64's although its logit is farther from 0 than twice float32's own
            largest error there.
        iou: overlap with eager's mask, 1 where both are empty.
        score: of scores, the largest difference from eager's.
        alone: R of the first picture held against eager as it comes, without the other way.
        draws: how many pictures R is of.
        precise: whether R holds, see `samblocks.numerics.rule`.
    """

    output: str
    ratio: float
    largest: float
    relative: float
    pixels: int = 0
    flipped: int = 0
    beyond: int = 0
    iou: float | None = None
    score: float | None = None
    alone: float = 0.0
    draws: int = 1
    precise: bool = True


@dataclass(frozen=True)
class EngineVerdict:
    """The figures of all outputs, and whether they hold.

    Args:
        outputs: a row for each.
        precision: of the engine.
        least_iou: what the masks of a lower precision must overlap with eager's at least.
        not_run: modules whose calls the engine did not answer.
    """

    outputs: tuple[OutputFigures, ...]
    precision: str
    least_iou: float
    not_run: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """In float32: R of every output holds, no pixel beyond rounding. Else: masks overlap enough."""
        if self.not_run or not self.outputs:
            return False
        if self.precision == "f32":
            return all(row.precise for row in self.outputs) and self.beyond == 0
        return self.iou is not None and self.iou >= self.least_iou

    def __bool__(self) -> bool:
        return self.holds

    @property
    def verdict(self) -> str:
        """WITHIN, DIVERGED, or INCOMPLETE where some module did not run in the engine."""
        return "INCOMPLETE" if self.not_run else "WITHIN" if self.holds else "DIVERGED"

    @property
    def ratio(self) -> float:
        """The largest R."""
        return max((row.ratio for row in self.outputs if row.output != TOLD), default=float("nan"))

    @property
    def pixels(self) -> int:
        """Pixels of all masks."""
        return sum(row.pixels for row in self.outputs)

    @property
    def flipped(self) -> int:
        """Those that flipped."""
        return sum(row.flipped for row in self.outputs)

    @property
    def beyond(self) -> int:
        """Those of them that rounding cannot explain."""
        return sum(row.beyond for row in self.outputs)

    @property
    def iou(self) -> float | None:
        """The mean overlap of masks."""
        found = [row.iou for row in self.outputs if row.iou is not None]
        return sum(found) / len(found) if found else None

    @property
    def score(self) -> float | None:
        """The largest change of a score."""
        return max((row.score for row in self.outputs if row.score is not None), default=None)

    def without(self, idle: Sequence[str]) -> EngineVerdict:
        """The same, with modules that did not run."""
        return replace(self, not_run=tuple(idle))

    def summary(self) -> str:
        """One line."""
        iou = "-" if self.iou is None else f"{self.iou:.4f}"
        score = "-" if self.score is None else f"{self.score:.1e}"
        idle = f"; not in the engine: {', '.join(self.not_run)}" if self.not_run else ""
        return (
            f"{self.verdict}: R {self.ratio:.3g}, {self.flipped} of {self.pixels} pixels flipped, {self.beyond} beyond "
            f"rounding, mean IoU {iou}, scores change by {score}{idle}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        figures = ("verdict", "ratio", "pixels", "flipped", "beyond", "iou", "score")
        whole = {name: getattr(self, name) for name in figures}
        rows = [asdict(row) for row in self.outputs]
        return {"precision": self.precision, **whole, "not_run": list(self.not_run), "outputs": rows}

    def __str__(self) -> str:
        """The figures as a table."""
        lines = [
            f"R {row.ratio:8.3g} ({row.alone:.3g} against eager as it comes)  {row.relative:8.1e}  "
            f"{f'{row.flipped} flipped, {row.beyond} beyond' if row.pixels else '':26}  {row.output}"
            f"{f', {row.draws} draws' if row.draws > 1 else ''}"
            for row in self.outputs
        ]
        return "\n".join([*lines, self.summary()])


def verify(
    switch: Callable[[bool], None], model: nn.Module, picture: Any, precision: str, iou: float, *, was: bool
) -> EngineVerdict:
    """Run a model three times, and again where one R would be luck; see `EngineReport.verify`.

    The model is left as it was found.

    Args:
        switch: puts the engine in (True) or takes it out.
        model: the model.
        picture: see there.
        precision: of the engine.
        iou: see there.
        was: whether the engine is in.
    """
    drive = short_drive(model, scores=True)
    if drive is None:
        raise EngineError(f"a {type(model).__name__} has no way of its own from a picture to masks")
    images = made_up(model) if picture is None else as_images(picture, model)

    def run(images: Tensor) -> Run:
        switch(True)
        engine = outputs_of(drive(model, images))
        switch(False)
        return engine, *in_eager(drive, model, images)

    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        try:
            rows = judged(run(images), lambda draw: run(varied(images, draw)), precision)
        finally:
            switch(was)
    return EngineVerdict(rows, precision, iou)


def varied(images: Tensor, draw: int) -> Tensor:
    """The pictures of a further draw."""
    return vary(images, f"pictures, draw {draw}")


def judged(first: Run, again: Callable[[int], Run], precision: str) -> tuple[OutputFigures, ...]:
    """The figures of all outputs; in float32, R of one draw above 2 is settled by further draws.

    Args:
        first: the first draw.
        again: runs draw 1, 2, …
        precision: of the engine.
    """
    rows = {row.output: row for row in figures(*first)}
    if precision != "f32":
        return tuple(rows.values())
    found = _compared(*first)
    open_ones = {name: one for name, one in found.items() if undecided(one) and name != TOLD}
    settled = settle(open_ones, lambda draw: _compared(*again(draw)))
    return tuple(_settled(row, settled.get(name, found[name])) for name, row in rows.items())


def _settled(row: OutputFigures, found: Comparison) -> OutputFigures:
    ratio = row.ratio if found.draws == 1 or found.ratio is None else found.ratio
    precise = math.isfinite(ratio) if row.output == TOLD else not found.verdict.failed
    return replace(row, ratio=ratio, draws=found.draws, precise=precise)


def _compared(engine: Outputs, eager: Outputs, sibling: Outputs, truth: Outputs) -> dict[str, Comparison]:
    return {
        name: compare(engine[name].to(x.dtype), x, truth[name], honest=_honest(sibling[name], truth[name]))
        for name, x in eager.items()
    }


def _honest(sibling: Tensor, truth: Tensor) -> float:
    return error(sibling, truth).rms / (rms(truth) or 1.0)


def in_eager(drive: Callable[..., Any], model: nn.Module, images: Tensor) -> tuple[Outputs, Outputs, Outputs]:
    """What a model's own way gives in eager: in float32, by kernels for many rows, and in float64 throughout."""
    plain = outputs_of(drive(model, images))
    with ManyRows():
        sibling = outputs_of(drive(model, images))
    twin = widened(model)
    with lifted():
        return plain, sibling, outputs_of(drive(twin, widen(images)))


def outputs_of(found: Any) -> dict[str, Tensor]:
    """The floating-point tensors of a nested result, by where they are."""
    return {subscripted(path): x.clone() for path, x in tensors(found) if x.is_floating_point()}


def figures(engine: Outputs, eager: Outputs, sibling: Outputs, truth: Outputs) -> tuple[OutputFigures, ...]:
    """Judge every output.

    Args:
        engine: of the engine.
        eager: of eager in float32.
        sibling: of eager in float32, by kernels for many rows.
        truth: of eager in float64.

    Examples:
        >>> truth = torch.tensor([[[[1.0, -1.0]]]]).double()
        >>> eager = {"masks": truth.float()}
        >>> found = figures({"masks": -truth.float()}, eager, eager, {"masks": truth})
        >>> found[0].flipped, found[0].beyond, found[0].iou
        (2, 2, 0.0)
    """
    return tuple(_figures(name, engine[name], eager[name], sibling[name], truth[name]) for name in eager)


def _figures(name: str, engine: Tensor, eager: Tensor, sibling: Tensor, truth: Tensor) -> OutputFigures:
    engine = engine.to(eager.dtype)
    own = error(eager, truth)
    finite = bool(engine.isfinite().all()) or not bool(eager.isfinite().all())
    ratio, alone = (
        ratio_of(engine, truth, own, honest=honest)[0] if finite else float("inf")
        for honest in (_honest(sibling, truth), 0.0)
    )
    difference = float((engine.double() - eager.double()).abs().max()) if eager.numel() else 0.0
    found = OutputFigures(name, ratio, difference, difference / (largest(eager) or 1.0), alone=alone)
    if "mask" in name and "maskmem" not in name:
        flipped = (engine > 0) != (eager > 0)
        rounding = BOUND * max(own.worst, torch.finfo(eager.dtype).eps * largest(truth))
        beyond = ((engine > 0) != (truth > 0)) & (truth.abs() > rounding)
        both, either = ((engine > 0) & (eager > 0)).sum(), ((engine > 0) | (eager > 0)).sum()
        return replace(
            found,
            pixels=eager.numel(),
            flipped=int(flipped.sum()),
            beyond=int(beyond.sum()),
            iou=float(both / either) if either else 1.0,
        )
    return replace(found, score=difference) if "score" in name else found
