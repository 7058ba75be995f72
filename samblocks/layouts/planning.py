"""What happens to every tensor of a file from one layout to another, worked out before anything is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from samblocks.errors import LayoutError
from samblocks.layouts.components import family_of
from samblocks.layouts.key_prefix import KeyPrefix, key_prefixes
from samblocks.layouts.manifest import meta_tensors
from samblocks.layouts.match import read, sizes_of
from samblocks.layouts.operations import IDENTITY, Create, Drop
from samblocks.layouts.rules import Table, TensorMapping, TensorMappings
from samblocks.layouts.steps import KINDS, Plan, Step
from samblocks.layouts.tables import class_of, table
from samblocks.layouts.tensors import WEIGHT_DTYPES, TensorInfo
from samblocks.variants import Variant


def plan(
    tensors: Mapping[str, TensorInfo],
    *,
    source: str,
    target: str,
    row: Variant,
    model_class: str | None = None,
    source_class: str | None = None,
) -> Plan:
    """Plan what becomes of every tensor of a file in another layout.

    Prefixes, names of wrapping modules and old renames are understood as in `detect`.

    Args:
        tensors: every tensor's name in the file, with shape and dtype.
        source: the layout of the file.
        target: the layout that is wanted.
        row: the variant.
        model_class: the class of transformers that is wanted, where the target is "transformers" and several
            exist; the one that holds everything if None.
        source_class: the same for the file; the rules of Sam2VideoModel read a Sam2Model file too.

    Returns:
        the plan; tensors that nothing is known about are steps of kind "unexplained", not an error.

    Raises:
        ValueError: a layout or a class is unknown.
        LayoutError: a layout does not exist for the variant.

    >>> from samblocks.layouts import expected
    >>> from samblocks.variants import VARIANTS
    >>> row = VARIANTS["sam_vit_b"]
    >>> steps = plan(expected("meta", row), source="meta", target="timm", row=row).steps
    >>> steps[0].kind, steps[0].sources, steps[0].targets
    ('renamed', ('image_encoder.pos_embed',), ('pos_embed',))
    """
    target_class = class_of(target, row, model_class)
    incoming = table(source, row, source_class)
    prefix = _prefix(tensors, source, row)
    names, mapped = read(tensors, prefix, incoming)
    outgoing = table(target, row, target_class, image_size=sizes_of(mapped.infos).image_size)
    if _alike(source, target):
        steps = _kept(names, outgoing)
        unknown = {}
    else:
        raw = {name: key for key, name in names.items()}
        middle = {key: mapped.infos[key] for mapping in mapped.mappings for key in mapping.outputs}
        first = [
            replace(mapping, inputs=tuple(raw[name] for name in mapping.inputs))
            for mapping in mapped.mappings
        ]
        steps = _joined(first, outgoing.map(middle, to_meta=False), _float_dtype(tensors))
        unknown = {raw[name]: why for name, why in mapped.unexplained.items()}
    unknown |= _unknown(tensors, names, prefix, incoming)
    steps += [Step("unexplained", (key,), (), why=why) for key, why in unknown.items()]
    _account(tensors, steps)
    steps.sort(key=lambda step: (0, outgoing.rank_other(step.targets[0])) if step.targets else (1, []))
    infos = {key: info for step in steps for key, info in step.infer(tensors).items()}
    missing, misshapen = _against_variant(infos, outgoing, row)
    return Plan(source, target, tuple(steps), target_class, infos, missing, misshapen, prefix)


def _unknown(
    tensors: Iterable[str], names: Mapping[str, str], prefix: KeyPrefix, incoming: Table
) -> dict[str, str]:
    """The names of a file that mean nothing, each with the reason."""
    taken = {name: key for key, name in names.items()}
    found = {}
    for key in tensors:
        if key not in names:
            first = next((taken[name] for name in prefix.readings(key) if name in taken), None)
            found[key] = (
                f"{first} is the same tensor" if first else f"no tensor of {incoming.name} has this name"
            )
    return found


def _alike(source: str, target: str) -> bool:
    """Whether two layouts have the same names: Ultralytics' are Meta's."""
    return source == target or {source, target} == {"meta", "ultralytics"}


def _prefix(tensors: Iterable[str], layout: str, row: Variant) -> KeyPrefix:
    """How the names of a file are read, given its layout and variant."""
    layout, family = ("meta" if layout == "ultralytics" else layout), family_of(row)
    found = [offer for offer in key_prefixes(tensors) if (offer.layout, offer.family) == (layout, family)]
    return found[0] if found else KeyPrefix(layout, family)


def _kept(names: Mapping[str, str], outgoing: Table) -> list[Step]:
    """Steps of a file that stays in its layout: nothing but prefixes and old renames change."""
    steps = []
    for key, name in names.items():
        if outgoing.knows_other(name):
            mappings = (TensorMapping(IDENTITY, (key,), (name,)),)
            steps.append(Step("used" if key == name else "renamed", (key,), (name,), mappings=mappings))
        else:
            steps.append(Step("dropped", (key,), (), why=f"{outgoing.name} has no place for it"))
    return steps


def _joined(first: Sequence[TensorMapping], second: TensorMappings, dtype: str) -> list[Step]:
    """Put mappings that share a tensor together.

    Args:
        first: mappings from the file's names to Meta's.
        second: mappings from Meta's names to the target's, and what had none.
        dtype: what created numbers get, as "F32".

    Returns:
        steps in no particular order; every input of `first` is a source of exactly one.
    """
    source = {key: number for number, mapping in enumerate(first) for key in mapping.outputs}
    groups: dict[int, tuple[set[int], list[TensorMapping]]] = {}
    for mapping in second.mappings:
        numbers = {source[key] for key in mapping.inputs}
        after = [mapping]
        for number in tuple(numbers):
            if number in groups:
                others, earlier = groups[number]
                numbers |= others
                after = [*(known for known in earlier if known not in after), *after]
        group = (numbers, after)
        groups.update(dict.fromkeys(numbers, group) if numbers else {-1 - len(groups): group})
    joined = list({id(group): group for group in groups.values()}.values())
    steps = [_step([first[number] for number in sorted(numbers)], after, dtype) for numbers, after in joined]
    left = [mapping for number, mapping in enumerate(first) if number not in groups and mapping.inputs]
    return [
        *(step for step in steps if step.sources or step.targets),
        *(_left(mapping, second) for mapping in left),
    ]


def _left(mapping: TensorMapping, second: TensorMappings) -> Step:
    """The step of tensors that do not get beyond Meta's layout."""
    if not mapping.outputs:
        return Step("dropped", mapping.inputs, (), why=mapping.why)
    whys = [second.unexplained[key] for key in mapping.outputs if key in second.unexplained]
    return Step("unexplained", mapping.inputs, (), why="; ".join(dict.fromkeys(whys)))


