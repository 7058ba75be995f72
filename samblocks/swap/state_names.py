"""State dicts with the host's names: hooks on our module that rename what it saves and what it loads.

The names come from the layout tables, once, when the module is swapped. Layers that were taken over as objects are
renamed by their path, so that whatever an adapter adds below it later is renamed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn


class Renaming:
    """Our names and the host's for the tensors and layers of one module.

    Args:
        pairs: our path and the host's, of each tensor and of each layer that was taken over, in the order of the
            host's state dict.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._to_host = dict(pairs)
        self._to_ours = {theirs: ours for ours, theirs in self._to_host.items()}
        self._rank = {theirs: rank for rank, theirs in enumerate(self._to_ours)}
        self._loading = ""

    def host_name(self, name: str) -> str:
        """What the host calls a tensor of ours."""
        return renamed(name, self._to_host)

    def our_name(self, name: str) -> str:
        """What we call a tensor of the host's."""
        return renamed(name, self._to_ours)

    def register(self, module: Any) -> None:
        """Let a module save and load under the host's names."""
        module.register_state_dict_post_hook(_Hook(self.saved))
        module.register_load_state_dict_pre_hook(_Hook(self.loading))
        module.register_load_state_dict_post_hook(_Hook(self.loaded))

    def saved(self, module: nn.Module, state: dict[str, Any], prefix: str, metadata: object) -> None:
        """Rename what was just written, and put it into the host's order."""
        own = [key for key in state if key.startswith(prefix)]
        values = {self.host_name(key[len(prefix) :]): state.pop(key) for key in own}
        for name in sorted(values, key=self._place):
            state[prefix + name] = values[name]

    def loading(self, module: nn.Module, state: dict[str, Any], prefix: str, *rest: object) -> None:
        """Rename what is about to be read."""
        self._loading = prefix
        own = [key for key in state if key.startswith(prefix)]
        # First all out, then all in: a name of ours can be another tensor's of the host.
        values = {self.our_name(key[len(prefix) :]): state.pop(key) for key in own}
        state.update((prefix + name, value) for name, value in values.items())

    def loaded(self, module: nn.Module, incompatible: Any) -> None:
        """Say what is missing, or too much, under the host's names."""
        prefix = self._loading
        for keys in (incompatible.missing_keys, incompatible.unexpected_keys):
            keys[:] = [
                prefix + self.host_name(key[len(prefix) :]) if key.startswith(prefix) else key for key in keys
            ]

    def _place(self, name: str) -> tuple[int, str]:
        path = name
        while path and path not in self._rank:
            path = path.rpartition(".")[0]
        return self._rank.get(path, len(self._rank)), ""


class _Hook:
    """A hook that torch can mark, and that can be copied and pickled with the module."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        self._call(*args)


def renamed(name: str, table: Mapping[str, str]) -> str:
    """A name whose longest known beginning is exchanged."""
    path, rest = name, ""
    while path:
        if path in table:
            return table[path] + rest
        path, _, last = path.rpartition(".")
        rest = f".{last}{rest}"
    return name
