"""What other libraries remember of a film in another way than ours; see `imitations`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pkgutil import resolve_name
from typing import Any
from unittest import mock

from parity.execution.case import Side

Change = Callable[[Side], AbstractContextManager[None]]
Remember = Callable[..., None]

_TRACKED = "non_cond_frame_outputs"


@contextmanager
def masks_are_remembered_as_given(side: Side) -> Iterator[None]:
    """The memory of a mask is made of itself, not of the answer to it, which is a quarter of its size."""

    def remember(run: Remember, state: Any, output: Any, frame: int, **given: Any) -> None:
        for track in state.tracks.values():
            if frame in track.masks and any(
                output is pending.get(frame) for pending in track.pending.values()
            ):
                given["high_res"] = 20.0 * track.masks[frame] - 10.0
        run(state, output, frame, **given)

    with _remembering(remember):
        yield


@contextmanager
def corrections_prompt_every_object(side: Side) -> Iterator[None]:
    """Where one object is corrected, what was tracked of the others is remembered as zeros and ones, too."""

    def remember(run: Remember, state: Any, output: Any, frame: int, **given: Any) -> None:
        run(state, output, frame, **given)
        for track in state.tracks.values():
            tracked = track.outputs[_TRACKED].get(frame)
            if tracked is not None and tracked is not output:
                run(state, tracked, frame)
                tracked["serial"] = next(state.serials)  # so that what read it is tracked again

    with _remembering(remember):
        yield


@contextmanager
def prompts_are_remembered_as_they_are(side: Side) -> Iterator[None]:
    """The memory of a prompt is made of its logits, as that of tracked masks, not of zeros and ones."""

    def remember(run: Remember, state: Any, output: Any, frame: int, **given: Any) -> None:
        run(state, output, frame, **{**given, "prompt": False})

    with _remembering(remember):
        yield


def pointers_go_with_memories(frames: int) -> Change:
    """Pointers of tracked frames are read for so many frames only, as long as their memories are kept."""

    def near(run: Callable[..., Any], *args: Any, **given: Any) -> Any:
        found = run(*args, **given)
        kept = [entry for entry in found.pointers if entry[0].prompted or entry[0].distance <= frames]
        return found._replace(pointers=kept)

    return lambda side: _wrapped("samblocks.predict.video.steps.sources", near)


def _remembering(remember: Remember) -> AbstractContextManager[None]:
    return _wrapped("samblocks.predict.video.propagation.remember", remember)


@contextmanager
def _wrapped(name: str, around: Callable[..., Any]) -> Iterator[None]:
    """Another function in the place of one of ours, which it is given."""
    with mock.patch(name, partial(around, resolve_name(name))):
        yield
