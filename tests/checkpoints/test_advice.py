"""What a refusal advises: the step that helps, and never one that leaves weights at their initial values."""

import pytest
from synthetic import sparse

from samblocks.checkpoints import convert_file, inspect, load
from samblocks.errors import CheckpointError
from samblocks.layouts import TensorInfo, meta_tensors
from samblocks.variants import VARIANTS

MATRIX = TensorInfo((4, 768))
QKV = "image_encoder.blocks.3.attn.qkv"


def vit_b():
    return dict(meta_tensors(VARIANTS["sam_vit_b"]))


def renamed(old, new):
    return {name.replace(old, new): info for name, info in vit_b().items()}


FINE_TUNED = {
    "peft": renamed(".attn.qkv.", ".attn.qkv.base_layer.") | {f"{QKV}.lora_A.default.weight": MATRIX},
    "loralib": vit_b() | {f"{QKV}.lora_A": MATRIX, f"{QKV}.lora_B": MATRIX},
    "SAMed": renamed(".attn.qkv.", ".attn.qkv.qkv.") | {f"{QKV}.linear_a_q.weight": MATRIX},
    "micro-sam": renamed(".attn.qkv.", ".attn.qkv.qkv_proj.") | {f"{QKV}.w_a_linear_q.weight": MATRIX},
    "adapters": vit_b() | {"image_encoder.blocks.3.MLP_Adapter.D_fc1.weight": MATRIX},
    "factors alone": {
        f"base_model.model.image_encoder.blocks.{i}.attn.qkv.lora_{x}.weight": MATRIX
        for i in range(12)
        for x in "AB"
    },
}


@pytest.mark.parametrize("kind", FINE_TUNED)
def test_factors_and_adapters_are_to_be_merged(tmp_path, kind):
    path = sparse(tmp_path / "a.safetensors", FINE_TUNED[kind])
    for call in (load, lambda file: convert_file(file, tmp_path / "b.safetensors", to="transformers")):
        with pytest.raises(CheckpointError) as caught:
            call(path)
        assert "explain" not in str(caught.value)
        assert "merge first, then save" in str(caught.value)
    if kind != "factors alone":
        assert "merge first, then save" in str(inspect(path))


@pytest.mark.parametrize(
    ("absent", "advice"),
    [
        (
            "mask_decoder.iou_token.weight",
            "what is whole loads with component='image_encoder' or component='prompt_",
        ),
        ("image_encoder.pos_embed", "component='prompt_encoder' or component='mask_decoder'"),
        ("image_encoder.blocks.0.norm1.bias", 'strict="explain" loads what fits'),
    ],
)
def test_a_load_that_would_leave_weights_fresh_is_not_advised(tmp_path, absent, advice):
    tensors = vit_b()
    del tensors[absent]
    with pytest.raises(CheckpointError) as caught:
        load(sparse(tmp_path / "a.safetensors", tensors))
    assert advice in str(caught.value)
    assert ("explain" in str(caught.value)) == absent.endswith("bias")


def test_a_part_with_something_unknown_in_it_is_not_advised(tmp_path):
    tensors = vit_b() | {"mask_decoder.hf_token.weight": TensorInfo((1, 256))}
    del tensors["image_encoder.pos_embed"]
    with pytest.raises(CheckpointError, match=r"loads with component='prompt_encoder'[.]$"):
        load(sparse(tmp_path / "a.safetensors", tensors))


def test_where_no_part_is_whole_a_base_is(tmp_path):
    tensors = {
        name: info
        for name, info in vit_b().items()
        if not name.endswith("norm1.weight") and "token" not in name
    }
    tensors = {
        name: info for name, info in tensors.items() if "no_mask_embed" not in name and "iou" not in name
    }
    with pytest.raises(CheckpointError, match="samblocks convert --base"):
        load(sparse(tmp_path / "a.safetensors", tensors))


def test_embeddings_alone_are_not_loaded_into_a_fresh_model(tmp_path):
    sam2 = meta_tensors(VARIANTS["sam2.1_hiera_tiny"])
    tensors = {name: info for name, info in sam2.items() if not name.startswith(("image", "memory", "sam_"))}
    with pytest.raises(CheckpointError, match=r"holds tracking alone.*--base"):
        load(sparse(tmp_path / "a.safetensors", tensors), variant="sam2.1_hiera_tiny")
