"""Whole-key templates, and an index in which a key is found under the one template that it fits.

A template is a tensor name in which `{i}` stands for any integer, alone or at the end of a part
(`layer_norm{n}`), and a final `.*` for `.weight` or `.bias`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from samblocks.errors import LayoutError

Bindings = tuple[tuple[str, str], ...]
"""What the holes of a template stood for in a key, sorted by the hole's name."""

_HOLE = re.compile(r"(?P<before>[^{}]*)\{(?P<name>[a-z_]+)\}")
_DIGITS = "0123456789"
_LEAVES = ("weight", "bias")
_REMEMBERED = 4096
"""Keys whose template is remembered: one file is looked up several times."""


@lru_cache(maxsize=8192)
def parse(template: str) -> tuple[tuple[str, str | None], ...]:
    """The parts of a template, each with the name of its hole.

    Args:
        template: as `"blocks.{i}.norm{n}.*"`.

    Returns:
        per part its fixed text, and the name of the hole behind it or None; `*` is the hole of the last part.

    Raises:
        LayoutError: a part is empty, a brace is out of place, a hole stands twice or directly behind a digit.

    >>> parse("blocks.{i}.norm{n}.*")
    (('blocks', None), ('', 'i'), ('norm', 'n'), ('', '*'))
    """
    parts: list[tuple[str, str | None]] = []
    words = template.split(".")
    for place, word in enumerate(words):
        hole = _HOLE.fullmatch(word)
        if word == "*" and place == len(words) - 1:
            parts.append(("", "*"))
        elif hole and not hole["before"][-1:].isdigit():
            parts.append((hole["before"], hole["name"]))
        elif word and not set(word) & set("{}*"):
            parts.append((word, None))
        else:
            raise LayoutError(f"template {template!r} cannot be read at {word!r}")
    names = [name for _, name in parts if name]
    if len(set(names)) != len(names):
        raise LayoutError(f"template {template!r} has a hole twice")
    return tuple(parts)


def holes(template: str) -> frozenset[str]:
    """The names of a template's holes, `*` among them."""
    return frozenset(name for _, name in parse(template) if name)


def fill(template: str, bindings: Bindings) -> str:
    """The key that a template gives for what its holes stand for.

    >>> fill("layers.{i}.*", (("*", "bias"), ("i", "3")))
    'layers.3.bias'
    """
    if not bindings:
        return template
    values = dict(bindings)
    return ".".join(fixed + values[name] if name else fixed for fixed, name in parse(template))


def _numbered(word: str) -> tuple[str, str] | None:
    """A part of a name cut before the number at its end, if there is one, written without leading zeros."""
    before = word.rstrip(_DIGITS)
    number = word[len(before) :]
    return (before, number) if number == "0" or (number and number[0] != "0") else None


@dataclass
class _Node:
    """One part of the keys that share everything before it."""

    fixed: dict[str, tuple[int, _Node]] = field(default_factory=dict)
    numbered: dict[str, tuple[int, _Node]] = field(default_factory=dict)
    leaf: tuple[str, int, tuple[str, ...]] | None = None

    def child(self, text: str, *, hole: bool) -> _Node:
        among = self.numbered if hole else self.fixed
        if text not in among:
            among[text] = (len(self.fixed) + len(self.numbered), _Node())
        return among[text][1]


