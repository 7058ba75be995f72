"""What several cases do: call a free function, pass arguments on, and check that nothing was blind."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from parity.execution.case import Side

Call = Callable[[Side], Any]
Check = Callable[[Mapping[str, Tensor]], None]


def function(name: str, *args: Any, **kwargs: Any) -> Call:
    """Call the free function `name` with the inputs in their order, then with these arguments."""

    def call(side: Side) -> Any:
        return side.library.function(name)(*side.inputs.values(), *args, **kwargs)

    return call


def forward(**kwargs: Any) -> Call:
    """Call the module with the inputs in their order, and with these keyword arguments."""

    def call(side: Side) -> Any:
        return side.net(*side.inputs.values(), **kwargs)

    return call


def attention_chooses(*paths: str, least: float = 0.2) -> Check:
    """Check that attention is not nearly uniform: then every query would be given the same mean of the values.

    Args:
        paths: outputs of bare attention, [B, N, C] or [B, H, W, C]; "out" if none are named.
        least: smallest spread over queries, as a share of the spread over everything.
    """

    def check(outputs: Mapping[str, Tensor]) -> None:
        for path in paths or ("out",):
            tokens = outputs[path].flatten(1, -2)
            share = float(tokens.std(dim=1).mean() / tokens.std())
            if not share >= least:
                raise AssertionError(f"{path}: queries differ by {share:.2f} of the spread only")

    return check


def drops_and_keeps(scale: float) -> Check:
    """Check that drop path dropped some items (they equal `without`) and kept others (scaled by `scale`)."""

    def check(outputs: Mapping[str, Tensor]) -> None:
        ratio = (outputs["out"] / outputs["given"]).flatten(1)
        dropped = (ratio == 0).all(dim=1)
        scaled = ((ratio - scale).abs() < 1e-9).all(dim=1)
        if not (bool(dropped.any()) and bool(scaled.any()) and bool((dropped | scaled).all())):
            raise AssertionError(
                f"{int(dropped.sum())} items dropped, {int(scaled.sum())} of {len(ratio)} kept"
            )

    return check


def some_items_pass_through(outputs: Mapping[str, Tensor]) -> None:
    """Check that drop path left some items of a residual block as they came, and changed others."""
    same = (outputs["out"] == outputs["given"]).flatten(1).all(dim=1)
    if bool(same.all()) or not bool(same.any()):
        raise AssertionError(f"{int(same.sum())} of {len(same)} items passed through unchanged")


def with_input(side: Side) -> Any:
    """Return the input beside the output, for checks that need both (and to see that it is unchanged)."""
    return {"out": side.net(*side.inputs.values()), "given": next(iter(side.inputs.values()))}
