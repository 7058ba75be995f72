"""What a file holds, by the names and shapes of its tensors and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samblocks.errors import LayoutError, counted
from samblocks.image_size import ImageSize
from samblocks.layouts.components import parts_among
from samblocks.layouts.key_prefix import KeyPrefix, key_prefixes, prefix_text, unwrapped
from samblocks.layouts.match import Match, match_all, misshapen
from samblocks.layouts.scope import beside_model
from samblocks.layouts.tensors import TensorInfo
from samblocks.variants import VARIANTS, Variant

_NAMED = 3
"""Tensors named per kind of difference in a message."""

_WHOLE = 8
"""Tensors that the smallest part of a model has; a file that holds fewer among many others is none."""


@dataclass(frozen=True)
class Detection:
    """What a file holds.

    Args:
        layout: the layout; "meta" for Ultralytics' files too, which have the same names.
        rows: the variants that it may be; several where tensors cannot tell.
        component: None for a whole model, else its components, as "trunk", "mask_decoder" or
            "prompt_encoder+mask_decoder".
        model_class: the class of transformers that writes such a file, where only one fits.
        prefix: what stands in front of the layout's names.
        evidence: sentences on what led to this.
        image_size: side of the image that the shapes were made for, or its height and width, where shapes depend
            on it.
        num_maskmem: memories that the shapes were made for, where the file holds their encodings.
        in_chans: channels of the images, where the file holds the layer that takes them.
        missing: names of the layout that the file lacks; empty unless differences were allowed.
        unexpected: names of the file that are none of the layout's, though they have the prefix of the model.
        beside: names that lie elsewhere, as those of a larger model do that this one is a part of.
        rivals: prefixes under which another copy of the model stands.
        intact: the parts of the model whose tensors are all there, in their shapes.
        reading: how the names of the file become the layout's.
        misshapen: name, shape and expected shape, as text.
    """

    layout: str
    rows: tuple[Variant, ...]
    component: str | None
    model_class: str | None
    prefix: str
    evidence: tuple[str, ...]
    image_size: ImageSize | None = None
    num_maskmem: int | None = None
    in_chans: int | None = None
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[tuple[str, str, str], ...] = ()
    beside: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    intact: tuple[str, ...] = ()
    reading: KeyPrefix = field(default_factory=lambda: KeyPrefix("meta", "sam"), repr=False)

    @property
    def exact(self) -> bool:
        """Whether every tensor with the prefix of the model is explained, and none of its part is missing."""
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The names of the variants that it may be."""
        return tuple(row.name for row in self.rows)


def detect(tensors: Mapping[str, TensorInfo], *, strict: bool = True) -> Detection:
    """Say what a file holds.

    Args:
        tensors: every tensor's name in the file, with shape and dtype.
        strict: whether every tensor with the model's prefix must be explained, and none of a component be
            missing; if not, the nearest variant is returned together with the differences.

    Returns:
        layout, candidates and the rest.

    Raises:
        LayoutError: nothing fits; the nearest variant is named with what is missing, unexpected or misshapen.

    >>> from samblocks.layouts import expected
    >>> tensors = expected("meta", VARIANTS["sam2.1_hiera_tiny"])
    >>> found = detect({"module." + key: info for key, info in tensors.items()})
    >>> found.layout, found.candidates, found.component, found.prefix
    ('meta', ('sam2.1_hiera_tiny',), None, 'module.')
    """
    if not tensors:
        raise LayoutError("there are no tensors, so there is nothing to recognise")
    prefixes = key_prefixes(tensors)
    few = not prefixes or 4 * prefixes[0].votes < len(tensors)
    likely = [
        prefix
        for prefix in prefixes
        if 2 * prefix.kinds >= prefixes[0].kinds and prefix.votes >= few * _WHOLE
    ]
    matches: list[Match] = []
    for prefix in likely:  # comparing with one takes as long as all the rest
        if not any(match.rules_out(prefix) for match in matches):
            matches += match_all(tensors, prefix)
    best = min(matches, key=Match.rank, default=None)
    if best is None or (few and not best.intact):
        sample = ", ".join(sorted(tensors)[:_NAMED])
        if len(tensors) == 1:
            raise LayoutError(f"its only name, {sample}, is none of a SAM or SAM 2 model in any known layout")
        raise LayoutError(
            f"{prefixes[0].votes if prefixes else 'none'} of the {len(tensors)} names ({sample}, …) "
            "are those of a SAM or SAM 2 model in any known layout"
        )
    found = _detection(tensors, best, [match for match in matches if match.agrees_with(best)])
    if strict and not found.exact:
        raise LayoutError(_explain(tensors, best, found))
    return found


