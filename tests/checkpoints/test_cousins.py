"""Models that come from SAM and SAM 2: loaded where they are ours, named where they are not, never half loaded."""

import pytest
from synthetic import sparse

from samblocks.checkpoints import convert_file, inspect, load
from samblocks.errors import CheckpointError
from samblocks.layouts import TensorInfo, meta_tensors
from samblocks.variants import VARIANTS

VECTOR = TensorInfo((3,))
SAM2 = "sam2.1_hiera_tiny"


def without_trunk(variant):
    return {
        name: info for name, info in meta_tensors(VARIANTS[variant]).items() if not name.startswith("image_")
    }


COUSINS = {
    "an EdgeTAM": without_trunk(SAM2)
    | {"spatial_perceiver.latents": VECTOR, "spatial_perceiver.norm.bias": VECTOR},
    "an EfficientTAM": without_trunk(SAM2)
    | {
        f"image_encoder.trunk.blocks.{i}.{name}": VECTOR
        for i in range(12)
        for name in ("norm1.bias", "mlp.fc1.bias")
    },
    "a RepViT-SAM or EdgeSAM": without_trunk("sam_vit_b")
    | {f"image_encoder.features.{i}.token_mixer.0.conv.c.weight": VECTOR for i in range(9)},
    "an HQ-SAM 2": dict(meta_tensors(VARIANTS[SAM2])) | {"sam_mask_decoder.hf_token.weight": VECTOR},
}


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
