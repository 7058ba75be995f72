"""Rules between Meta's layout and another one, and tables of rules that can be read both ways.

A key fits exactly one rule on its side, so the order of the rules decides nothing about the mapping.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from samblocks.errors import LayoutError
from samblocks.layouts.operations import KEEP, Agree, Axes, Copies, Drop, Make, Operation, Pack
from samblocks.layouts.templates import Bindings, TemplateIndex, fill, holes
from samblocks.layouts.tensors import TensorInfo


@dataclass(frozen=True)
class Rule:
    """Which tensors of Meta's layout are which tensors of another one.

    Args:
        meta: templates on Meta's side.
        other: templates on the other side.
        operation: what happens from Meta's side to the other; its inverse is the way back.
        optional: whether a file in the other layout may lack it (of several copies: all but one).
        why: the reason of a dropped or invented tensor.
        beside: a key of the other side of a one-sided rule; the tensor is invented only where that key is.
    """

    meta: tuple[str, ...]
    other: tuple[str, ...]
    operation: Operation = KEEP
    optional: bool = False
    why: str = ""
    beside: str = ""

    def __post_init__(self) -> None:
        found = {holes(template) for template in (*self.meta, *self.other)}
        if len(found) > 1:
            raise LayoutError(f"rule {self.meta} <-> {self.other} must have the same holes everywhere")

    def without_other(self, why: str) -> Rule:
        """The same tensors of Meta's side in a layout that has no place for them."""
        return Rule(self.meta, (), Drop(), why=why)


def same(meta: str, other: str) -> Rule:
    """One tensor under two names."""
    return Rule((meta,), (other,))


def moved(meta: str, before: str, other: str, after: str) -> Rule:
    """One tensor whose axes are ordered or padded differently, as `Axes(before, after)`."""
    return Rule((meta,), (other,), Axes(before, after))


def packed(meta: Sequence[str], other: str) -> Rule:
    """Several tensors of Meta's side are one on the other."""
    return Rule(tuple(meta), (other,), Pack(len(meta)))


def copied(meta: str, other: Sequence[str]) -> Rule:
    """One tensor of Meta's side stands several times on the other, where all copies but one may be absent."""
    return Rule((meta,), tuple(other), Copies(len(other)), optional=True)


def only_meta(meta: str, why: str, make: Make | None = None, beside: str = "") -> Rule:
    """A tensor that only Meta's side has, and what is invented for it on the way to Meta's side."""
    return Rule((meta,), (), Drop(make), why=why, beside=beside)


def only_other(other: str, why: str, make: Make | None = None, beside: str = "") -> Rule:
    """A tensor that only the other side has, and what is invented for it on the way there."""
    return Rule((), (other,), make or Drop(), optional=True, why=why, beside=beside)


@dataclass(frozen=True)
class Move:
    """One operation on named tensors.

    Args:
        operation: what happens.
        inputs: the tensors it takes.
        outputs: the tensors it gives.
        why: the reason, where something is dropped or invented.
    """

    operation: Operation
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class Moves:
    """What a table makes of a set of tensors.

    Args:
        moves: one per rule and place; every tensor that was used is an input of exactly one.
        unexplained: the tensors that no rule takes, with the reason.
        infos: shape and dtype of every output.
    """

    moves: tuple[Move, ...]
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

    def shapes_other(self) -> set[str]:
        """What the keys of the other side look like with `#` for every number."""
        return self._other.shapes()

    def rank_other(self, key: str) -> list[tuple[int, int]]:
        """What keys of the other side are sorted by to stand in its state-dict order."""
        return self._other.rank(key)

    def check(self, *, meta: Iterable[str] = (), other: Iterable[str] = ()) -> None:
        """Look every key up.

        Args:
            meta: keys of Meta's layout.
            other: keys of the other layout.

        Raises:
            LayoutError: a key that no rule takes.
        """
        for key in meta:
            self._find(key, self._meta, "Meta's layout")
        for key in other:
            self._find(key, self._other, f"layout {self.name}")

    def moves(self, tensors: Mapping[str, TensorInfo], *, to_meta: bool) -> Moves:
        """What becomes of tensors.

        Args:
            tensors: the names of one side, with shapes and dtypes.
            to_meta: whether that side is the other one, so that the result is on Meta's.

        Returns:
            one move per rule and place.
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
        moves: list[Move] = []
        infos: dict[str, TensorInfo] = {}
        for (owner, bindings), keys in groups.items():
            move, problem = self._move(self.rules[owner], bindings, keys, to_meta=to_meta)
            try:
                results = move.operation.infer([tensors[key] for key in move.inputs]) if not problem else ()
            except LayoutError as error:
                problem = str(error)
            if problem:
                unexplained.update(dict.fromkeys(sorted(keys), problem))
                continue
            moves.append(move)
            infos.update(zip(move.outputs, results, strict=True))
        moves.extend(self._inventions(tensors, infos, to_meta=to_meta))
        return Moves(tuple(moves), unexplained, infos)

    @staticmethod
    def _move(rule: Rule, bindings: Bindings, keys: set[str], *, to_meta: bool) -> tuple[Move, str]:
        """The move of a rule at one place, and what hinders it."""
        near, far = (rule.other, rule.meta) if to_meta else (rule.meta, rule.other)
        inputs = tuple(fill(template, bindings) for template in near)
        outputs = tuple(fill(template, bindings) for template in far)
        operation = rule.operation.inverse if to_meta else rule.operation
        if isinstance(operation, Agree):
            inputs = tuple(key for key in inputs if key in keys)
            operation = Agree(len(inputs)) if len(inputs) > 1 else KEEP
        if operation is None or isinstance(operation, Make) or not far:
            operation = Drop()
        lacking = [key for key in inputs if key not in keys]
        problem = f"it cannot be used without {', '.join(lacking)}" if lacking else ""
        return Move(operation, inputs, outputs, rule.why), problem

    def _inventions(
        self, tensors: Mapping[str, TensorInfo], infos: dict[str, TensorInfo], *, to_meta: bool
    ) -> list[Move]:
        """The moves without an input; what they give is added to `infos`."""
        moves = []
        for rule in self.rules:
            near, far = (rule.other, rule.meta) if to_meta else (rule.meta, rule.other)
            operation = rule.operation.inverse if to_meta else rule.operation
            if near or not isinstance(operation, Make) or (rule.beside and rule.beside not in tensors):
                continue
            moves.append(Move(operation, (), far, rule.why))
            infos[far[0]] = operation.info
        return moves
