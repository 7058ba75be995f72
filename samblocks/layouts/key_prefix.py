"""Which name of a layout each name in a file is: what training loops and wrappers put in front taken away.

Prefixes of any depth come off (`model.`, `sam.`, `detector.`, …), names of wrapping modules inside a name too
(`image_encoder._orig_mod.trunk…`); a file that holds one part of a model gets the part's name back; and the
renames that older versions of transformers made (`gamma` and `weight`, `beta` and `bias`) are undone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from samblocks.layouts.components import bare_prefixes, family_of
from samblocks.layouts.tables import table
from samblocks.layouts.templates import numberless
from samblocks.variants import VARIANTS

_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_DEPTH = 12
"""Parts of a name that are tried as a prefix."""

_ENOUGH = 20_000
"""Names that are looked at to find a prefix; no model has a tenth of it."""

_SAMPLES = (
    ("meta", "sam_vit_b"),
    ("meta", "mobile_sam"),
    ("meta", "sam_hq_vit_b"),
    ("meta", "sam_hq_vit_tiny"),
    ("meta", "sam2.1_hiera_tiny"),
    ("transformers", "sam_vit_b"),
    ("transformers", "sam_hq_vit_b"),
    ("transformers", "sam2.1_hiera_tiny"),
    ("timm", "sam_vit_b"),
    ("timm", "sam2.1_hiera_tiny"),
    ("muggled", "sam_vit_b"),
    ("muggled", "sam2.1_hiera_tiny"),
)
"""Per layout and family one variant, which has every name of the family up to its numbers."""

_Place = tuple[str, str, str, str]
"""Layout, family, what comes off a name, and what goes in front of it."""

_RENAMED = {
    "weight": ("gamma", "scale"),
    "gamma": ("weight", "scale"),
    "scale": ("gamma",),
    "beta": ("bias",),
}


@dataclass(frozen=True)
class KeyPrefix:
    """How the names of a file become names of a layout.

    Args:
        layout: the layout.
        family: as of `family_of`.
        removed: what comes off the front.
        added: what goes in front afterwards.
        votes: how many names look like the layout's then.
        kinds: how many different ones, numbers aside. What has many layers of one kind is often something else.
        parts: what comes off and goes in front where a part of the model has a prefix of its own.
        rivals: other prefixes under which nearly as many names look like the layout's: another copy.
    """

    layout: str
    family: str
    removed: str = ""
    added: str = ""
    votes: int = 0
    kinds: int = 0
    parts: tuple[tuple[str, str], ...] = ()
    rivals: tuple[str, ...] = ()

    def readings(self, key: str) -> list[str]:
        """The names that a name of the file may become, by its longest prefix; none if it has another one."""
        plain = unwrapped(key)
        places = (*self.parts, (self.removed, self.added))
        fitting = [(removed, added) for removed, added in places if plain.startswith(removed)]
        longest = max((len(removed) for removed, _ in fitting), default=0)
        return [added + plain[longest:] for removed, added in fitting if len(removed) == longest]


def unwrapped(key: str) -> str:
    """A name without the parts that wrapping modules put into it.

    >>> unwrapped("module.image_encoder._orig_mod.trunk.pos_embed")
    'image_encoder.trunk.pos_embed'
    """
    words = key.split(".")
    if _WRAPPERS.isdisjoint(words):
        return key
    return ".".join(word for word in words if word not in _WRAPPERS)


@lru_cache(maxsize=1)
def _known_names() -> Mapping[str, tuple[tuple[str, str, str], ...]]:
    """Names without their numbers, to the layout, family and component whose names they are."""
    found: dict[str, dict[tuple[str, str, str], None]] = {}
    for layout, variant in _SAMPLES:
        row = VARIANTS[variant]
        family, names = family_of(row), table(layout, row).numberless_other()
        for added in bare_prefixes(layout, family):
            for name in names:
                if name.startswith(added):
                    found.setdefault(name[len(added) :], {})[layout, family, added] = None
    return {name: tuple(places) for name, places in found.items()}


def key_prefixes(keys: Iterable[str]) -> list[KeyPrefix]:
    """The prefixes that the names of a file may have, one per layout and family, those of most kinds of names first.

    Args:
        keys: the names in the file.

    Returns:
        prefixes with at least one vote.
    """
    votes: Counter[_Place] = Counter()
    patterns: dict[_Place, set[str]] = {}
    readings: dict[str, list[tuple[int, tuple[tuple[str, str, str], ...]]]] = {}
    names = list(keys)
    for key in names[:: len(names) // _ENOUGH + 1]:
        plain = unwrapped(key)
        name = numberless(plain)
        if name not in readings:
            readings[name] = list(_readings(name))
        for depth, places in readings[name]:
            removed = "".join(f"{word}." for word in plain.split(".", depth)[:depth])
            for layout, family, added in places:
                place = (layout, family, removed, added)
                votes[place] += 1
                patterns.setdefault(place, set()).add(name.split(".", depth)[depth])
    best: dict[tuple[str, str], KeyPrefix] = {}
    for (layout, family, removed, added), count in votes.items():
        offer = KeyPrefix(
            layout, family, removed, added, count, len(patterns[layout, family, removed, added])
        )
        if (layout, family) not in best or _worth(offer) > _worth(best[layout, family]):
            best[layout, family] = offer
    found = [
        replace(offer, parts=_parts(offer, votes, patterns), rivals=_rivals(offer, votes))
        for offer in best.values()
    ]
    return sorted(found, key=lambda prefix: (-prefix.kinds, -prefix.votes))


def _rivals(best: KeyPrefix, votes: Mapping[_Place, int]) -> tuple[str, ...]:
    """Other prefixes that as many names have, or nearly as many."""
    return tuple(
        sorted(
            removed
            for (layout, family, removed, added), count in votes.items()
            if (layout, family, added) == (best.layout, best.family, best.added)
            and removed != best.removed
            and 10 * count >= 9 * best.votes
        )
    )


def _parts(
    best: KeyPrefix, votes: Mapping[_Place, int], patterns: Mapping[_Place, set[str]]
) -> tuple[tuple[str, str], ...]:
    """What parts are called in the file that do not have the name that the prefix gives them.

    Most of the part's names must be there, as every network has some like `layers.0.norm1.weight`.
    """
    found: dict[str, tuple[int, str]] = {}
    for place, count in votes.items():
        layout, family, removed, added = place
        if (layout, family) != (best.layout, best.family) or not added:
            continue
        own = best.removed + added.removeprefix(best.added)
        if added.startswith(best.added) and (layout, family, own, added) in votes:
            continue
        if 2 * len(patterns[place]) > _patterns(layout, family, added):
            found[added] = max(found.get(added, (0, "")), (count, removed))
    chosen = [(removed, added) for added, (_, removed) in found.items()]
    return tuple(sorted(chosen, key=lambda part: (-len(part[0]), part)))


@lru_cache(maxsize=64)
def _patterns(layout: str, family: str, added: str) -> int:
    """How many names, without their numbers, a part has in a layout."""
    return sum((layout, family, added) in places for places in _known_names().values())


def _readings(name: str) -> Iterator[tuple[int, tuple[tuple[str, str, str], ...]]]:
    """How many parts come off the front of a name to leave one that is known, and where it is known."""
    known = _known_names()
    words = name.split(".")
    for depth in range(min(len(words), _DEPTH)):
        places = known.get(".".join(words[depth:]))
        if places:
            yield depth, places


def _worth(prefix: KeyPrefix) -> tuple[int, int, bool, bool, int, str]:
    """More kinds first, then more names, then whole models, then no running averages, then the shorter prefix."""
    plain = "ema" not in prefix.removed
    return prefix.kinds, prefix.votes, not prefix.added, plain, -len(prefix.removed), prefix.removed


def _renamed(name: str) -> Iterator[str]:
    """What a name may have been before older versions of transformers renamed it."""
    front, dot, last = name.rpartition(".")
    for word in _RENAMED.get(last, ()):
        yield f"{front}{dot}{word}"


def strip(keys: Iterable[str], prefix: KeyPrefix, known: Callable[[str], bool]) -> dict[str, str]:
    """The layout's name of every name in a file that is one.

    Args:
        keys: the names in the file.
        prefix: how to read them.
        known: whether a name is the layout's.

    Returns:
        name in the file to name in the layout, for those that are known; each name of the layout once.
    """
    readings = {key: prefix.readings(key) for key in keys}
    found: dict[str, str] = {}
    taken: set[str] = set()
    for before in (False, True):
        for key, names in readings.items():
            if key in found:
                continue
            names = [old for name in names for old in _renamed(name)] if before else names
            name = next((name for name in names if name not in taken and known(name)), None)
            if name is not None:
                found[key] = name
                taken.add(name)
    return found


def prefix_text(names: Mapping[str, str], prefix: KeyPrefix) -> str:
    """What stands in the file in front of most names.

    Args:
        names: the result of `strip`.
        prefix: how they were read.

    Returns:
        the prefix with wrapping modules, as "module.model.".
    """
    seen: Counter[str] = Counter()
    for key, name in names.items():
        bare = name.removeprefix(prefix.added)
        if key.endswith(bare):
            seen[key[: len(key) - len(bare)]] += 1
    return seen.most_common(1)[0][0] if seen else prefix.removed
