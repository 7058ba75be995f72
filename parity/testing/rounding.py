"""Where two sides hold tensors of their own: how much the rounding of these explains in float64.

A table that one side makes beforehand and the other when it is called, or a convolution with a norm folded into it, is
rounded once to the working precision. In float64 that rounding shows, and it is no bug: so it is measured.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from parity.execution import fill
from parity.testing.call import Ask
from parity.testing.reach import Function, Twin
from parity.testing.repeat import fresh
from parity.testing.values import WIDE, Inputs, digest, mapped
from parity.testing.wide import lifted_run

_TRIES = 3
"""How often tensors are rounded by chance; the largest effect counts."""

_SPREAD = 4.0
"""How far the one rounding that happened may exceed the largest of these."""


def explained(
    sides: Sequence[tuple[Function, Mapping[str, Tensor], Mapping[str, torch.dtype]]],
    inputs: Inputs,
    ask: Ask,
) -> dict[str, float]:
    """The largest difference in float64 that rounding explains, by output.

    Args:
        sides: for each, the callable, its outputs in float64, and the tensors of its own; see `own`.
        inputs: of all.
        ask: what their runs were asked for.
    """
    allowed: dict[str, float] = {}
    for function, outputs, names in sides:
        for number in range(_TRIES) if names else ():
            try:
                nudge = partial(_round, own=names, number=number)
                found = lifted_run(function, inputs, ask, change=nudge)
            except Exception:  # it depends on values that changed: then nothing is known, and nothing excused
                return {}
            for name, value in outputs.items():
                if name in found and found[name].shape == value.shape and value.numel():
                    difference = (found[name] - value).abs().nan_to_num()
                    allowed[name] = max(allowed.get(name, 0.0), _SPREAD * float(difference.max()))
    return allowed


def own(mine: Function, other: Function) -> dict[str, torch.dtype]:
    """Tensors with values that the other side has nowhere: they were rounded by themselves."""
    known = [_numbers(value) for _, value in _held(fresh(other))]
    every = torch.cat(known) if known else torch.empty(0, dtype=torch.float64)
    return {
        name: value.dtype
        for name, value in _held(fresh(mine))
        if value.numel() and not bool(torch.isin(_numbers(value), every).all())
    }


def own_by_hash(mine: Function, known: Container[str]) -> dict[str, torch.dtype]:
    """The same where hashes are all that is known of the other side's tensors."""
    return {
        name: value.dtype
        for name, value in _held(fresh(mine))
        if value.numel() and digest((value,)) not in known
    }


def hashes(function: Function) -> dict[str, str]:
    """Hashes of every tensor that a callable's modules hold, by name."""
    return {name: digest((value,)) for name, value in _held(fresh(function))}


def names_of(own_tensors: Iterable[str]) -> str:
    """The first few names, for a sentence."""
    names = list(own_tensors)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _held(twin: Twin) -> Iterator[tuple[str, Tensor]]:
    """Every narrow tensor of the modules that are reached: parameters, buffers, and what is neither."""
    for prefix, module in twin.named_modules():
        for path, part in module.named_modules():
            places = {
                **part._parameters,
                **part._buffers,
                **{n: v for n, v in vars(part).items() if n[0] != "_"},
            }
            for name, item in places.items():
                found: list[tuple[str, Tensor]] = []
                mapped(
                    item, partial(_note, found), prefix + (f"{path}." if path else "") + name, arrays=False
                )
                yield from found


def _note(found: list[tuple[str, Tensor]], path: str, value: Tensor) -> Tensor:
    if value.dtype in WIDE:
        found.append((path, value.detach()))
    return value


def _numbers(value: Tensor) -> Tensor:
    real = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    return real.detach().cpu().double().flatten()


def _round(twin: Twin, *, own: Mapping[str, torch.dtype], number: int) -> None:
    """Change tensors by half a unit in the last place of the type that they were rounded to, at most."""
    for prefix, module in twin.named_modules():
        for path, part in module.named_modules():
            start = prefix + (f"{path}." if path else "")
            for place in (part._parameters, part._buffers, vars(part)):
                for name, item in list(place.items()):
                    if place is vars(part) and name[0] == "_":
                        continue

                    def change(found: str, value: Tensor) -> Tensor:
                        return (
                            _rounded(value, own[found], f"rounding {number} of {found}")
                            if found in own
                            else value
                        )

                    new = mapped(item, change, start + name, arrays=False)
                    if isinstance(item, torch.nn.Parameter) and new is not item:
                        new = torch.nn.Parameter(new, item.requires_grad)
                    place[name] = new


def _rounded(value: Tensor, narrow: torch.dtype, name: str) -> Tensor:
    unit = torch.finfo(narrow).eps / 2
    factor = 1.0 + unit * fill.uniform(name, value.shape, -1.0, 1.0)
    return value.detach() * torch.from_numpy(np.asarray(factor)).to(value.device)
