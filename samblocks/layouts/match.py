"""How well the tensors of a file fit one variant in one layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from samblocks.image_size import Sizes, image_size_of
from samblocks.layouts.components import component_name, component_of, family_of
from samblocks.layouts.key_prefix import KeyPrefix, strip
from samblocks.layouts.manifest import meta_tensors
from samblocks.layouts.rules import Table, TensorMappings
from samblocks.layouts.tables import classes_of, table, variants_of
from samblocks.layouts.tensors import TensorInfo, shape_text
from samblocks.variants import LAYOUTS, TinyViTConfig, Trunk, Variant

_LARGEST = 4096
"""Patches along an image's side, or memories, or channels, that any model may have."""

FIRST_LAYERS = tuple(
    f"image_encoder.{name}.weight"
    for name in ("patch_embed.proj", "trunk.patch_embed.proj", "patch_embed.seq.0.c")
)
"""The layers that take the image, whose second axis is its channels."""


@dataclass(frozen=True)
class Match:
    """The outcome of comparing a file with one variant in one layout.

    Args:
        prefix: how the names were read: layout, family and prefix.
        row, model_class, rules: what the file was compared with.
        names: name in the file to name in the layout.
        component: the components that are there, or None for all.
        intact: those of them whose tensors are all there, in their shapes.
        sizes: what the shapes were made for, where they tell.
        missing, unexpected: as in `Detection`.
        broken: names of the layout whose tensors have another shape than the variant's.
    """

    prefix: KeyPrefix
    row: Variant
    model_class: str | None
    rules: Table
    names: Mapping[str, str]
    component: str | None
    intact: frozenset[str]
    sizes: Sizes
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def distance(self) -> int:
        """How many tensors differ."""
        return len(self.missing) + len(self.unexpected) + len(self.broken)

    @property
    def has_trunk(self) -> bool:
        """Whether the trunk of the image encoder is among the components."""
        return self.component is None or bool({"image_encoder", "trunk"} & {*self.component.split("+")})

    def rank(self) -> tuple[int, bool, bool, int, int]:
        """Fewest differences first, then whole models, whole names, names as they stand, the order of `LAYOUTS`.

        A layout that puts other names in front of Meta's is Meta's too once these are taken off.
        """
        place = LAYOUTS.index(self.prefix.layout)
        return self.distance, self.component is not None, bool(self.prefix.added), self._taken_off, place

    @property
    def _taken_off(self) -> int:
        return self.prefix.removed.count(".") + len(self.prefix.parts)

    def rules_out(self, prefix: KeyPrefix) -> bool:
        """Whether a reading in another way cannot be better, nor as good: this one is whole to the last tensor.

        No two families have the same names in one layout; in another layout they may stand as they are.
        """
        whole = not (self.distance or self.component or self.prefix.added)
        return whole and (prefix.layout == self.prefix.layout or not self._taken_off)

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
    sized = meta_tensors(match.row, **match.sizes._asdict())
    wanted = match.rules.map(sized, to_meta=False).infos
    raw = {name: key for key, name in match.names.items()}
    return tuple(
        (
            raw[name],
            shape_text(tensors[raw[name]].shape),
            shape_text(wanted[name].shape) if name in wanted else "absent",
        )
        for name in match.broken
    )


def match_all(tensors: Mapping[str, TensorInfo], prefix: KeyPrefix) -> list[Match]:
    """Compare a file with the variants and classes of one layout and family.

    No two trunks have the same tensors. So where a file has a whole trunk and fits a variant, it fits none with
    another trunk, and those are left out: the tensors of each variant take a while to work out.

    Args:
        tensors: every tensor's name in the file, with shape and dtype.
        prefix: how to read the names.

    Returns:
        one match per variant and class.
    """
    done: dict[int, tuple[dict[str, str], TensorMappings]] = {}
    matches: dict[Variant, list[Match]] = {
        row: [] for row in variants_of(prefix.layout) if family_of(row) == prefix.family
    }
    trunk: Trunk | None = None
    for row in sorted(matches, key=lambda row: _width_count(tensors, row), reverse=True):
        if trunk not in (None, row.trunk):
            continue
        for model_class in classes_of(prefix.layout, row):
            rules = table(prefix.layout, row, model_class)
            if id(rules) not in done:
                done[id(rules)] = read(tensors, prefix, rules)
            match = _match(tensors, prefix, row, model_class, rules, *done[id(rules)])
            matches[row].append(match)
            if not match.distance and match.has_trunk:
                trunk = row.trunk
    return [match for found in matches.values() for match in found]