def _detection(tensors: Mapping[str, TensorInfo], best: Match, equals: list[Match]) -> Detection:
    found = {match.row for match in equals}
    rivals = best.prefix.rivals
    beside = () if rivals else beside_model(best.unexpected, best.prefix)
    aside = frozenset(beside)
    rows = tuple(row for row in VARIANTS.values() if row in found)
    prefix = prefix_text(best.names, best.prefix)
    classes = {match.model_class for match in equals}
    evidence = [f"{len(best.names)} of {len(tensors)} names are {best.prefix.layout}'s"]
    if best.prefix.added:
        evidence.append(f"names lack {best.prefix.added!r}: one part of a model alone")
    if any(unwrapped(key[len(prefix) :]) != key[len(prefix) :] for key in best.names):
        evidence.append("names of wrapping modules stand inside the names")
    evidence += [f"{key} stands for {name}" for key, name in best.renames()]
    sizes = best.sizes
    if sizes.image_size not in (None, 1024):
        evidence.append(f"shapes are those of image side {sizes.image_size}")
    if sizes.num_maskmem not in (None, 7):
        evidence.append(f"shapes are those of {sizes.num_maskmem} memories")
    if sizes.in_chans not in (None, 3):
        evidence.append(f"shapes are those of images of {sizes.in_chans} channels")
    if rivals:
        evidence.append(f"the model stands under {prefix} and again under {', '.join(rivals)}")
    common = bool(prefix) and all(key.startswith(prefix) for key in best.names)
    if beside and common and not (best.missing or best.broken):
        what = f"all {counted(len(best.names), 'tensor')} of {best.component or ' or '.join(row.name for row in rows)}"
        evidence.append(f"{what} lie under {prefix}, {counted(len(beside), 'other')}")
    if len(rows) > 1:
        evidence.append(f"tensors cannot tell between {', '.join(row.name for row in rows)}")
    return Detection(
        layout=best.prefix.layout,
        rows=rows,
        component=best.component,
        model_class=best.model_class if len(classes) == 1 else None,
        prefix=prefix,
        evidence=tuple(evidence),
        image_size=sizes.image_size,
        num_maskmem=sizes.num_maskmem,
        in_chans=sizes.in_chans,
        missing=best.missing,
        unexpected=tuple(key for key in best.unexpected if key not in aside),
        misshapen=misshapen(tensors, best) if best.broken else (),
        beside=beside,
        rivals=rivals,
        intact=parts_among(best.intact, best.prefix.family),
        reading=best.prefix,
    )


def _explain(tensors: Mapping[str, TensorInfo], best: Match, found: Detection) -> str:
    """The sentence about a file that fits nothing."""
    what = f"{best.prefix.layout} {best.row.name}" + (f" ({best.model_class})" if best.model_class else "")
    if best.component:
        what += f", {best.component} alone"
    problems = [
        _listed("missing", best.missing),
        _listed("unexpected", found.unexpected),
        _listed("misshapen", [f"{key} is {has}, should be {want}" for key, has, want in found.misshapen]),
    ]
    return f"the file's {counted(len(tensors), 'tensor')} fit no layout; the nearest is {what}: " + "; ".join(
        filter(None, problems)
    )


def _listed(kind: str, names: tuple[str, ...] | list[str]) -> str:
    more = ", …" if len(names) > _NAMED else ""
    return f"{len(names)} {kind} ({', '.join(names[:_NAMED])}{more})" if names else ""
