"""What happens to every tensor of a file on the way from one layout to another, before anything is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from samblocks.errors import LayoutError
from samblocks.layouts.facts import facts_of
from samblocks.layouts.joining import join, keep
from samblocks.layouts.match import read, sizes_of
from samblocks.layouts.meta import meta_tensors
from samblocks.layouts.rules import Move, Moves, Table
from samblocks.layouts.spelling import Spelling, spellings
from samblocks.layouts.steps import KINDS, Plan, Step
from samblocks.layouts.tables import class_of, table
from samblocks.layouts.tensors import WEIGHT_DTYPES, TensorInfo


def plan(
    tensors: Mapping[str, TensorInfo],
    *,
    source: str,
    target: str,
    variant: str,
    model_class: str | None = None,
    source_class: str | None = None,
) -> Plan:
    """Plan the way of every tensor of a file into another layout.

    Prefixes, names of wrapping modules and old renames are understood as in `detect`.

    Args:
        tensors: every tensor's name in the file, with shape and dtype.
        source: the layout of the file.
        target: the layout that is wanted.
        variant: the variant.
        model_class: the class of transformers that is wanted, where the target is "transformers" and several
            exist; the one that holds everything if None.
        source_class: the same for the file; the rules of Sam2VideoModel read a Sam2Model file too.

    Returns:
        the plan; tensors that nothing is known about are steps of kind "unexplained", not an error.

    Raises:
        ValueError: a layout, the variant or a class is unknown.
        LayoutError: a layout does not exist for the variant.

    >>> from samblocks.layouts import expected
    >>> steps = plan(expected("meta", "sam_vit_b"), source="meta", target="timm", variant="sam_vit_b").steps
    >>> steps[0].kind, steps[0].sources, steps[0].targets
    ('renamed', ('image_encoder.pos_embed',), ('pos_embed',))
    """
    target_class = class_of(target, variant, model_class)
    arrive = table(source, variant, source_class)
    spelling = _spelling(tensors, source, variant)
    names, first = read(tensors, spelling, arrive)
    image_size, _ = sizes_of(first.infos)
    leave = table(target, variant, target_class, image_size=image_size or 1024)
    if _alike(source, target):
        held = {name: leave.knows_other(name) for name in names.values()}
        steps = keep(names, held, f"{leave.name} has no place for it")
        strange = {}
    else:
        raw = {name: key for key, name in names.items()}
        middle = {key: first.infos[key] for move in first.moves for key in move.outputs}
        steps = join(_in_file(first, raw), leave.moves(middle, to_meta=False), _float_dtype(tensors))
        strange = {raw[name]: why for name, why in first.unexplained.items()}
    strange |= _strange(tensors, names, spelling, arrive)
    steps += [Step("unexplained", (key,), (), why=why) for key, why in strange.items()]
    _account(tensors, steps)
    last = [(len(KINDS) + len(tensors), 0)]
    steps.sort(key=lambda step: leave.rank_other(step.targets[0]) if step.targets else last)
    infos = _infer(steps, tensors)
    missing, misshapen = _against_variant(infos, leave, variant)
    return Plan(source, target, tuple(steps), variant, target_class, infos, missing, misshapen)


def _strange(
    tensors: Iterable[str], names: Mapping[str, str], spelling: Spelling, arrive: Table
) -> dict[str, str]:
    """The names of a file that mean nothing, each with the reason."""
    taken = {name: key for key, name in names.items()}
    found = {}
    for key in tensors:
        if key not in names:
            first = taken.get(spelling.read(key) or "")
            found[key] = (
                f"{first} is the same tensor" if first else f"no tensor of {arrive.name} has this name"
            )
    return found


def _alike(source: str, target: str) -> bool:
    """Whether two layouts have the same names: Ultralytics' are Meta's."""
    return source == target or {source, target} == {"meta", "ultralytics"}


def _spelling(tensors: Iterable[str], layout: str, variant: str) -> Spelling:
    """How the names of a file are read, given its layout and variant."""
    layout, family = ("meta" if layout == "ultralytics" else layout), facts_of(variant).family
    found = [offer for offer in spellings(tensors) if (offer.layout, offer.family) == (layout, family)]
    return found[0] if found else Spelling(layout, family)


def _in_file(moves: Moves, raw: Mapping[str, str]) -> list[Move]:
    """Moves whose inputs are named as in the file."""
    return [
        Move(move.operation, tuple(raw[name] for name in move.inputs), move.outputs, move.why)
        for move in moves.moves
    ]


def _float_dtype(tensors: Mapping[str, TensorInfo]) -> str:
    """The floating dtype that most tensors have, for those that are invented."""
    counts = Counter(info.dtype for info in tensors.values() if info.dtype in WEIGHT_DTYPES)
    return counts.most_common(1)[0][0] if counts else "F32"


def _account(tensors: Mapping[str, TensorInfo], steps: list[Step]) -> None:
    """Every tensor of the file stands in exactly one step, or the rules themselves are wrong."""
    counted = Counter(key for step in steps for key in step.sources)
    wrong = [key for key in (*tensors, *counted) if counted[key] != 1 or key not in tensors]
    if wrong:
        raise LayoutError(f"the plan does not account exactly once for {', '.join(sorted(set(wrong))[:5])}")


def _infer(steps: list[Step], tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Shape and dtype of every target."""
    found: dict[str, TensorInfo] = {}
    for step in steps:
        held = {key: tensors[key] for key in step.sources}
        for move in step.moves:
            results = move.operation.infer([held[key] for key in move.inputs])
            held.update(zip(move.outputs, results, strict=True))
        found.update((key, held[key]) for key in step.targets)
    return found


def _against_variant(
    infos: Mapping[str, TensorInfo], leave: Table, variant: str
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]]:
    """What is missing of the target, and what has another shape than the variant's."""
    image_size, num_maskmem = sizes_of(leave.moves(infos, to_meta=True).infos)
    sized = meta_tensors(variant, image_size=image_size or 1024, num_maskmem=num_maskmem or 7)
    wanted = leave.moves(sized, to_meta=False).infos
    missing = [key for key in wanted if key not in infos and not _spared(key, infos, leave)]
    misshapen = [
        (key, info.shape, wanted[key].shape)
        for key, info in infos.items()
        if key in wanted and info.shape != wanted[key].shape
    ]
    return tuple(sorted(missing, key=leave.rank_other)), tuple(misshapen)


def _spared(key: str, infos: Mapping[str, TensorInfo], leave: Table) -> bool:
    """Whether a file may lack a name: it says nothing about SAM, or a copy of it is there."""
    if not leave.optional_other(key):
        return False
    copies = [name for meta in leave.to_meta(key) for name in leave.to_other(meta)]
    return not copies or any(name in infos for name in copies)
