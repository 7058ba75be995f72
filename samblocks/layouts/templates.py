"""Whole-key templates, and an index in which a key is found under the one template that it fits.

A template is a tensor name in which `{i}` stands for any integer, alone or at the end of a part
(`layer_norm{n}`), and a final `.*` for `.weight` or `.bias`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from samblocks.errors import LayoutError

Bindings = tuple[tuple[str, str], ...]
"""What the holes of a template stood for in a key, sorted by the hole's name."""

_HOLE = re.compile(r"\{([a-z_]+)\}")
_NUMBER = re.compile(r"[0-9]+")
_PART = r"(?:(?:[^{}*.]*[^{}*.0-9])?\{[a-z_]+\}|[^{}*.]+)"
_TEMPLATE = re.compile(rf"{_PART}(?:\.{_PART})*(?:\.\*)?")
_LEAVES = ("weight", "bias")


@lru_cache(maxsize=8192)
def holes(template: str) -> tuple[str, ...]:
    """The names of a template's holes in their order; the final `*` is one of them.

    Raises:
        LayoutError: a part is empty, a brace is out of place, a hole stands twice or directly behind a digit.

    >>> holes("blocks.{i}.norm{n}.*")
    ('i', 'n', '*')
    """
    if not _TEMPLATE.fullmatch(template):
        raise LayoutError(f"template {template!r} cannot be read")
    names = _HOLE.findall(template)
    if len(set(names)) != len(names):
        raise LayoutError(f"template {template!r} has a hole twice")
    return (*names, "*") if template.endswith(".*") else tuple(names)


def fill(template: str, bindings: Bindings) -> str:
    """The key that a template gives for what its holes stand for.

    >>> fill("layers.{i}.*", (("*", "bias"), ("i", "3")))
    'layers.3.bias'
    """
    if not bindings:
        return template
    values = dict(bindings)
    key = template.format_map(values)
    return key[:-1] + values["*"] if key.endswith("*") else key


def numberless(name: str) -> str:
    """A key with `#` for every number, or a template with `#` for every number and hole.

    >>> numberless("blocks.3.norm1.bias"), numberless("blocks.{i}.norm{n}.bias")
    ('blocks.#.norm#.bias', 'blocks.#.norm#.bias')
    """
    return _NUMBER.sub("#", _HOLE.sub("#", name))


def _any_number(number: str) -> bool:
    """Whether a hole stands for this number: one that is written without leading zeros."""
    return number[0] != "0" or number == "0"


@dataclass(frozen=True)
class _Form:
    """A template with its `.*` written out.

    Args:
        template: as it was given.
        owner: what `find` gives back.
        numbers: the numbers of its keys in their order, None for a hole.
        holes: the names of the holes.
        leaf: what `.*` was written out as; empty without one.
        parts: its parts, each with whether a hole ends it.
    """

    template: str
    owner: int
    numbers: tuple[str | None, ...]
    holes: tuple[str, ...]
    leaf: str
    parts: tuple[tuple[str, bool], ...]

    def takes(self, numbers: tuple[str | None, ...]) -> bool:
        """Whether a key with these numbers, or one of a form with these, fits as well."""
        return len(numbers) == len(self.numbers) and all(
            mine == other
            or (mine is None and other is not None and _any_number(other))
            or (other is None and mine is not None and _any_number(mine))
            for mine, other in zip(self.numbers, numbers, strict=True)
        )

    def bindings(self, numbers: tuple[str, ...]) -> Bindings:
        """What the holes stand for in a key with these numbers."""
        bound = [number for mine, number in zip(self.numbers, numbers, strict=True) if mine is None]
        values = [*zip(self.holes, bound, strict=True), *((("*", self.leaf),) if self.leaf else ())]
        return tuple(sorted(values))


