"""How well the tensors of a file fit one variant in one layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from samblocks.layouts.components import component_name, part_of
from samblocks.layouts.facts import facts_of
from samblocks.layouts.meta import meta_tensors
from samblocks.layouts.rules import Moves, Table
from samblocks.layouts.spelling import Spelling, spell
from samblocks.layouts.tables import classes_of, table, variants_of
from samblocks.layouts.tensors import TensorInfo, shape_text
from samblocks.variants import LAYOUTS


@dataclass(frozen=True)
class Match:
    """The outcome of comparing a file with one variant in one layout.

    Args:
        layout, variant, model_class: what it was compared with.
        spelling: how the names were read.
        names: name in the file to name in the layout.
        component: the parts that are there, or None for all.
        image_size, num_maskmem: what the shapes were made for, where they tell.
        missing, unexpected: as in `Detection`.
        broken: names of the layout whose tensors have another shape than the variant's.
    """

    layout: str
    variant: str
    model_class: str | None
    spelling: Spelling
    names: Mapping[str, str]
    component: str | None
    image_size: int | None
    num_maskmem: int | None
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def distance(self) -> int:
        """How many tensors differ."""
        return len(self.missing) + len(self.unexpected) + len(self.broken)

    def rank(self) -> tuple[int, bool, bool, int]:
        """Fewest differences first, then whole models, then whole names, then in the order of `LAYOUTS`."""
        bare = bool(self.spelling.add)
        return self.distance, self.component is not None, bare, LAYOUTS.index(self.layout)

    def agrees_with(self, best: Match) -> bool:
        """Whether this reading of the file is as good as the best one and says the same of it."""
        if best.distance:
            alike = (self.missing, self.unexpected, self.broken)
            alike_best = (best.missing, best.unexpected, best.broken)
            return self.rank() == best.rank() and alike == alike_best and self.component == best.component
        return self.rank() == best.rank() and self.component == best.component

    def renames(self) -> Iterator[tuple[str, str]]:
        """Names that older versions of transformers changed, with what they stand for."""
        for key, name in self.names.items():
            if key.rpartition(".")[2] != name.rpartition(".")[2]:
                yield key, name


def misshapen(tensors: Mapping[str, TensorInfo], match: Match) -> tuple[tuple[str, str, str], ...]:
    """The tensors of a file that have another shape than the variant's.

    Args:
        tensors: every tensor's name in the file, with shape and dtype.
        match: what they were compared with.

    Returns:
        name in the file, shape and expected shape, as text.
    """
    sized = meta_tensors(
        match.variant, image_size=match.image_size or 1024, num_maskmem=match.num_maskmem or 7
    )
    wanted = table(match.layout, match.variant, match.model_class).moves(sized, to_meta=False).infos
    raw = {name: key for key, name in match.names.items()}
    return tuple(
        (
            raw[name],
            shape_text(tensors[raw[name]].shape),
            shape_text(wanted[name].shape) if name in wanted else "absent",
        )
        for name in match.broken
    )


def match_all(tensors: Mapping[str, TensorInfo], spelling: Spelling) -> list[Match]:
    """Compare a file with every variant and class of one layout and family.

    Args:
        tensors: every tensor's name in the file, with shape and dtype.
        spelling: how to read the names.

    Returns:
        one match per variant and class.
    """
    done: dict[int, tuple[dict[str, str], Moves]] = {}
    matches = []
    for variant in variants_of(spelling.layout):
        if facts_of(variant).family != spelling.family:
            continue
        for model_class in classes_of(spelling.layout, variant):
            rules = table(spelling.layout, variant, model_class)
            if id(rules) not in done:
                done[id(rules)] = read(tensors, spelling, rules)
            matches.append(_match(tensors, spelling, variant, model_class, *done[id(rules)]))
    return matches


def read(tensors: Mapping[str, TensorInfo], spelling: Spelling, rules: Table) -> tuple[dict[str, str], Moves]:
    """The names of a file in its layout, and what they are in Meta's."""
    names = spell(tensors, spelling, rules.knows_other)
    return names, rules.moves({name: tensors[key] for key, name in names.items()}, to_meta=True)


def sizes_of(infos: Mapping[str, TensorInfo]) -> tuple[int | None, int | None]:
    """Image side in pixels and number of memories that shapes were made for, each where they tell."""
    image_size = num_maskmem = None
    grid = infos.get("image_encoder.pos_embed")
    if grid is not None and len(grid.shape) == 4 and grid.shape[1] == grid.shape[2]:
        image_size = 16 * grid.shape[1]
    times = infos.get("maskmem_tpos_enc")
    if times is not None and times.shape:
        num_maskmem = times.shape[0]
    return image_size, num_maskmem


def _match(
    tensors: Mapping[str, TensorInfo],
    spelling: Spelling,
    variant: str,
    model_class: str | None,
    names: dict[str, str],
    moves: Moves,
) -> Match:
    layout, family = spelling.layout, spelling.family
    rules = table(layout, variant, model_class)
    origin = {key: move.inputs for move in moves.moves if move.inputs for key in move.outputs}
    infos = {key: moves.infos[key] for key in origin}
    image_size, num_maskmem = sizes_of(infos)
    wanted = meta_tensors(variant, image_size=image_size or 1024, num_maskmem=num_maskmem or 7)

    broken = set(moves.unexplained)
    foreign = {name for key in infos if key not in wanted for name in origin[key]}
    broken |= {
        name
        for key in infos
        if key in wanted and infos[key].shape != wanted[key].shape
        for name in origin[key]
    }
    touched = {*infos, *(key for name in broken for key in rules.to_meta(name))}
    parts = {part_of(key, family) for key in touched if key in wanted}
    absent = [key for key in wanted if key not in touched and rules.to_other(key)]
    lacking = [key for key in absent if part_of(key, family) in parts]
    return Match(
        layout=layout,
        variant=variant,
        model_class=model_class,
        spelling=spelling,
        names=names,
        component=None if layout != "timm" and len(lacking) == len(absent) else component_name(parts),
        image_size=image_size,
        num_maskmem=num_maskmem,
        missing=tuple(dict.fromkeys(name for key in lacking for name in rules.to_other(key))),
        unexpected=tuple(key for key in tensors if key not in names or names[key] in foreign),
        broken=tuple(sorted(broken)),
    )
