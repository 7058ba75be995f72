"""Which rules of the layouts concern a class: those for tensors of the modules that are of this class."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from samblocks.layouts import LAYOUTS, Rule, table, variants_of
from samblocks.variants import VARIANTS

# One variant of each family has every kind of module.
_VARIANTS = ("sam2.1_hiera_tiny", "sam_vit_b", "mobile_sam")


@dataclass(frozen=True)
class KeyRule:
    """One rule between Meta's layout and another one.

    Attributes:
        layout: the other layout.
        variant: the variant in whose table it stands.
        meta: names on Meta's side.
        other: names on the other side; none for what has no place there.
        what: what happens beside a new name.
    """

    layout: str
    variant: str
    meta: tuple[str, ...]
    other: tuple[str, ...]
    what: str


def places_of(member: type[nn.Module]) -> dict[str, list[str]]:
    """Where modules of a class are in the released models: variant → prefixes, with `#` for each number."""
    found: dict[str, list[str]] = {}
    for variant in _VARIANTS:
        prefixes = dict.fromkeys(
            _numberless(name) for name, module in _model(variant).named_modules() if type(module) is member
        )
        if prefixes:
            found[variant] = list(prefixes)
    return found


def rules_of(member: type[nn.Module]) -> Iterator[KeyRule]:
    """The rules that name a tensor inside a module of this class."""
    for variant, prefixes in places_of(member).items():
        inside = tuple(f"{prefix}." if prefix else "" for prefix in prefixes)
        for layout in LAYOUTS:
            if layout in ("meta", "ultralytics") or VARIANTS[variant] not in variants_of(layout):
                continue  # the same names as Meta's
            groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Rule]] = {}
            for rule in table(layout, VARIANTS[variant]).rules:
                key = _all_numberless(rule.meta), _all_numberless(rule.other)
                if any(name.startswith(inside) for name in key[0]):
                    groups.setdefault(key, []).append(rule)
            for (meta, other), rules in groups.items():
                first = rules[0]
                text = first.why or str(first.operation)
                # Numbers say something where one rule alone has them; a run of blocks is written as `#`.
                names = (first.meta, first.other) if len(rules) == 1 else (meta, other)
                yield KeyRule(layout, variant, *names, text)


@cache
def _model(variant: str) -> nn.Module:
    from samblocks.models.build import assemble

    with torch.device("meta"):
        return assemble(variant)


def _numberless(template: str) -> str:
    """A name with `#` for every number or hole, so that names of tensors and templates can be compared."""
    return re.sub(r"(?<=\.)(\d+|\{\w+\})(?=\.|$)", "#", template)


def _all_numberless(templates: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_numberless, templates)))