def _forms(template: str, owner: int) -> Iterator[tuple[str, _Form]]:
    """The forms of a template, each with its text."""
    names = tuple(name for name in holes(template) if name != "*")
    plain = template.removesuffix(".*")
    for leaf in _LEAVES if plain != template else ("",):
        text = f"{plain}.{leaf}" if leaf else plain
        numbers = tuple(
            None if number.startswith("{") else number for number in re.findall(r"\{[a-z_]+\}|[0-9]+", text)
        )
        parts = tuple((_HOLE.sub("", part), "{" in part) for part in text.split("."))
        yield text, _Form(template, owner, numbers, names, leaf, parts)


class TemplateIndex:
    """Templates, of which at most one fits any key.

    The order in which they were added decides nothing but the order of `rank`.

    Args:
        first: first parts of names that rank before all others, in this order.
    """

    def __init__(self, first: Iterable[str] = ()) -> None:
        self._templates: list[str] = []
        self._exact: dict[str, _Form] = {}
        self._forms: dict[str, list[_Form]] = {}  # by their numberless text; those with holes stand first
        self._order: dict[tuple[tuple[str, bool], ...], int] = {}
        for text in first:
            self._order.setdefault(((text, False),), len(self._order))

    def add(self, template: str, owner: int) -> None:
        """Add a template.

        Args:
            template: the template.
            owner: a number that `find` gives back.

        Raises:
            LayoutError: the template cannot be read, or some key would fit it and an earlier one.
        """
        forms = list(_forms(template, owner))
        for text, form in forms:
            rival = self._rival(text, form)
            if rival is not None:
                raise LayoutError(f"templates {rival.template!r} and {template!r} both fit some key")
        for text, form in forms:
            alike = self._forms.setdefault(numberless(text), [])
            if form.holes:
                alike.insert(0, form)
            else:
                alike.append(form)
                self._exact[text] = form
            for depth in range(len(form.parts)):
                self._order.setdefault(form.parts[: depth + 1], len(self._order))
        self._templates.append(template)

    def _rival(self, text: str, form: _Form) -> _Form | None:
        """A form that is there already and fits a key that this one fits too."""
        if text in self._exact:
            return self._exact[text]
        for other in self._forms.get(numberless(text), ()):
            if not (form.holes or other.holes):
                return None  # neither do those behind it have holes
            if other.takes(form.numbers):
                return other
        return None

    def _form(self, key: str) -> tuple[_Form, tuple[str, ...]] | None:
        """The form that a key fits, with the key's numbers."""
        numbers = tuple(_NUMBER.findall(key))
        if key in self._exact:
            return self._exact[key], numbers
        for form in self._forms.get(_NUMBER.sub("#", key), ()):
            if not form.holes:
                return None
            if form.takes(numbers):
                return form, numbers
        return None

    def find(self, key: str) -> tuple[int, Bindings] | None:
        """The owner of the template that a key fits, and what its holes stood for.

        Args:
            key: a tensor's name.

        Returns:
            owner and bindings, or None if no template fits.
        """
        found = self._form(key)
        return found and (found[0].owner, found[0].bindings(found[1]))

    def rank(self, key: str) -> list[tuple[int, int]]:
        """Where a key stands among others: parts in the order they were first added, numbers counting up.

        Args:
            key: a tensor's name.

        Returns:
            what to sort by; keys without a template come last.
        """
        found = self._form(key)
        if found is None:
            return [(len(self._order), 0)]
        parts = found[0].parts
        return [
            (self._order[parts[: depth + 1]], int(word[len(text) :][:18]) if hole else 0)
            for depth, ((text, hole), word) in enumerate(zip(parts, key.split("."), strict=True))
        ]

    def numberless(self) -> set[str]:
        """What keys look like with `#` for every number.

        >>> index = TemplateIndex()
        >>> index.add("blocks.{i}.norm2.*", 0)
        >>> sorted(index.numberless())
        ['blocks.#.norm#.bias', 'blocks.#.norm#.weight']
        """
        return set(self._forms)

    def nearest(self, key: str) -> list[str]:
        """The three templates that look most like a key."""
        plain = _NUMBER.sub("{i}", key)
        return difflib.get_close_matches(plain, self._templates, n=3, cutoff=0.0)
