"""Which name of a layout each name in a file is: what training loops and wrappers put in front taken away.

Prefixes of any depth come off (`model.`, `sam.`, `detector.`, …), names of wrapping modules inside a name too
(`image_encoder._orig_mod.trunk…`); a file that holds one part of a model gets the part's name back; and the
renames that older versions of transformers made (`gamma` and `weight`, `beta` and `bias`) are undone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    ("meta", "sam2.1_hiera_tiny"),
    ("transformers", "sam_vit_b"),
    ("transformers", "sam2.1_hiera_tiny"),
    ("timm", "sam_vit_b"),
    ("timm", "sam2.1_hiera_tiny"),
    ("muggled", "sam_vit_b"),
    ("muggled", "sam2.1_hiera_tiny"),
)
"""Per layout and family one variant, which has every name of the family up to its numbers."""

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
        family: "sam", "mobile_sam" or "sam2".
        removed: what comes off the front.
        added: what goes in front afterwards.
        votes: how many names look like the layout's then.
    """

    layout: str
    family: str
    removed: str = ""
    added: str = ""
    votes: int = 0

    def strip(self, key: str) -> str | None:
        """The name that a name of the file becomes, or None if it has another prefix."""
        plain = unwrapped(key)
        return self.added + plain[len(self.removed) :] if plain.startswith(self.removed) else None


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
    """The prefixes that the names of a file may have, one per layout and family, those of most names first.

    Args:
        keys: the names in the file.

    Returns:
        prefixes with at least one vote.
    """
    votes: Counter[tuple[str, str, str, str]] = Counter()
    readings: dict[str, list[tuple[int, tuple[tuple[str, str, str], ...]]]] = {}
    names = list(keys)
    for key in names[:: len(names) // _ENOUGH + 1]:
        plain = unwrapped(key)
        name = numberless(plain)
        if name not in readings:
            readings[name] = list(_readings(name))
        for depth, places in readings[name]:
            removed = "".join(f"{word}." for word in plain.split(".", depth)[:depth])
            votes.update((layout, family, removed, added) for layout, family, added in places)
    best: dict[tuple[str, str], KeyPrefix] = {}
    for (layout, family, removed, added), count in votes.items():
        offer = KeyPrefix(layout, family, removed, added, count)
        if (layout, family) not in best or _worth(offer) > _worth(best[layout, family]):
            best[layout, family] = offer
    return sorted(best.values(), key=lambda prefix: -prefix.votes)


def _readings(name: str) -> Iterator[tuple[int, tuple[tuple[str, str, str], ...]]]:
    """How many parts come off the front of a name to leave one that is known, and where it is known."""
    known = _known_names()
    words = name.split(".")
    for depth in range(min(len(words), _DEPTH)):
        places = known.get(".".join(words[depth:]))
        if places:
            yield depth, places


def _worth(prefix: KeyPrefix) -> tuple[int, bool, bool, int, str]:
    """More votes first, then whole models, then no running averages, then the shorter prefix."""
    return prefix.votes, not prefix.added, "ema" not in prefix.removed, -len(prefix.removed), prefix.removed


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
    readings = {key: prefix.strip(key) for key in keys}
    names = {key: name for key, name in readings.items() if name is not None}
    found: dict[str, str] = {}
    taken: set[str] = set()
    rest: list[str] = []
    for key, name in names.items():
        if known(name) and name not in taken:
            found[key] = name
            taken.add(name)
        else:
            rest.append(key)
    for key in rest:
        before = next((name for name in _renamed(names[key]) if name not in taken and known(name)), None)
        if before is not None:
            found[key] = before
            taken.add(before)
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
        bare = name[len(prefix.added) :]
        if key.endswith(bare):
            seen[key[: len(key) - len(bare)]] += 1
    return seen.most_common(1)[0][0] if seen else prefix.removed
