"""How cases drive predictors of videos: a clip, then what a user says and asks, step by step.

Masks are logits at the video's size; ids are numbers. What is said is data, so that each library gets the same.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.cases import blind
from parity.cases.calls import Call, Check
from parity.execution.case import Side


@dataclass(frozen=True)
class Say:
    """One call of a predictor's method, with the state before these arguments; see `filmed`.

    Attributes:
        method: its name.
        args: its arguments; the name of an input stands for it.
        kwargs: more of them.
    """

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def click(
    frame: int, obj: int, *points: tuple[float, float], labels: Sequence[int] = (1,), **more: Any
) -> Say:
    """Points on an object; more of them for another click on a frame."""
    given = {"points": np.array(points, np.float64), "labels": np.array(labels), **more}
    return Say("add_new_points_or_box", (frame, obj), given)


def box(frame: int, obj: int, *corners: float, **more: Any) -> Say:
    """A box around an object."""
    return Say("add_new_points_or_box", (frame, obj), {"box": np.array(corners), **more})


def mask(frame: int, obj: int, name: str) -> Say:
    """A mask of an object: an input's name."""
    return Say("add_new_mask", (frame, obj, name))


def clear(frame: int, obj: int) -> Say:
    """Take back what was said about an object on a frame."""
    return Say("clear_all_prompts_in_frame", (frame, obj))


def remove(obj: int) -> Say:
    """Forget an object."""
    return Say("remove_object", (obj,))


def track(
    start: int | None = None, most: int | None = None, *, reverse: bool = False, behind: int = 0
) -> Say:
    """Track all objects.

    Args:
        start: where to.
        most: how many frames more.
        reverse: backwards.
        behind: look at frames from this one on alone. Upstream, which would track over what was said on the frame
            before, starts there; ours starts where it starts.
    """
    return Say("propagate_in_video", (start, most, reverse), {"behind": behind})


SAVE = Say("save")
"""Write the state, and go on with what is read; upstream, which cannot, just goes on."""


