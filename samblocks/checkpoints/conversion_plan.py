"""A conversion worked out before anything is read: what becomes what, what is dropped, what a base gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from samblocks.checkpoints.advice import merge_first
from samblocks.checkpoints.mismatch_text import copies
from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.errors import LayoutError, counted
from samblocks.layouts import Detection, Plan, Step, TensorInfo, detect, expected, plan, tied_keys
from samblocks.layouts.cousins import not_supported
from samblocks.layouts.tensors import WEIGHT_DTYPES, is_stored_as, item_size
from samblocks.variants import SAM2Variant, Variant

_NAMED = 12
_DROP = "leave them out with drop=True (--drop)"


@dataclass(frozen=True, slots=True)
class Named:
    """Tensors and what messages call them."""

    source: TensorSource
    where: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion does.

    Args:
        source: the layout that the tensors have.
        target: the layout that they get.
        variant: the variant, one of several where the tensors fit more than one.
        model_class: the class of transformers that is written, if any.
        tensors: how many are written.
        nbytes: their bytes.
        dropped: names, in the source, of what the target has no place for, each with the reason.
        invented: names, in the target, of what the source does not hold, each with what is put there.
        from_base: names, in the target, of what the base gave.
        same: whether every tensor has the same name and values in both layouts.
    """

    source: str
    target: str
    variant: str
    model_class: str | None
    tensors: int
    nbytes: int
    dropped: tuple[tuple[str, str], ...]
    invented: tuple[tuple[str, str], ...]
    from_base: tuple[str, ...]
    same: bool = False


class StepTensors:
    """The results of a plan by name, in any order: a step is carried out when one of its results is asked for.

    Args:
        plan: the plan.
        get: gives a tensor of the source by its name.
    """

    def __init__(self, plan: Plan, get: Callable[[str], Tensor]) -> None:
        self._get = get
        self._steps = {name: step for step in plan.steps for name in step.targets}
        self._waiting: dict[str, Tensor] = {}

    def __call__(self, name: str) -> Tensor:
        """The tensor; each is given once."""
        if name not in self._waiting:
            self._waiting.update(self._steps[name].apply(self._get))
        return self._waiting.pop(name)


def prepare(
    given: Named,
    to: str,
    *,
    drop: bool,
    base: Named | None,
    model_class: str | None,
    file: bool = False,
) -> tuple[TensorSource, Conversion]:
    """Work a conversion out.

    Args:
        given: the tensors.
        to: the layout that is wanted.
        drop: whether tensors may be dropped.
        base: a whole checkpoint for what is missing.
        model_class: the class of transformers that is wanted.
        file: it is for a file, where libraries leave out the second name of a tensor that has two.

    Raises:
        LayoutError: a tensor is not understood, would be dropped, or is missing.
    """
    found = _recognised(given, drop=drop)
    below = None if base is None else detect(base.source.tensors)
    row = _variant(found, below)
    plans = [_plan(given.source, found, to, row, model_class)]
    if base is not None and below is not None:
        plans.append(_plan(base.source, below, to, row, model_class))
    dropped = _dropped(given, plans[0])
    if dropped and not drop:
        names = [name for name, _ in dropped]
        raise LayoutError(
            f"{given.where} has {counted(len(names), 'tensor')} that {to} has no place for ({_listed(names)}); "
            "allow it with drop=True (--drop)"
        )
    chosen = _chosen(plans)
    missing = [name for name in plans[-1].missing if name not in chosen]
    if missing:
        hint = (
            "give one that holds everything"
            if base is not None
            else "give a whole checkpoint as base (--base)"
        )
        raise LayoutError(
            f"{given.where} lacks {counted(len(missing), 'tensor')} of {to} ({_listed(missing)}); {hint}"
        )
    tied = tied_keys(to, row) if file else ()
    wanted = expected(to, row, plans[0].model_class)
    order = [name for name in wanted if name in chosen and name not in tied]
    infos = {name: plans[chosen[name]].infos[name] for name in order}
    check_dtypes(infos, {name: wanted[name].dtype for name in order}, given.where)
    getters = [
        StepTensors(one, named.source.get) for one, named in zip(plans, (given, base), strict=False) if named
    ]
    target = TensorSource(infos, lambda name: getters[chosen[name]](name), envelope_of(to, row))
    return target, _summary(found, plans, infos, chosen, dropped, row)