def _width_count(tensors: Mapping[str, TensorInfo], row: Variant) -> int:
    """How many tensors of a file have an axis as long as a variant's trunk is wide: most of the right one's."""
    width = row.trunk.embed_dims[-1] if isinstance(row.trunk, TinyViTConfig) else row.trunk.embed_dim
    return sum(width in info.shape for info in tensors.values())


def read(
    tensors: Mapping[str, TensorInfo], prefix: KeyPrefix, rules: Table
) -> tuple[dict[str, str], TensorMappings]:
    """The names of a file in its layout, and what they are in Meta's."""
    names = strip(tensors, prefix, rules.knows_other)
    return names, rules.map({name: tensors[key] for key, name in names.items()}, to_meta=True)


def sizes_of(infos: Mapping[str, TensorInfo]) -> Sizes:
    """What shapes were made for, each where they tell.

    What is beyond any model is not believed: it is reported as a shape that does not fit.
    """
    image_size = num_maskmem = in_chans = None
    grid = infos.get("image_encoder.pos_embed")
    if grid is not None and len(grid.shape) == 4 and all(0 < side <= _LARGEST for side in grid.shape[1:3]):
        image_size = image_size_of(16 * grid.shape[1], 16 * grid.shape[2])
    times = infos.get("maskmem_tpos_enc")
    if times is not None and times.shape and 0 < times.shape[0] <= _LARGEST:
        num_maskmem = times.shape[0]
    for name in FIRST_LAYERS:
        if name in infos and len(infos[name].shape) == 4 and 0 < infos[name].shape[1] <= _LARGEST:
            in_chans = infos[name].shape[1]
    return Sizes(image_size, num_maskmem, in_chans)


def _match(
    tensors: Mapping[str, TensorInfo],
    prefix: KeyPrefix,
    row: Variant,
    model_class: str | None,
    rules: Table,
    names: dict[str, str],
    mapped: TensorMappings,
) -> Match:
    origin = {key: mapping.inputs for mapping in mapped.mappings if mapping.inputs for key in mapping.outputs}
    infos = {key: mapped.infos[key] for key in origin}
    sizes = sizes_of(infos)
    wanted = meta_tensors(row, **sizes._asdict())

    broken = set(mapped.unexplained)
    foreign = {name for key in infos if key not in wanted for name in origin[key]}
    broken |= {
        name
        for key in infos
        if key in wanted and infos[key].shape != wanted[key].shape
        for name in origin[key]
    }
    touched = {*infos, *(key for name in broken for key in rules.to_meta(name))}
    components = {component_of(key, prefix.family) for key in touched if key in wanted}
    absent = [key for key in wanted if key not in touched and rules.to_other(key)]
    lacking = [key for key in absent if component_of(key, prefix.family) in components]
    damaged = {*lacking, *(key for name in broken for key in rules.to_meta(name))}
    part = component_name(components)
    whole = "+" in part and len(lacking) == len(absent)
    return Match(
        prefix=prefix,
        row=row,
        model_class=model_class,
        rules=rules,
        names=names,
        component=None if whole else part,
        intact=frozenset(components - {component_of(key, prefix.family) for key in damaged if key in wanted}),
        sizes=sizes,
        missing=tuple(dict.fromkeys(name for key in lacking for name in rules.to_other(key))),
        unexpected=tuple(key for key in tensors if key not in names or names[key] in foreign),
        broken=tuple(sorted(broken)),
    )
