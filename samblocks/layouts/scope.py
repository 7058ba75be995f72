"""Which names that nothing is known about lie inside a model, or inside one part of it, and which beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import takewhile

from samblocks.layouts.components import component_of, component_paths, family_of
from samblocks.layouts.key_prefix import KeyPrefix, unwrapped
from samblocks.layouts.manifest import meta_tensors
from samblocks.layouts.rules import Table
from samblocks.variants import Variant


def beside_model(keys: Iterable[str], prefix: KeyPrefix) -> tuple[str, ...]:
    """The names that stand neither under the prefix of the model nor under that of any of its parts.

    Args:
        keys: names in a file.
        prefix: how its names are read.

    >>> beside_model(["sam.mask_decoder.extra", "head.weight"], KeyPrefix("meta", "sam", "sam."))
    ('head.weight',)
    """
    return tuple(key for key in keys if not prefix.readings(key))


def beside_part(
    keys: Iterable[str], prefix: KeyPrefix, rules: Table, row: Variant, component: str
) -> tuple[str, ...]:
    """The names that are about another part of the model, or about none.

    A name belongs to the parts of the innermost module around it that the layout has. Where these are more than
    the one that is asked for, it belongs to that one only if all names of the part begin there, or, where they have
    no common module, if most names there are the part's.

    Args:
        keys: names in a file that mean nothing.
        prefix: how its names are read.
        rules: the table of its layout.
        row: the variant.
        component: the part, or several with "+" between them.

    >>> from samblocks.layouts.tables import table
    >>> from samblocks.variants import VARIANTS
    >>> row, prefix = VARIANTS["sam2.1_hiera_tiny"], KeyPrefix("meta", "sam2")
    >>> names = ["image_encoder.extra", "image_encoder.trunk.blocks.0.lora", "sam_mask_decoder.hf_token.weight"]
    >>> beside_part(names, prefix, table("meta", row), row, "trunk")
    ('image_encoder.extra', 'sam_mask_decoder.hf_token.weight')
    """
    wanted = _innermost(component, row)
    owners = _owners(rules, row)
    common = _common(rules, row, wanted)
    return tuple(
        key for key in keys if not any(_inside(name, owners, wanted, common) for name in prefix.readings(key))
    )


def _inside(name: str, owners: Mapping[str, Counter[str]], wanted: set[str], common: str) -> bool:
    around = name
    while around not in owners:
        around = around.rpartition(".")[0]
    if owners[around].keys() <= wanted:
        return True
    if common:
        return name.startswith(f"{common}.")
    most = 2 * sum(owners[around][component] for component in wanted) > owners[around].total()
    return bool(around) and most


def _innermost(component: str, row: Variant) -> set[str]:
    """The components in the sense of `component_of` that a part is made of."""
    paths = component_paths(family_of(row))
    wanted = set(component.split("+"))
    for name in tuple(wanted & paths.keys()):
        wanted |= {inner for inner, path in paths.items() if path.startswith(f"{paths[name]}.")}
    return wanted


def _names(rules: Table, row: Variant) -> Iterable[tuple[str, str]]:
    """Every name of the layout with the component that it belongs to."""
    family = family_of(row)
    for key in meta_tensors(row):
        for name in rules.to_other(key):
            yield unwrapped(name), component_of(key, family)


def _owners(rules: Table, row: Variant) -> dict[str, Counter[str]]:
    """How many names of each component stand below each module of the layout; the root is the empty name."""
    owners: dict[str, Counter[str]] = {"": Counter()}
    for name, component in _names(rules, row):
        around = name
        while around:
            owners.setdefault(around, Counter())[component] += 1
            around = around.rpartition(".")[0]
        owners[""][component] += 1
    return owners


def _common(rules: Table, row: Variant, wanted: set[str]) -> str:
    """The module around all names of the wanted components; empty where there is none."""
    words = [name.split(".")[:-1] for name, component in _names(rules, row) if component in wanted]
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    return ".".join(column[0] for column in alike)
