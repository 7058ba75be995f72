"""Parts of our modules under the host's names as well, for code that reads them there.

Only transformers' names differ. `model.vision_encoder.backbone.blocks[0].layer_norm1` finds our trunk's norm, so that
what freezes, inspects or looks up layers by transformers' names goes on working. Which part is which follows from
the tensors: a part of the host and one of ours that hold the same ones are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import nn

from samblocks.swap.adopt import Slot, submodule
from samblocks.swap.recording import Recorder, is_recording
from samblocks.swap.state_names import renamed

Aliases = tuple[tuple[str, str], ...]
"""Name in the host and path from the module of ours, for each part that is called otherwise."""


class Aliased:
    """Has parts under names of the host, too: as properties of the class, which cost other attributes nothing."""

    _host_names: ClassVar[Mapping[str, str]] = {}
    _host_paths: Mapping[str, str] | None = None
    """Our path → the host's, of all that is in a module that was swapped in; None for its parts."""

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Every module with its path in the host, so that who picks layers by name finds them, and saves them so."""
        walk = super().named_modules  # type: ignore[misc]
        if self._host_paths is None:
            yield from walk(memo, prefix, remove_duplicate)
            return
        for path, module in walk(memo, "", remove_duplicate):
            yield ".".join(filter(None, (prefix, renamed(path, self._host_paths)))), module

    def register_forward_hook(self, hook: Any, **options: Any) -> Any:
        """Let transformers record what ours gives, and no more."""
        given = Recorder(hook) if is_recording(hook) else hook
        return super().register_forward_hook(given, **options)  # type: ignore[misc]

    def __setattr__(self, name: str, value: object) -> None:
        """Put something in the place that the host's name means."""
        path = self._host_names.get(name)
        if path is None:
            super().__setattr__(name, value)
            return
        before, _, last = path.rpartition(".")
        setattr(_look(self, before), last, value)


def host_paths(ours: nn.Module, parts: Mapping[str, str]) -> dict[str, str]:
    """What to call the modules in ours: as the host does, where that name leads to them.

    Args:
        ours: our module, whose parts have their names in the host already.
        parts: the parts that are the same, as `same_parts` gives them.

    Returns:
        Our path → the host's, or ours where the host's means another module here.
    """
    found = {}
    for theirs, path in parts.items():
        module = submodule(ours, path)
        if module is not None:
            try:
                found[path] = theirs if _look(ours, theirs) is module else path
            except AttributeError:
                found[path] = path
    return found


def as_members(names: Aliases) -> dict[str, Any]:
    """What a class needs for its instances to have parts under these names."""
    properties = {name: property(partial(_look, path=path)) for name, path in names}
    return {"_host_names": dict(names), **properties} if names else {}


def _look(module: Any, path: str) -> Any:
    for part in path.split(".") if path else ():
        module = getattr(module, part)
    return module


def same_parts(slots: Sequence[Slot]) -> dict[str, str]:
    """Which parts of a host's module and of ours hold the same tensors.

    Args:
        slots: what was filled.

    Returns:
        The host's path of each part that there is in both → ours.
    """
    theirs = _tensors_below(slot.host_path for slot in slots)
    alike = _alike(theirs, _tensors_below(slot.our_path for slot in slots))
    return alike | {slot.host_path: slot.our_path for slot in slots}


def aliases(ours: nn.Module, parts: Mapping[str, str]) -> dict[str, Aliases]:
    """What of ours can be found under which names of the host.

    Args:
        ours: our module.
        parts: the parts that are the same, as `same_parts` gives them.

    Returns:
        Path of a module of ours → what its parts are called in the host's counterpart.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for theirs, place in parts.items():
        before, _, name = theirs.rpartition(".")
        holder = parts.get(before) if theirs else None
        inside = None if holder is None else submodule(ours, holder)
        if holder is None or inside is None or hasattr(inside, name):
            continue
        if place != holder and place.startswith(f"{holder}." if holder else ""):
            found[holder][name] = place.removeprefix(f"{holder}.") if holder else place
    return {path: tuple(sorted(names.items())) for path, names in found.items()}


def _tensors_below(paths: Iterable[str]) -> dict[str, frozenset[int]]:
    """Which of the filled places, by number, each path stands for or holds."""
    below: dict[str, set[int]] = defaultdict(set)
    for number, path in enumerate(paths):
        parts = path.split(".")
        for depth in range(len(parts) + 1):
            below[".".join(parts[:depth])].add(number)
    return {path: frozenset(numbers) for path, numbers in below.items()}


def _alike(host: Mapping[str, frozenset[int]], ours: Mapping[str, frozenset[int]]) -> dict[str, str]:
    """The host's path → ours that holds the same; of several in one another the outermost first."""
    by_content: dict[frozenset[int], list[str]] = defaultdict(list)
    for path, content in ours.items():
        by_content[content].append(path)
    chains: dict[frozenset[int], list[str]] = defaultdict(list)
    for path, content in host.items():
        chains[content].append(path)
    found: dict[str, str] = {}
    for content, theirs in chains.items():
        own = sorted(by_content.get(content, ()), key=len)
        theirs.sort(key=len)
        if own:
            found |= zip(theirs, own, strict=False)
    return found