def _step(before: list[TensorMapping], after: list[TensorMapping], dtype: str) -> Step:
    mappings = tuple(_typed(mapping, dtype) for mapping in (*before, *after))
    sources = tuple(key for mapping in before for key in mapping.inputs)
    targets = tuple(key for mapping in after for key in mapping.outputs)
    why = "; ".join(dict.fromkeys(mapping.why for mapping in mappings if mapping.why))
    if not targets:
        return Step("dropped", sources, (), why=why)
    kinds = {mapping.operation.kind for mapping in mappings if not isinstance(mapping.operation, Drop)}
    kind = next(kind for kind in KINDS if kind in kinds)
    if kinds == {IDENTITY.kind} and sources == targets:
        kind = "used"
    texts = [str(mapping.operation) for mapping in mappings]
    return Step(kind, sources, targets, ", then ".join(filter(None, texts)), why, mappings)


def _typed(mapping: TensorMapping, dtype: str) -> TensorMapping:
    """Created numbers take the dtype of the file."""
    created = mapping.operation
    if not isinstance(created, Create) or created.fill == "bytes":
        return mapping
    return replace(mapping, operation=Create(created.fill, TensorInfo(created.info.shape, dtype)))


def _float_dtype(tensors: Mapping[str, TensorInfo]) -> str:
    """The floating dtype that most tensors have, for those that are created."""
    counts = Counter(info.dtype for info in tensors.values() if info.dtype in WEIGHT_DTYPES)
    return counts.most_common(1)[0][0] if counts else "F32"


def _account(tensors: Mapping[str, TensorInfo], steps: list[Step]) -> None:
    """Every tensor of the file stands in exactly one step, or the rules themselves are wrong."""
    counted = Counter(key for step in steps for key in step.sources)
    wrong = [key for key in (*tensors, *counted) if counted[key] != 1 or key not in tensors]
    if wrong:
        raise LayoutError(f"the plan does not account exactly once for {', '.join(sorted(set(wrong))[:5])}")


def _against_variant(
    infos: Mapping[str, TensorInfo], outgoing: Table, row: Variant
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]]:
    """What is missing of the target, and what has another shape than the variant's."""
    sized = meta_tensors(row, **sizes_of(outgoing.map(infos, to_meta=True).infos)._asdict())
    wanted = outgoing.map(sized, to_meta=False).infos
    missing = [key for key in wanted if key not in infos and not _may_lack(key, infos, outgoing)]
    misshapen = [
        (key, info.shape, wanted[key].shape)
        for key, info in infos.items()
        if key in wanted and info.shape != wanted[key].shape
    ]
    return tuple(sorted(missing, key=outgoing.rank_other)), tuple(misshapen)


def _may_lack(key: str, infos: Mapping[str, TensorInfo], outgoing: Table) -> bool:
    """Whether a file may lack a name: it says nothing about SAM, or a copy of it is there."""
    if not outgoing.optional_other(key):
        return False
    copies = [name for meta in outgoing.to_meta(key) for name in outgoing.to_other(meta)]
    return not copies or any(name in infos for name in copies)
