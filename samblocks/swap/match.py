"""Walking a host's model: what ours can stand for, the largest modules first, and what must stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from torch import nn

from samblocks.errors import LayoutError, SwapError
from samblocks.swap import operation_order
from samblocks.swap.adopt import adopt, counterparts, is_leaf, same
from samblocks.swap.catalog import catalogued_base, counterpart, is_ours, qualified
from samblocks.swap.host_types import derive_from_host, our_name
from samblocks.swap.hosts import names_of, read
from samblocks.swap.hosts.reading import check_settings
from samblocks.swap.known_code import CodeCheck, Trust
from samblocks.swap.obstacles import changed, sealed, within, wrapped
from samblocks.swap.report import Exchange, SwapRow
from samblocks.swap.state_names import Renaming

Where = Callable[[nn.Module, str], bool]


def match(
    root: nn.Module, where: Where | None = None, trust: Trust = "code"
) -> tuple[list[SwapRow], list[Exchange]]:
    """Find what can be swapped, and make ours for it. The model is left as it is.

    Args:
        root: the model; it is never swapped itself, nor is what a wrapper around it holds, for the caller holds it too.
        where: says of a module that could be swapped, with its path, whether it shall be.
        trust: what classes are known by.

    Returns:
        A row for each module swapped or kept, and the exchanges to make.
    """
    walk = _Walk(where, trust, wrapped(root))
    walk.visit("", root)
    return walk.rows, list(walk.exchanges.values())


class _Walk:
    def __init__(self, where: Where | None, trust: Trust, held: Sequence[nn.Module]) -> None:
        self.where = where
        self.code = CodeCheck(trust)
        self._held = {id(module) for module in held}
        self.rows: list[SwapRow] = []
        self.exchanges: dict[int, Exchange] = {}
        self._seen: set[int] = set()

    def visit(self, path: str, module: nn.Module, *, inside_ours: bool = False) -> None:
        """Swap a module, or look at its children."""
        known = self.exchanges.get(id(module))
        if known is not None:
            known.paths = (*known.paths, path)
            return
        if id(module) in self._seen:
            return
        self._seen.add(id(module))
        reason = sealed(module)
        if reason:
            self._keep(path, module, reason)
            return
        if is_ours(module):
            if not inside_ours:
                self._keep(path, module, "it is ours already")
            inside_ours = True
        elif id(module) not in self._held and catalogued_base(module) is not None:
            reason = changed(module, self.code)
            if reason:
                self._keep(path, module, reason)
            elif self._wanted(path, module) and self._swap(path, module):
                return
        for name, child in module._modules.items():
            if child is not None:
                self.visit(f"{path}.{name}" if path else name, child, inside_ours=inside_ours)

    def _wanted(self, path: str, module: nn.Module) -> bool:
        return counterpart(module) is not None and (self.where is None or self.where(module, path))

    def _swap(self, path: str, module: nn.Module) -> bool:
        """Make ours for a module with all that is in it; whether that was possible."""
        obstacles, staying = within(module, self.code)
        if obstacles:
            inner, part, _ = obstacles[0]
            more = f" and {len(obstacles) - 1} more" if len(obstacles) > 1 else ""
            why = "where ours is already" if is_ours(part) else "which must stay"
            self._keep(path, module, f"it holds {inner}{more}, {why}")
            return False
        try:
            exchange = _make(path, module)
        except SwapError as error:
            self._keep(path, module, str(error))
            return False
        self.exchanges[id(module)] = exchange
        self.rows.append(SwapRow(path, qualified(type(module)), our_name(type(exchange.ours)), "swapped"))
        for inner, part, note in staying:
            self._keep(f"{path}.{inner}", part, note)
        return True

    def _keep(self, path: str, module: nn.Module, reason: str) -> None:
        self.rows.append(SwapRow(path, qualified(type(module)), "", "kept", reason))


def _make(path: str, host: nn.Module) -> Exchange:
    """Our counterpart of a module, filled from it.

    Raises:
        SwapError: that is not possible, with the reason.
    """
    names = names_of(host)
    ours = read(host)
    try:
        pairs = counterparts(ours, host, names or same)
        slots = adopt(ours, host, names or same)
    except LayoutError as error:
        raise SwapError(str(error)) from error
    operation_order.follow(pairs)
    before = list(host.state_dict(keep_vars=True))
    if names is not None:
        rank = {name: place for place, name in enumerate(before)}
        paths = [(slot.our_path, slot.host_path) for slot in slots]
        first = {
            theirs: min((rank[name] for name in before if f"{name}.".startswith(f"{theirs}.")), default=0)
            for _, theirs in paths
        }
        Renaming(sorted(paths, key=lambda pair: first[pair[1]])).register(ours)
    after = list(ours.state_dict(keep_vars=True))
    if before != after:
        odd = next((a, b) for a, b in zip_longest(before, after, fillvalue="nothing") if a != b)
        raise SwapError(f"its state dict has {odd[0]} where ours has {odd[1]}")
    pairs = derive_from_host(ours, host, slots, pairs)
    check_settings((pair for pair in pairs if pair[1] is not host), copied=names is None)
    inner = [(module, found) for module, found in pairs if not is_leaf(module)]
    return Exchange((path,), host, ours, slots, inner)
