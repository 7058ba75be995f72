"""build, assemble, materialize, and the package's front door."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

import samblocks
from samblocks import VARIANTS, build
from samblocks.models import SAMModel, SAMModelHQ
from samblocks.models.build import assemble, materialize
from samblocks.models.sam2.model import SAM2Model
from samblocks.variants import SAM2Variant

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mobile_sam() -> SAMModel:
    model = build("mobile_sam")
    assert isinstance(model, SAMModel)
    return model


def test_models_are_in_evaluation_mode_with_weights(mobile_sam: SAMModel) -> None:
    assert not any(module.training for module in mobile_sam.modules())
    assert mobile_sam.image_encoder.head.weight.std() > 0
    assert next(mobile_sam.parameters()).dtype == torch.float32


def test_dtype_reaches_weights_and_statistics_but_not_indices() -> None:
    model = build("mobile_sam", dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model.pixel_mean.flatten().tolist() == [123.675, 116.28, 103.53]
    index = model.image_encoder.layers[1].blocks[0].attn.attention_bias_idxs
    assert index.dtype == torch.int64
    assert {
        p.dtype for p in build("sam2.1_hiera_tiny", device="meta", dtype=torch.bfloat16).parameters()
    } == {torch.bfloat16}


def test_family_decides_the_class() -> None:
    for name, row in VARIANTS.items():
        kinds = {"sam2": SAM2Model, "sam2.1": SAM2Model, "sam_hq": SAMModelHQ, "light_hq_sam": SAMModelHQ}
        kind = kinds.get(row.family, SAMModel)
        assert type(build(name, device="meta")) is kind


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("sam2.1_hiera_tinny", "sam2.1_hiera_tiny"),
        ("vit_b", "sam_vit_b"),
        ("mobilesam", "mobile_sam"),
        ("", "s"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest_and_all(name: str, closest: str) -> None:
    with pytest.raises(
        ValueError, match=f"no variant '{name}'; the closest is '{closest}.*sam2.1_hiera_large"
    ):
        build(name)


def test_refuses_other_types() -> None:
    with pytest.raises(TypeError, match="variant must be a name, got int"):
        build(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dtype=torch.int8 must be a floating-point dtype"):
        build("mobile_sam", dtype=torch.int8)


@pytest.mark.parametrize("name", ["sam_vit_b", "mobile_sam", "sam2.1_hiera_tiny"])
def test_assemble_for_another_image_size(name: str) -> None:
    with torch.device("meta"):
        model = assemble(name, image_size=256)
    if isinstance(model, SAM2Model):
        assert model.image_size == 256
        encoder = model.sam_prompt_encoder
        assert model.memory_attention.layers[0].self_attn.feat_sizes == (16, 16)
    else:
        encoder = model.prompt_encoder
        assert model.image_encoder.img_size == 256
    assert encoder.input_image_size == (256, 256)
    assert encoder.image_embedding_size == (16, 16)


def test_a_vit_of_another_size_has_tables_of_that_size() -> None:
    with torch.device("meta"):
        state = assemble("sam_vit_b", image_size=512).state_dict()
    assert state["image_encoder.pos_embed"].shape == (1, 32, 32, 768)
    assert state["image_encoder.blocks.2.attn.rel_pos_h"].shape == (63, 64)
    assert state["image_encoder.blocks.0.attn.rel_pos_h"].shape == (27, 64)


def test_assemble_with_other_settings() -> None:
    with torch.device("meta"):
        model = assemble(
            "sam2_hiera_tiny",
            num_maskmem=3,
            drop_path_rate=0.2,
            add_tpos_enc_to_obj_ptrs=True,
            dynamic_multimask_via_stability=False,
            rope_theta=100.0,
        )
        plain = assemble("sam_vit_b", embed_corner_labels=True)
    assert isinstance(model, SAM2Model)
    assert isinstance(plain, SAMModel)
    assert model.maskmem_tpos_enc.shape[0] == model.num_maskmem == 3
    assert bool(model.add_tpos_enc_to_obj_ptrs) is True
    assert model.sam_mask_decoder.dynamic_multimask_via_stability is False
    assert model.memory_attention.layers[2].cross_attn_image.rope_theta == 100.0
    last = model.image_encoder.trunk.blocks[-1]
    assert last.drop_path.drop_prob == pytest.approx(0.2)
    assert plain.prompt_encoder.embed_corner_labels is True
    row = VARIANTS["sam2_hiera_tiny"]
    assert isinstance(row, SAM2Variant)
    assert row.tracking.num_maskmem == 7


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("sam_vit_b", {"num_maskmem": 3}, "sam_vit_b has no setting num_maskmem"),
        ("sam2_hiera_tiny", {"typo": 1, "other": 2}, "sam2_hiera_tiny has no setting other, typo"),
        ("sam_vit_b", {"drop_path_rate": 0.1}, "sam_vit_b has no drop path"),
        ("sam2_hiera_tiny", {"image_size": 1000}, "image_size=1000 must be a positive multiple of 32"),
        ("sam_vit_b", {"image_size": 1000}, "image_size=1000 must be a positive multiple of 16"),
        ("sam_vit_b", {"image_size": 0}, "image_size=0 must be"),
    ],
)
def test_assemble_refuses_what_the_variant_has_not(
    name: str, settings: dict[str, object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        assemble(name, **settings)  # type: ignore[arg-type]


def test_memory_attention_drops_in_training_only() -> None:
    with torch.device("meta"):
        model = build("sam2.1_hiera_tiny")
    drops = [m.p for m in model.memory_attention.modules() if isinstance(m, nn.Dropout)]
    assert drops == [0.1] * 16
    attention = model.memory_attention.layers[0].self_attn
    assert attention.dropout_p == 0.1


@pytest.mark.parametrize("name", ["mobile_sam", "sam2.1_hiera_tiny"])
def test_materialize_leaves_nothing_on_the_meta_device(name: str) -> None:
    model = build(name, device="meta")
    state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    materialize(model)
    for module_name, module in model.named_modules():
        held = {**vars(module), **module._buffers, **module._parameters}
        left = [key for key, value in held.items() if isinstance(value, torch.Tensor) and value.is_meta]
        assert not left, f"{module_name}: {left}"


def test_materialize_can_be_told_where() -> None:
    model = build("mobile_sam", device="meta")
    materialize(model, "cpu")
    assert model.pixel_mean.device.type == "cpu"


def test_every_public_name_is_there() -> None:
    for name in samblocks.__all__:
        assert getattr(samblocks, name) is not None
        assert name in dir(samblocks)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        samblocks.nothing  # noqa: B018


def test_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert samblocks.__version__ == project["version"]


def test_importing_the_package_does_not_wait_for_torch() -> None:
    code = "import sys, samblocks; print(sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