class TemplateIndex:
    """Templates, of which at most one fits any key.

    The order in which they were added decides nothing but the order of `rank`.

    Args:
        first: first parts of names that rank before all others, in this order.
    """

    def __init__(self, first: Iterable[str] = ()) -> None:
        self._root = _Node()
        self._templates: dict[str, int] = {}
        self._exact: dict[str, tuple[int, Bindings]] = {}
        self._found: dict[str, tuple[int, Bindings] | None] = {}
        for text in first:
            self._root.child(text, hole=False)

    def add(self, template: str, owner: int) -> None:
        """Add a template.

        Args:
            template: the template.
            owner: a number that `find` gives back.

        Raises:
            LayoutError: the template cannot be read, or some key would fit it and an earlier one.
        """
        parts = parse(template)
        for fixed in self._expanded(parts):
            rival = next(self._rivals(self._root, fixed), None)
            if rival is not None:
                raise LayoutError(f"templates {rival!r} and {template!r} both fit some key")
        for fixed in self._expanded(parts):
            node = self._root
            for text, name in fixed:
                node = node.child(text, hole=name is not None and name != "*")
            node.leaf = (template, owner, tuple(name for _, name in fixed if name))
            if all(name in (None, "*") for _, name in fixed):
                bound = tuple(("*", text) for text, name in fixed if name)
                self._exact[".".join(text for text, _ in fixed)] = (owner, bound)
        self._templates[template] = owner
        self._found.clear()

    @staticmethod
    def _expanded(parts: tuple[tuple[str, str | None], ...]) -> Iterator[tuple[tuple[str, str | None], ...]]:
        """The same parts with the final `.*` written out as weight and bias."""
        if parts[-1][1] != "*":
            yield parts
            return
        for leaf in _LEAVES:
            yield (*parts[:-1], (leaf, "*"))

    def _rivals(self, node: _Node, parts: tuple[tuple[str, str | None], ...]) -> Iterator[str]:
        """Templates that are there already and share a key with these parts."""
        if not parts:
            if node.leaf is not None:
                yield node.leaf[0]
            return
        (text, name), rest = parts[0], parts[1:]
        if name is None or name == "*":
            nodes = [node.fixed[text][1]] if text in node.fixed else []
            cut = _numbered(text)
            if cut and cut[0] in node.numbered:
                nodes.append(node.numbered[cut[0]][1])
        else:
            nodes = [node.numbered[text][1]] if text in node.numbered else []
            for literal, (_, child) in node.fixed.items():
                cut = _numbered(literal)
                if cut and cut[0] == text:
                    nodes.append(child)
        for after in nodes:
            yield from self._rivals(after, rest)

    def _walk(self, key: str) -> tuple[_Node, list[tuple[int, int]], list[str]] | None:
        """The node of a key, its rank, and the values of its holes in their order."""
        words = key.split(".")
        trail: list[tuple[_Node, int, tuple[tuple[int, int], ...], tuple[str, ...]]]
        trail = [(self._root, 0, (), ())]
        while trail:
            node, at, ranks, values = trail.pop()
            if at == len(words):
                if node.leaf is not None:
                    return node, list(ranks), list(values)
                continue
            word = words[at]
            cut = _numbered(word) if node.numbered else None
            if cut and cut[0] in node.numbered:
                rank, after = node.numbered[cut[0]]
                found = (*ranks, (rank, int(cut[1][:18])))
                trail.append((after, at + 1, found, (*values, cut[1])))
            if word in node.fixed:
                rank, after = node.fixed[word]
                trail.append((after, at + 1, (*ranks, (rank, 0)), values))
        return None

    def find(self, key: str) -> tuple[int, Bindings] | None:
        """The owner of the template that a key fits, and what its holes stood for.

        Args:
            key: a tensor's name.

        Returns:
            owner and bindings, or None if no template fits.
        """
        if key not in self._found:
            if len(self._found) > _REMEMBERED:
                self._found.clear()
            self._found[key] = self._exact.get(key) or self._search(key)
        return self._found[key]

    def _search(self, key: str) -> tuple[int, Bindings] | None:
        found = self._walk(key)
        if found is None or found[0].leaf is None:
            return None
        _, owner, names = found[0].leaf
        values = found[2]
        if names and names[-1] == "*":
            values = [*values, key.rsplit(".", 1)[1]]
        return owner, tuple(sorted(zip(names, values, strict=True)))

    def rank(self, key: str) -> list[tuple[int, int]]:
        """Where a key stands among others: parts in the order they were first added, numbers counting up.

        Args:
            key: a tensor's name.

        Returns:
            what to sort by; keys without a template come last.
        """
        found = self._walk(key)
        return found[1] if found is not None else [(len(self._templates), 0)]

    def shapes(self) -> set[str]:
        """What keys look like with `#` for every number.

        >>> index = TemplateIndex()
        >>> index.add("blocks.{i}.norm2.*", 0)
        >>> sorted(index.shapes())
        ['blocks.#.norm#.bias', 'blocks.#.norm#.weight']
        """
        plain = {re.sub(r"\{[a-z_]+\}|[0-9]+", "#", template) for template in self._templates}
        whole = {template for template in plain if not template.endswith(".*")}
        return whole | {template[:-1] + leaf for template in plain - whole for leaf in _LEAVES}

    def nearest(self, key: str) -> list[str]:
        """The three templates that look most like a key."""
        plain = re.sub(r"[0-9]+", "{i}", key)
        return difflib.get_close_matches(plain, list(self._templates), n=3, cutoff=0.0)
