"""Steps out of single moves: first those into Meta's layout, then those away from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from samblocks.layouts.operations import KEEP, Drop, Make
from samblocks.layouts.rules import Move, Moves
from samblocks.layouts.steps import KINDS, Step
from samblocks.layouts.tensors import TensorInfo


def join(first: Sequence[Move], second: Moves, dtype: str) -> list[Step]:
    """Put moves that share a tensor together.

    Args:
        first: moves from the file's names to Meta's.
        second: moves from Meta's names to the target's, and what had none.
        dtype: what invented numbers get, as "F32".

    Returns:
        steps in no particular order; every input of `first` is a source of exactly one.
    """
    giver = {key: number for number, move in enumerate(first) for key in move.outputs}
    groups: dict[int, tuple[set[int], list[Move]]] = {}
    for move in second.moves:
        givers = {giver[key] for key in move.inputs}
        after = [move]
        for number in tuple(givers):
            if number in groups:
                others, earlier = groups[number]
                givers |= others
                after = [*(known for known in earlier if known not in after), *after]
        place = (givers, after)
        groups.update(dict.fromkeys(givers, place) if givers else {-1 - len(groups): place})
    joined = list({id(place): place for place in groups.values()}.values())
    steps = [_step([first[number] for number in sorted(givers)], after, dtype) for givers, after in joined]
    left = [move for number, move in enumerate(first) if number not in groups and move.inputs]
    return [
        *(step for step in steps if step.sources or step.targets),
        *(_left(move, second) for move in left),
    ]


def _left(move: Move, second: Moves) -> Step:
    """The step of tensors that do not get beyond Meta's layout."""
    if not move.outputs:
        return Step("dropped", move.inputs, (), why=move.why)
    whys = [second.unexplained[key] for key in move.outputs if key in second.unexplained]
    return Step("unexplained", move.inputs, (), why="; ".join(dict.fromkeys(whys)))


def _step(before: list[Move], after: list[Move], dtype: str) -> Step:
    moves = tuple(_typed(move, dtype) for move in (*before, *after))
    sources = tuple(key for move in before for key in move.inputs)
    targets = tuple(key for move in after for key in move.outputs)
    why = "; ".join(dict.fromkeys(move.why for move in moves if move.why))
    if not targets:
        return Step("dropped", sources, (), why=why)
    kinds = {move.operation.kind for move in moves if not isinstance(move.operation, Drop)}
    kind = next(kind for kind in KINDS if kind in kinds)
    if kinds == {KEEP.kind} and sources == targets:
        kind = "used"
    text = ", then ".join(move.operation.text for move in moves if move.operation.text)
    return Step(kind, sources, targets, text, why, moves)


def _typed(move: Move, dtype: str) -> Move:
    """Invented numbers take the dtype of the file."""
    made = move.operation
    if not isinstance(made, Make) or made.fill == "bytes":
        return move
    return Move(Make(made.fill, TensorInfo(made.info.shape, dtype)), move.inputs, move.outputs, move.why)


def keep(names: Mapping[str, str], held: Mapping[str, bool], why: str) -> list[Step]:
    """Steps of a file that stays in its layout: nothing but prefixes and old renames change.

    Args:
        names: name in the file to name in the layout.
        held: whether the target has a place for a name.
        why: the reason, if it has none.

    Returns:
        one step per name.
    """
    steps = []
    for key, name in names.items():
        if held[name]:
            moves = (Move(KEEP, (key,), (name,)),)
            steps.append(Step("used" if key == name else "renamed", (key,), (name,), moves=moves))
        else:
            steps.append(Step("dropped", (key,), (), why=why))
    return steps
