"""Cases that are drawn, not frozen: all that one needs stands in its id, so that a worker can make it again."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from parity.execution.case import Case, Side, Spec, integers, uniform
from parity.execution.execute import flatten

MARK = "/fuzz "


def drawn(block: str, kwargs: Mapping[str, Any], inputs: Mapping[str, Sequence[int]], **call: Any) -> Case:
    """The case of a block with these arguments on inputs of these shapes.

    Args:
        block: class or function, by its name on the reference page.
        kwargs: constructor arguments, such as JSON can say.
        inputs: shapes by name. `labels` are integers from -1 to 3, `boxes` and `points` are pixels.
        call: keyword arguments of the call.
    """
    return _case(block, json.dumps([kwargs, inputs, call]))


def find(case_id: str) -> Case:
    """The case with this id, which holds `MARK`."""
    block, _, text = case_id.partition(MARK)
    return _case(block, text)


def _case(block: str, text: str) -> Case:
    kwargs, inputs, options = json.loads(text)

    def call(side: Side) -> Any:
        if block == "window_partition":
            return _there_and_back(side, options["window_size"])
        if block == "PromptEncoder":
            points = (side.inputs["points"], side.inputs["labels"]) if "points" in side.inputs else None
            boxes, masks = side.inputs.get("boxes"), side.inputs.get("masks")
            return dict(flatten(side.net(points=points, boxes=boxes, masks=masks)))
        return side.net(*side.inputs.values(), **options)

    return Case(
        block=block,
        name=f"{MARK.removeprefix('/')}{text}",
        why="drawn at random",
        kwargs={name: _tuples(value) for name, value in kwargs.items()},
        inputs={name: _spec(name, tuple(shape)) for name, shape in inputs.items()},
        call=call,
        bound=4.0,
        reason="drawn shapes may give a few numbers only, and the rounding of few is luck",
        exact=block == "window_partition",
    )


def _there_and_back(side: Side, size: int) -> Any:
    x = side.inputs["x"]
    windows, padded = side.library.function("window_partition")(x, size)
    back = side.library.function("window_unpartition")(windows, size, padded, x.shape[1:3])
    return {"windows": windows, "padded": list(padded), "back": back}


def _spec(name: str, shape: tuple[int, ...]) -> Spec:
    if name == "labels":
        return integers(*shape, low=-1, high=4)
    if name in ("points", "boxes"):
        return uniform(*shape, low=-8.0, high=90.0)
    return uniform(*shape)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
