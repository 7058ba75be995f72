"""The side that was recorded in a worker, asked through its client; see `in_worker` for the other end."""

from collections.abc import Mapping
from typing import Any

from parity.diverge import in_worker
from parity.diverge.store import Tree
from parity.diverge.taps import Call
from parity.diverge.upstream import Drawn
from parity.workers.client import Client


class Remote:
    """A `parity.diverge.upstream.Reference` in another process.

    Args:
        client: of the worker that recorded the case.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def totals(self, ours: Mapping[int, Tree]) -> tuple[dict[int, dict[str, float]], str]:
        """R of our free run's outputs, by call and path, and why there is none."""
        reply = self._ask(do="totals", ours={str(index): tree for index, tree in ours.items()})
        return {int(index): found for index, found in reply["totals"].items()}, reply["note"]

    def truth(self, index: int) -> tuple[Tree | None, str]:
        """The result of a call in float64, or why there is none."""
        reply = self._ask(do="truth", index=index)
        return reply["truth"], reply["note"]

    def draw(self, index: int, number: int) -> Drawn | None:
        """A call on varied arguments."""
        found = self._ask(do="draw", index=index, number=number)["draw"]
        return None if found is None else Drawn.from_json(found)

    def within(self, index: int) -> list[Call]:
        """A call in float64, with the calls made in it."""
        return [Call.from_json(data) for data in self._ask(do="within", index=index)["calls"]]

    def _ask(self, **request: Any) -> Any:
        reply = self._client.ask(in_worker.__name__, request)
        if reply["status"] != "ok":
            raise RuntimeError(reply["message"])
        return reply
