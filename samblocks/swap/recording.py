"""What transformers records by hooks when it is asked for hidden states or attention weights.

It places them once, by the classes of its modules, and remembers in the model that it has done so: they have to be on
whichever module is in place. What leaves a module first is what leaves ours; attention weights ours does not give,
and says so instead of letting something else be taken for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from samblocks.errors import SwapError

_HOME = "transformers.utils.output_capturing"

Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]


def is_recording(hook: object) -> bool:
    """Whether a hook is one that transformers records by; by itself it does nothing."""
    return isinstance(hook, Recorder) or getattr(hook, "__module__", None) == _HOME


class Recorder:
    """One of transformers' hooks on a module of ours.

    Args:
        hook: it, which picks an output by its place.
    """

    def __init__(self, hook: Hook) -> None:
        self.hook = hook

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Show it what left the module first."""
        first = output[0] if isinstance(output, tuple) else output
        self.hook(module, args, _Given((first,)))


class _Given(tuple[Any, ...]):
    """An output of which only the first part is there to be recorded."""

    def __getitem__(self, place: Any) -> Any:
        if place != 0:
            raise SwapError(
                "attention weights cannot be recorded from the module that was swapped in: undo the swap for it"
            )
        return super().__getitem__(place)


def hand_over(pairs: Iterable[tuple[nn.Module, nn.Module]]) -> None:
    """Put the hooks that are on the first of each pair on the second as well, unless they are there.

    Args:
        pairs: from a module, to a module; one of them is ours.
    """
    for source, target in pairs:
        there = {id(_plain(hook)) for hook in target._forward_hooks.values() if is_recording(hook)}
        for hook in list(source._forward_hooks.values()):
            if is_recording(hook) and id(_plain(hook)) not in there:
                target.register_forward_hook(_plain(hook))


def _plain(hook: Any) -> Any:
    return hook.hook if isinstance(hook, Recorder) else hook
