"""Rules between Meta's layout and another one, and tables of rules that can be read both ways.

A key fits exactly one rule on its side, so the order of the rules decides nothing about the mapping.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from samblocks.errors import LayoutError
from samblocks.layouts.operations import (
    IDENTITY,
    Axes,
    Create,
    Deduplicate,
    Drop,
    Duplicate,
    Operation,
    Pack,
)
from samblocks.layouts.templates import Bindings, TemplateIndex, fill, holes
from samblocks.layouts.tensors import TensorInfo


@dataclass(frozen=True)
class Rule:
    """Which tensors of Meta's layout are which tensors of another one.

    Args:
        meta: templates on Meta's side.
        other: templates on the other side.
        operation: what happens from Meta's side to the other; its inverse happens from there to Meta's.
        optional: whether a file in the other layout may lack it (of several copies: all but one).
        why: the reason of a dropped or invented tensor.
        only_with: for a created tensor, a key of the side it is created from that must be there too.
    """

    meta: tuple[str, ...]
    other: tuple[str, ...]
    operation: Operation = IDENTITY
    optional: bool = False
    why: str = ""
    only_with: str = ""

    def __post_init__(self) -> None:
        found = {frozenset(holes(template)) for template in (*self.meta, *self.other)}
        if len(found) > 1:
            raise LayoutError(f"rule {self.meta} <-> {self.other} must have the same holes everywhere")

    def without_other(self, why: str) -> Rule:
        """The same tensors of Meta's side in a layout that has no place for them."""
        return Rule(self.meta, (), Drop(), why=why)


def same(meta: str, other: str) -> Rule:
    """One tensor under two names."""
    return Rule((meta,), (other,))


def reshaped(meta: str, before: str, other: str, after: str) -> Rule:
    """One tensor whose axes are ordered or padded differently, as `Axes(before, after)`."""
    return Rule((meta,), (other,), Axes(before, after))


def packed(meta: Sequence[str], other: str) -> Rule:
    """Several tensors of Meta's side are one on the other."""
    return Rule(tuple(meta), (other,), Pack(len(meta)))


def duplicated(meta: str, other: Sequence[str]) -> Rule:
    """One tensor of Meta's side stands several times on the other, where all copies but one may be absent."""
    return Rule((meta,), tuple(other), Duplicate(len(other)), optional=True)


def only_meta(meta: str, why: str, create: Create | None = None, only_with: str = "") -> Rule:
    """A tensor that only Meta's side has, and what is created for it when a file is brought there."""
    return Rule((meta,), (), Drop(create), why=why, only_with=only_with)


def only_other(other: str, why: str, create: Create | None = None, only_with: str = "") -> Rule:
    """A tensor that only the other side has, and what is created for it when a file is brought there."""
    return Rule((), (other,), create or Drop(), optional=True, why=why, only_with=only_with)


@dataclass(frozen=True)
class TensorMapping:
    """One operation on named tensors.

    Args:
        operation: what happens.
        inputs: the tensors it takes.
        outputs: the tensors it gives.
        why: the reason, where something is dropped or created.
    """

    operation: Operation
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class TensorMappings:
    """What a table makes of a set of tensors.

    Args:
        mappings: one per rule and place; every tensor that was used is an input of exactly one.
        unexplained: the tensors that no rule takes, with the reason.
        infos: shape and dtype of every output.
    """

    mappings: tuple[TensorMapping, ...]
    unexplained: Mapping[str, str]
    infos: Mapping[str, TensorInfo]


