"""Meta's tensors out of a handful of facts, held against the manifests, the variants and the built models."""

from collections.abc import Callable

import pytest

from samblocks.layouts import FACTS, TensorInfo, meta_tensors, variants_of
from samblocks.layouts.facts import Sam2Facts, SamFacts, facts_of
from samblocks.models.build import build
from samblocks.variants import VARIANTS, HieraConfig, ImageEncoderViTConfig

Manifest = dict[str, TensorInfo]


@pytest.mark.parametrize("variant", list(FACTS))
def test_the_tensors_are_the_manifests_in_order(variant: str, meta_side: Callable[[str], Manifest]) -> None:
    assert list(meta_tensors(variant).items()) == list(meta_side(variant).items())


@pytest.mark.parametrize("variant", list(FACTS))
def test_the_tensors_are_those_of_the_model_that_is_built(variant: str) -> None:
    built = {key: tuple(value.shape) for key, value in build(variant, device="meta").state_dict().items()}
    assert built == {key: info.shape for key, info in meta_tensors(variant).items()}


def test_the_variants_are_the_same_ones() -> None:
    assert list(FACTS) == list(VARIANTS)


@pytest.mark.parametrize("variant", list(FACTS))
def test_the_facts_are_those_of_the_variants(variant: str) -> None:
    facts, trunk = FACTS[variant], VARIANTS[variant].trunk
    if isinstance(facts, Sam2Facts):
        assert isinstance(trunk, HieraConfig)
        assert (facts.width, facts.heads, facts.stages) == (trunk.embed_dim, trunk.num_heads, trunk.stages)
        assert facts.windows == trunk.window_spec
        assert (facts.grid, facts.grid) == trunk.window_pos_embed_bkg_spatial_size
        first, second, third = trunk.global_att_blocks
        assert facts.global_spacing == second - first == third - second
        assert facts.is_21 == (VARIANTS[variant].family == "sam2.1")
    elif facts.family == "sam":
        assert isinstance(facts, SamFacts)
        assert isinstance(trunk, ImageEncoderViTConfig)
        assert (facts.width, facts.depth, facts.heads) == (trunk.embed_dim, trunk.depth, trunk.num_heads)
        assert facts.global_blocks == trunk.global_attn_indexes


def test_the_image_side_changes_only_what_depends_on_it() -> None:
    usual, small = meta_tensors("sam_vit_b"), meta_tensors("sam_vit_b", image_size=512)
    changed = {key: info.shape for key, info in small.items() if info != usual[key]}
    assert changed.pop("image_encoder.pos_embed") == (1, 32, 32, 768)
    assert set(changed.values()) == {(63, 64)}
    assert len(changed) == 8
    assert meta_tensors("sam2_hiera_tiny", image_size=512) == meta_tensors("sam2_hiera_tiny")


def test_more_memories_change_one_tensor() -> None:
    usual, more = meta_tensors("sam2.1_hiera_large"), meta_tensors("sam2.1_hiera_large", num_maskmem=15)
    assert {key for key in usual if usual[key] != more[key]} == {"maskmem_tpos_enc"}
    assert more["maskmem_tpos_enc"].shape == (15, 1, 1, 64)


def test_an_unknown_variant_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'sam_vit_x'.*sam_vit_b.*sam2.1_hiera_large"):
        facts_of("sam_vit_x")
    with pytest.raises(ValueError, match="layout 'onnx'"):
        variants_of("onnx")
