"""What a swap did or would do, module by module, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from torch import nn

from samblocks.errors import SwapError
from samblocks.swap.adopt import Slot, copy_training
from samblocks.swap.hosts.reading import renew
from samblocks.swap.obstacles import is_compiled, sharded
from samblocks.swap.recording import hand_over
from samblocks.swap.verify import Verification, verify


@dataclass(frozen=True)
class SwapRow:
    """One module.

    Args:
        path: where it is in the model that was given.
        source: its class, with the module that defines it.
        target: our class; empty for modules that are kept.
        verdict: "swapped" or "kept".
        reason: why it is kept.
    """

    path: str
    source: str
    target: str
    verdict: str
    reason: str = ""

    def as_dict(self) -> dict[str, str]:
        """The row with the names it has in JSON."""
        return {
            "path": self.path,
            "from": self.source,
            "to": self.target,
            "verdict": self.verdict,
            "reason": self.reason,
        }


@dataclass
class Exchange:
    """One module of the host's, ours in its place, and how each holds what both share."""

    paths: tuple[str, ...]
    host: nn.Module
    ours: nn.Module
    slots: Sequence[Slot] = field(default=(), repr=False)
    pairs: Sequence[tuple[nn.Module, nn.Module]] = field(default=(), repr=False)

    def take(self) -> None:
        """Let ours hold what the host's modules hold by now, and be in training or not as they are."""
        for slot in self.slots:
            slot.take()
        copy_training(self.ours, self.host, self.pairs)
        hand_over((host, ours) for ours, host in self.pairs)

    def give_back(self) -> None:
        """Let the host's modules hold what ours hold by now, and be in training or not as ours are."""
        for slot in self.slots:
            slot.give_back()
        for ours, host in self.pairs:
            host.training = ours.training
            renew(host)
        hand_over(self.pairs)