class Table:
    """Rules between Meta's layout and another one.

    Args:
        name: the other layout, for messages.
        rules: the rules, in any order.
        first: first parts of the other layout's names that stand first in its state dict, where the order
            of the rules does not say so already.

    Raises:
        LayoutError: two rules fit one key, or the holes of a rule differ.

    >>> table = Table("demo", [same("blocks.{i}.norm{n}.*", "layers.{i}.layer_norm{n}.*")])
    >>> table.to_other("blocks.3.norm1.weight")
    ('layers.3.layer_norm1.weight',)
    >>> table.to_meta("layers.3.layer_norm1.weight")
    ('blocks.3.norm1.weight',)
    """

    def __init__(self, name: str, rules: Iterable[Rule], first: Iterable[str] = ()) -> None:
        self.name = name
        self.rules = tuple(rules)
        self._meta = TemplateIndex()
        self._other = TemplateIndex(first)
        for owner, rule in enumerate(self.rules):
            for index, templates in ((self._meta, rule.meta), (self._other, rule.other)):
                for template in templates:
                    index.add(template, owner)

    def _find(self, key: str, index: TemplateIndex, side: str) -> tuple[Rule, Bindings]:
        found = index.find(key)
        if found is None:
            near = ", ".join(index.nearest(key))
            raise LayoutError(f"no rule of {self.name} takes {key!r} of {side}; the nearest are {near}")
        return self.rules[found[0]], found[1]

    def to_other(self, key: str) -> tuple[str, ...]:
        """The names on the other side of what a key of Meta's side is, or goes into.

        Args:
            key: a tensor's name in Meta's layout.

        Returns:
            its names in the other layout: none if it has no place there, several if it is copied.

        Raises:
            LayoutError: no rule takes the key; the three nearest are named.
        """
        rule, bindings = self._find(key, self._meta, "Meta's layout")
        return tuple(fill(template, bindings) for template in rule.other)

    def to_meta(self, key: str) -> tuple[str, ...]:
        """The names on Meta's side of what a key of the other side is, or holds; see `to_other`."""
        rule, bindings = self._find(key, self._other, f"layout {self.name}")
        return tuple(fill(template, bindings) for template in rule.meta)

    def knows_other(self, key: str) -> bool:
        """Whether a rule takes this key of the other side."""
        return self._other.find(key) is not None

    def optional_other(self, key: str) -> bool:
        """Whether a file of the other layout may lack this key."""
        found = self._other.find(key)
        return found is not None and self.rules[found[0]].optional

    def numberless_other(self) -> set[str]:
        """What the keys of the other side look like with `#` for every number."""
        return self._other.numberless()

    def rank_other(self, key: str) -> list[tuple[int, int]]:
        """What keys of the other side are sorted by to stand in its state-dict order."""
        return self._other.rank(key)

    def map(self, tensors: Mapping[str, TensorInfo], *, to_meta: bool) -> TensorMappings:
        """What becomes of tensors.

        Args:
            tensors: the names of one side, with shapes and dtypes.
            to_meta: whether that side is the other one, so that the result is on Meta's.

        Returns:
            one mapping per rule and place.
        """
        index = self._other if to_meta else self._meta
        groups: dict[tuple[int, Bindings], set[str]] = {}
        unexplained: dict[str, str] = {}
        for key in tensors:
            found = index.find(key)
            if found is None:
                unexplained[key] = f"no tensor of {self.name if to_meta else 'Meta'} has this name"
            else:
                groups.setdefault(found, set()).add(key)
        mappings: list[TensorMapping] = []
        infos: dict[str, TensorInfo] = {}
        for (owner, bindings), keys in groups.items():
            mapping, problem = self._mapping(self.rules[owner], bindings, keys, to_meta=to_meta)
            try:
                results = (
                    mapping.operation.infer([tensors[key] for key in mapping.inputs]) if not problem else ()
                )
            except LayoutError as error:
                problem = str(error)
            if problem:
                unexplained.update(dict.fromkeys(sorted(keys), problem))
                continue
            mappings.append(mapping)
            infos.update(zip(mapping.outputs, results, strict=True))
        mappings.extend(self._created(tensors, infos, to_meta=to_meta))
        return TensorMappings(tuple(mappings), unexplained, infos)

    @staticmethod
    def _mapping(
        rule: Rule, bindings: Bindings, keys: set[str], *, to_meta: bool
    ) -> tuple[TensorMapping, str]:
        """The mapping of a rule at one place, and what hinders it."""
        sources, targets = (rule.other, rule.meta) if to_meta else (rule.meta, rule.other)
        inputs = tuple(fill(template, bindings) for template in sources)
        outputs = tuple(fill(template, bindings) for template in targets)
        operation = rule.operation.inverse if to_meta else rule.operation
        if isinstance(operation, Deduplicate):
            inputs = tuple(key for key in inputs if key in keys)
            operation = Deduplicate(len(inputs)) if len(inputs) > 1 else IDENTITY
        if operation is None or isinstance(operation, Create) or not targets:
            operation = Drop()
        lacking = [key for key in inputs if key not in keys]
        problem = f"it cannot be used without {', '.join(lacking)}" if lacking else ""
        return TensorMapping(operation, inputs, outputs, rule.why), problem

    def _created(
        self, tensors: Mapping[str, TensorInfo], infos: dict[str, TensorInfo], *, to_meta: bool
    ) -> list[TensorMapping]:
        """The mappings without an input; what they give is added to `infos`."""
        mappings = []
        for rule in self.rules:
            sources, targets = (rule.other, rule.meta) if to_meta else (rule.meta, rule.other)
            operation = rule.operation.inverse if to_meta else rule.operation
            if (
                sources
                or not isinstance(operation, Create)
                or (rule.only_with and rule.only_with not in tensors)
            ):
                continue
            mappings.append(TensorMapping(operation, (), targets, rule.why))
            infos[targets[0]] = operation.info
        return mappings