def check_dtypes(infos: Mapping[str, TensorInfo], needed: Mapping[str, str], where: str) -> None:
    """Refuse to write what `load` would refuse to read.

    Args:
        infos: what is to be written.
        needed: for each name the dtype that a model has there.
        where: what messages call the tensors.

    Raises:
        LayoutError: a weight is stored as integers, booleans, complex numbers or float8, or a counter as none.
    """
    wrong = [
        f"{name}: {info.dtype}" for name, info in infos.items() if not is_stored_as(info.dtype, needed[name])
    ]
    if wrong:
        raise LayoutError(
            f"{where} has {counted(len(wrong), 'tensor')} of a dtype that no model loads ({_listed(wrong)}); "
            "make floating-point weights of them first"
        )


def envelope_of(layout: str, row: Variant) -> str:
    """The key under which a layout's own `.pt` files keep the state dict."""
    return "model" if layout in ("meta", "ultralytics") and isinstance(row, SAM2Variant) else ""


def _recognised(given: Named, *, drop: bool) -> Detection:
    """What the tensors are; what is not understood among them may only be dropped.

    Raises:
        LayoutError: some are missing, misshapen or not understood.
    """
    tensors = given.source.tensors
    hint = not_supported(tensors) or merge_first(tensors)
    try:
        found = detect(tensors, strict=False)
        if found.missing or found.misshapen:
            detect(tensors)  # raises, with all that is missing or misshapen
    except LayoutError as error:
        raise LayoutError(f"{error}; {hint}" if hint else str(error)) from None
    if found.rivals:
        raise LayoutError(f"in {given.where} {copies(found)}")
    unknown = (*found.unexpected, *found.beside)
    if unknown and not drop:
        dropped = f"{hint}; {_DROP}" if hint else _DROP
        raise LayoutError(
            f"{given.where} is {' or '.join(found.candidates)} with {counted(len(unknown), 'tensor')} not understood "
            f"({_listed(unknown)}); {merge_first(unknown) or dropped}"
        )
    return found


def _variant(found: Detection, below: Detection | None) -> Variant:
    """The first variant that both the tensors and the base can be."""
    if below is None:
        return found.rows[0]
    common = [row for row in found.rows if row in below.rows]
    if not common:
        raise LayoutError(
            f"base is {' or '.join(below.candidates)}, but the tensors are those of {' or '.join(found.candidates)}"
        )
    return common[0]


def _plan(source: TensorSource, found: Detection, to: str, row: Variant, model_class: str | None) -> Plan:
    return plan(
        source.tensors,
        source=found.layout,
        target=to,
        row=row,
        model_class=model_class,
        source_class=found.model_class,
    )


def _dropped(given: Named, first: Plan) -> list[tuple[str, str]]:
    """What is lost: not what only describes the tensors, such as the text of a configuration."""
    unknown = [(name, step.why) for step in first.of_kind("unexplained") for name in step.sources]
    tensors = given.source.tensors
    return unknown + [
        (name, step.why)
        for step in first.of_kind("dropped")
        for name in step.sources
        if tensors[name].dtype in WEIGHT_DTYPES
    ]


def _chosen(plans: Sequence[Plan]) -> dict[str, int]:
    """For each target the plan that it is taken from: the first that really has it, else the first to invent it."""
    chosen: dict[str, int] = {}
    for invented in (False, True):
        for number, one in enumerate(plans):
            for step in one.steps:
                if (step.kind == "invented") == invented:
                    for name in step.targets:
                        chosen.setdefault(name, number)
    return chosen


def _summary(
    found: Detection,
    plans: Sequence[Plan],
    infos: dict[str, TensorInfo],
    chosen: dict[str, int],
    dropped: list[tuple[str, str]],
    row: Variant,
) -> Conversion:
    steps: dict[str, Step] = {
        name: step
        for number, one in enumerate(plans)
        for step in one.steps
        for name in step.targets
        if chosen[name] == number
    }
    return Conversion(
        source=found.layout,
        target=plans[0].target,
        variant=row.name,
        model_class=plans[0].model_class,
        tensors=len(infos),
        nbytes=sum(prod(info.shape) * item_size(info.dtype) for info in infos.values()),
        dropped=tuple(dropped),
        invented=tuple((name, steps[name].why) for name in infos if steps[name].kind == "invented"),
        from_base=tuple(name for name in infos if chosen[name] and steps[name].kind != "invented"),
        same=all(step.sources == step.targets and not step.op for step in steps.values()),
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