class SwapReport:
    """What `swap_blocks` did, or would do; a context manager that undoes it at its end.

    Attributes:
        model: the module that was given, or the one inside a predictor.
        rows: every module that was swapped or kept, in the order of the model.
        dry_run: whether it is a plan only.
    """

    def __init__(
        self, model: nn.Module, rows: Sequence[SwapRow], exchanges: Sequence[Exchange], *, dry_run: bool
    ) -> None:
        self.model = model
        self.rows = tuple(rows)
        self.dry_run = dry_run
        self._exchanges = tuple(exchanges)
        self._applied = False

    @property
    def swapped(self) -> tuple[SwapRow, ...]:
        """The modules that ours stand for."""
        return tuple(row for row in self.rows if row.verdict == "swapped")

    @property
    def kept(self) -> tuple[SwapRow, ...]:
        """The modules that could have been swapped, or would have been with what is around them, but stay."""
        return tuple(row for row in self.rows if row.verdict == "kept")

    @property
    def hosts(self) -> dict[str, nn.Module]:
        """The host's own modules that ours stand for, by their paths."""
        return {exchange.paths[0]: exchange.host for exchange in self._exchanges}

    @property
    def applied(self) -> bool:
        """Whether our modules are in the model now."""
        return self._applied

    def apply(self) -> None:
        """Put our modules in; `swap_blocks` has done this already, but after `undo` it can be done again."""
        if self.dry_run:
            raise SwapError("this is a plan only: call swap_blocks without dry_run")
        if self._applied:
            return
        places = _places(self.model, [(exchange.host, exchange.paths) for exchange in self._exchanges])
        for exchange in self._exchanges:
            exchange.take()
            _put(exchange.ours, places[id(exchange.host)])
        self._applied = True

    def undo(self) -> None:
        """Put the host's own modules back: the same objects, with the parameters that ours have by now.

        Parameters, buffers or layers that were exchanged in our modules meanwhile (`load_state_dict` with
        `assign`, an adapter wrapped around a layer) are handed to the host's, and so is the training flag.

        Raises:
            SwapError: something else stands where ours was put, or ours was sharded or compiled; nothing is changed
                then.
        """
        if not self._applied:
            return
        places = _places(self.model, [(exchange.ours, exchange.paths) for exchange in self._exchanges])
        for exchange in self._exchanges:
            if any(is_compiled(holder) for holder, _ in places[id(exchange.ours)]):
                raise SwapError(
                    f"{exchange.paths[0]} was compiled since, and what was compiled would go on running ours: put the "
                    "module back that torch.compile was given (its _orig_mod), then undo"
                )
            by = next(filter(None, map(sharded, exchange.ours.modules())), "")
            if by:
                raise SwapError(
                    f"{exchange.paths[0]} was sharded by {by} since: the host's module would not be"
                )
        for exchange in self._exchanges:
            _put(exchange.host, places[id(exchange.ours)])
            exchange.give_back()
        self._applied = False

    def verify(
        self,
        *inputs: Any,
        run: Callable[..., Any] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Verification:
        """Run the model before and after the swap on the same inputs, and judge every output.

        Two questions are asked where bits differ: in float64, whether ours is the same function as the host's; in the
        working precision, whether our error is at most twice the host's. Where one set of inputs would leave that to
        luck, the inputs are varied: x · (1 + u / 8), u uniform in [−1, 1).

        Args:
            inputs: a picture (a path, an array, a PIL picture) or a clip (a list of pictures, an array
                [T, H, W, 3], a folder), on which the model goes a short way of its own: a click, a box, logits fed
                back, frames tracked. Nothing: the same on a made-up picture. A callable, which is called with the
                model, or without arguments, and gives what is compared. Or tensors, which the model is called
                with; one without a forward of its own but with `forward_image` is called by that.
            run: calls the model, `run(model, *inputs)`, where a plain call is not what is wanted.
            progress: told what is run next, since a large model takes minutes in float64; `print` will do.

        Returns:
            The verdict, with a row for each output tensor. Swapped modules that did not run are named, and make it
            INCOMPLETE, which is false.

        Raises:
            SwapError: this is a plan only; the model is random, or keeps state between calls, so that a second run
                of the host's own modules gives something else; or nothing is given, and the model is none of a
                kind that has a way of its own.
            ValueError: a picture is none.
        """
        if self.dry_run:
            raise SwapError("this is a plan only: call swap_blocks without dry_run")
        return verify(self, inputs, run, progress)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "schema": 1,
            "model": f"{type(self.model).__module__}.{type(self.model).__qualname__}",
            "dry_run": self.dry_run,
            "modules": [row.as_dict() for row in self.rows],
        }

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """The report as a table."""
        if not self.rows:
            return "nothing in it is a module of Ultralytics, sam2, segment_anything or transformers that is known"
        heads = ("path", "from", "to", "verdict", "reason")
        body = [
            (row.path or "(model)", row.source, row.target or "-", row.verdict, row.reason)
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in (heads, *body)) for column in range(len(heads))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in (heads, *body)
        ]
        done = "would be swapped" if self.dry_run else "swapped"
        return "\n".join([*lines, f"{len(self.swapped)} {done}, {len(self.kept)} kept"])

    def __repr__(self) -> str:
        return f"SwapReport({len(self.swapped)} swapped, {len(self.kept)} kept, applied={self._applied})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


Place = tuple[nn.Module, str]
"""The module that holds another one, and its name there."""


def _places(root: nn.Module, wanted: Sequence[tuple[nn.Module, tuple[str, ...]]]) -> dict[int, list[Place]]:
    """Where modules are by now, which may be inside something that was wrapped around them since.

    Args:
        root: the whole model.
        wanted: each module, and the paths at which it was put.

    Returns:
        The id of each module → its places.

    Raises:
        SwapError: one of them is nowhere; so nothing is changed, rather than a part.
    """
    found: dict[int, list[Place]] = {id(module): [] for module, _ in wanted}
    for holder in root.modules():
        for name, child in holder._modules.items():
            if id(child) in found:
                found[id(child)].append((holder, name))
    for module, paths in wanted:
        if not found[id(module)]:
            now: Any = root
            for part in paths[0].split("."):
                now = getattr(now, "_modules", {}).get(part)
            what = "is gone" if now is None else f"is a {type(now).__name__} by now"
            raise SwapError(f"{paths[0]} {what}, not the {type(module).__name__} that was put there")
    return found


def _put(module: nn.Module, places: Sequence[Place]) -> None:
    for holder, name in places:
        holder._modules[name] = module