def filmed(
    script: Sequence[Say],
    *,
    stream: bool = False,
    answers: bool = True,
    upstream: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Call:
    """Lead a predictor through the input `frames`, [T, H, W, 3].

    Args:
        script: what is said, in order.
        stream: give the frames one by one, without their number.
        answers: what prompts are answered is an output, too.
        upstream: other settings that a reference needs to do the same.
        **settings: of the predictor. In float64 memories are stored as they are made: the truth, in which nothing is
            narrower than that, has them so.

    Returns:
        For each step the frames that it gives, the objects, and their logits.
    """

    def call(side: Side) -> dict[str, Any]:
        own = dict(settings)
        if side.library.name != "samblocks":
            own |= upstream or {}
        elif side.dtype == torch.float64:
            own["memory_dtype"] = None
        driver = side.library.function("SAM2VideoPredictor")(side.net, **own)
        clip = side.inputs["frames"].numpy(force=True)
        state = driver.init_state(iter(clip) if stream else clip)
        found = {}
        for number, say in enumerate(script):
            if say.method == "save":
                state = _resumed(side, driver, state, clip)
                continue
            if not answers and say.method.startswith("add_new"):
                getattr(driver, say.method)(state, *_given(side, say), **say.kwargs)
                continue
            shown = list(_shown(side, driver, state, say))
            found[f"{number:02d}_{say.method}"] = {
                "frames": torch.tensor([frame for frame, _, _ in shown], dtype=torch.int64),
                "ids": torch.tensor(
                    [[len(ids), *ids, *[0] * (8 - len(ids))] for _, ids, _ in shown], dtype=torch.int64
                ),
                "masks": torch.cat([masks for _, _, masks in shown]) if shown else None,
            }
        return found

    return call


def objects_come_and_go(script: Sequence[Say], *, mixed: float = 0.75) -> Check:
    """Check that prompts show objects, which are lost and found again, and that their masks are mixed.

    Args:
        script: what was said.
        mixed: the part of all tracked masks of objects that are seen that has 5 to 95 % foreground, at least; of
            answers to prompts it may be a half.

    Returns:
        A check of the outputs of `filmed`.
    """

    def check(outputs: Mapping[str, Tensor]) -> None:
        objects_are_seen(script, mixed=mixed)(outputs)
        found = lost = 0
        for number, say in enumerate(script):
            if say.method == "propagate_in_video":
                for masks in _by_object(outputs, f"{number:02d}_{say.method}").values():
                    seen = [_is_seen(mask) for mask in masks]
                    found += sum(now and not before for before, now in pairwise(seen))
                    lost += sum(before and not now for before, now in pairwise(seen))
        assert found, f"no object appears while it is tracked, {lost} vanish"
        assert lost, f"no object vanishes while it is tracked, {found} appear"

    return check


def objects_are_seen(script: Sequence[Say], *, mixed: float = 0.75, answers: bool = True) -> Check:
    """Check that most prompts show their object, that it is seen while it is tracked, and that masks are mixed.

    For scripts too short for objects to be lost and found; see `objects_come_and_go`.
    """

    def check(outputs: Mapping[str, Tensor]) -> None:
        said, tracked = [], []
        for number, say in enumerate(script):
            step = f"{number:02d}_{say.method}"
            if answers and say.method.startswith("add_new"):
                said += _by_object(outputs, step)[say.args[1]]
            elif say.method == "propagate_in_video":
                tracked += [mask for masks in _by_object(outputs, step).values() for mask in masks]
        seen = [mask for mask in tracked if _is_seen(mask)]
        assert seen, "no object is seen while it is tracked"
        for what, masks, least in (
            ("answers to prompts", said, min(mixed, 0.5)),
            ("tracked masks", seen, mixed),
        ):
            shares = [_share(mask) for mask in masks]
            count = sum(0.05 < share < 0.95 for share in shares)
            assert count >= least * len(shares), f"only {count} of {len(shares)} {what} are mixed: {shares}"

    return check


def _by_object(outputs: Mapping[str, Tensor], step: str) -> dict[int, list[Tensor]]:
    """The masks [H, W] that a step of a script gave, by object, in the order of frames."""
    found: dict[int, list[Tensor]] = {}
    masks = iter(outputs.get(f"{step}/masks", ()))  # a step may give no frame at all
    for count, *ids in outputs[f"{step}/ids"].tolist():
        for obj in ids[:count]:
            found.setdefault(obj, []).append(next(masks)[0])
    return found


def _is_seen(mask: Tensor) -> bool:
    return float(mask.max()) > 0.99 * blind.NO_OBJECT


def _share(mask: Tensor) -> float:
    return round(float((mask > 0).double().mean()), 3)


def _given(side: Side, say: Say) -> list[Any]:
    return [side.inputs[value].numpy(force=True) if isinstance(value, str) else value for value in say.args]


Shown = tuple[int, list[int], Tensor]


def _shown(side: Side, driver: Any, state: Any, say: Say) -> Iterator[Shown]:
    """What a step gives, as (frame, objects, logits)."""
    args = _given(side, say)
    if say.method == "propagate_in_video":
        start, most, reverse = args
        behind = say.kwargs["behind"]
        if behind and side.library.name != "samblocks":
            start = behind
        for frame, ids, masks in driver.propagate_in_video(state, start, most, reverse):
            if frame >= behind:
                yield frame, list(ids), masks.clone()
        return
    answer = getattr(driver, say.method)(state, *args, **say.kwargs)
    if say.method == "remove_object":
        ids, updated = answer
        yield from ((frame, list(ids), masks.clone()) for frame, masks in sorted(updated))
    else:
        frame, ids, masks = answer
        yield frame, list(ids), masks.clone()


def _resumed(side: Side, driver: Any, state: Any, clip: np.ndarray) -> Any:
    if side.library.name != "samblocks":
        return state
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        state.save(path)
        return driver.resume(path, clip)
