"""Meta's tensors by the models that are built, held against the manifests of upstream's own files."""

from collections.abc import Callable
from itertools import combinations

import pytest

from samblocks.layouts import TensorInfo, meta_tensors, variants_of
from samblocks.layouts.components import family_of
from samblocks.variants import VARIANTS, SAM2Variant

Manifest = dict[str, TensorInfo]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_tensors_are_the_manifests_in_order(variant: str, meta_side: Callable[[str], Manifest]) -> None:
    assert list(meta_tensors(VARIANTS[variant]).items()) == list(meta_side(variant).items())


def test_the_image_side_changes_only_what_depends_on_it() -> None:
    row = VARIANTS["sam_vit_b"]
    usual, small = meta_tensors(row), meta_tensors(row, image_size=512)
    changed = {key: info.shape for key, info in small.items() if info != usual[key]}
    assert changed.pop("image_encoder.pos_embed") == (1, 32, 32, 768)
    assert set(changed.values()) == {(63, 64)}
    assert len(changed) == 8
    for name in ("sam2_hiera_tiny", "mobile_sam"):
        assert meta_tensors(VARIANTS[name], image_size=512) == meta_tensors(VARIANTS[name])


def test_more_memories_change_one_tensor() -> None:
    row = VARIANTS["sam2.1_hiera_large"]
    usual, more = meta_tensors(row), meta_tensors(row, num_maskmem=15)
    assert {key for key in usual if usual[key] != more[key]} == {"maskmem_tpos_enc"}
    assert more["maskmem_tpos_enc"].shape == (15, 1, 1, 64)


def test_tensors_are_worked_out_once() -> None:
    row = VARIANTS["sam2_hiera_tiny"]
    assert meta_tensors(row) is meta_tensors(row, image_size=1024, num_maskmem=7)


def test_trunks_have_the_same_tensors_only_where_they_are_the_same() -> None:
    """What `match_all` passes over by."""
    for one, other in combinations(VARIANTS.values(), 2):
        if family_of(one) == family_of(other):
            path = "image_encoder.trunk." if isinstance(one, SAM2Variant) else "image_encoder."
            trunks = [
                {key: info for key, info in meta_tensors(row).items() if key.startswith(path)}
                for row in (one, other)
            ]
            assert trunks[0]
            assert (trunks[0] == trunks[1]) == (one.trunk == other.trunk)


def test_an_unknown_layout_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"layout 'onnx'.*meta, ultralytics"):
        variants_of("onnx")
