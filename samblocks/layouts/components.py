"""The components of a model that a file may hold alone, and the names they have in each layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from samblocks.variants import Variant

_SAM_PATHS = MappingProxyType({name: name for name in ("image_encoder", "prompt_encoder", "mask_decoder")})
_SAM2_PATHS = MappingProxyType(
    {
        "image_encoder": "image_encoder",
        "trunk": "image_encoder.trunk",
        "neck": "image_encoder.neck",
        "prompt_encoder": "sam_prompt_encoder",
        "mask_decoder": "sam_mask_decoder",
        "memory_attention": "memory_attention",
        "memory_encoder": "memory_encoder",
    }
)
_REST = "tracking"
"""What a SAM 2 model holds outside its modules: embeddings of absence and time, pointer projections."""

_ORDER = (*dict.fromkeys((*_SAM_PATHS, *_SAM2_PATHS)), _REST)

_TRANSFORMERS: Mapping[str, tuple[str, ...]] = {
    "sam": ("vision_encoder.", "prompt_encoder.", "mask_decoder."),
    "sam_hq": ("vision_encoder.", "prompt_encoder.", "mask_decoder."),
    "sam2": (
        "vision_encoder.",
        "vision_encoder.backbone.",
        "vision_encoder.neck.",
        "prompt_encoder.",
        "mask_decoder.",
        "memory_attention.",
        "memory_encoder.",
    ),
}


PART_NAMES = frozenset(
    word
    for path in (
        *_SAM_PATHS,
        *_SAM2_PATHS,
        *_SAM2_PATHS.values(),
        *(n for names in _TRANSFORMERS.values() for n in names),
    )
    for word in path.strip(".").split(".")
) | {"obj_ptr_proj", "obj_ptr_tpos_proj", "mask_downsample"}
"""What modules of a model are called, in files that hold a table for each."""


def family_of(row: Variant) -> str:
    """Whose names the tensors of a variant have: "sam", "sam_hq", "sam2" (2.1's too), …."""
    return "sam2" if row.family == "sam2.1" else row.family


def component_paths(family: str) -> Mapping[str, str]:
    """Where the components of a family's models are, as paths of attributes.

    >>> component_paths("sam2")["mask_decoder"]
    'sam_mask_decoder'
    """
    return _SAM2_PATHS if family == "sam2" else _SAM_PATHS


def bare_prefixes(layout: str, family: str) -> tuple[str, ...]:
    """What may be missing in front of every name of a file that holds one component of a model.

    Args:
        layout: the layout.
        family: as of `family_of`.

    Returns:
        the empty string, for whole models, and the names of components with a dot behind.
    """
    if layout == "transformers":
        return ("", *_TRANSFORMERS.get(family, ()))
    return ("", *(f"{path}." for path in component_paths(family).values())) if layout == "meta" else ("",)


@lru_cache(maxsize=4096)
def component_of(meta_key: str, family: str) -> str:
    """The innermost component that a tensor belongs to, by its name in Meta's layout.

    >>> component_of("image_encoder.trunk.pos_embed", "sam2"), component_of("no_obj_ptr", "sam2")
    ('trunk', 'tracking')
    """
    paths = component_paths(family)
    around = [name for name, path in paths.items() if meta_key.startswith(f"{path}.")]
    return max(around, key=lambda name: len(paths[name]), default=_REST)


def component_name(components: Iterable[str]) -> str:
    """One name for a set of components.

    >>> component_name(["neck", "trunk"]), component_name(["mask_decoder", "prompt_encoder"])
    ('image_encoder', 'prompt_encoder+mask_decoder')
    """
    found = set(components)
    if {"trunk", "neck"} <= found:
        found = found - {"trunk", "neck"} | {"image_encoder"}
    return "+".join(name for name in _ORDER if name in found)


def parts_among(components: Iterable[str], family: str) -> tuple[str, ...]:
    """The parts of a family that are made of some components; a part around others in their place.

    >>> parts_among(["neck", "trunk", "mask_decoder"], "sam2"), parts_among(["trunk", "tracking"], "sam2")
    (('image_encoder', 'mask_decoder'), ('trunk',))
    """
    return tuple(part for part in component_name(components).split("+") if part in component_paths(family))
