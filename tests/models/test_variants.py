"""The variants against the recorded names, shapes, dtypes, order and totals of their checkpoints."""

import dataclasses
import gzip
import re
from pathlib import Path

import pytest
import torch

from samblocks import VARIANTS, build
from samblocks.variants import FpnNeckConfig, HieraConfig, SAM2Config, SAM2Variant

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"


def manifest(layout: str, variant: str) -> tuple[str, list[str]]:
    with gzip.open(MANIFESTS / f"{layout}__{variant}.tsv.gz", "rt") as file:
        lines = file.read().splitlines()
    return lines[0], [line for line in lines if not line.startswith("#")]


def test_the_released_models_are_there() -> None:
    sizes = ("tiny", "small", "base_plus", "large")
    assert list(VARIANTS) == [
        *("sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam"),
        *(f"{version}_hiera_{size}" for version in ("sam2", "sam2.1") for size in sizes),
        *("slimsam_50", "slimsam_77"),
        *(f"sam_hq_vit_{size}" for size in ("b", "l", "h", "tiny")),
    ]
    assert all(name == row.name for name, row in VARIANTS.items())


@pytest.mark.parametrize(
    ("layout", "variant"),
    [
        *(("meta", name) for name in VARIANTS if name != "mobile_sam"),
        *(
            ("ultralytics", row.name)
            for row in VARIANTS.values()
            if "ultralytics" in row.only_in or not row.only_in
        ),
    ],
)
def test_tensors_are_those_of_the_checkpoint(layout: str, variant: str) -> None:
    header, rows = manifest(layout, variant)
    model = build(variant, device="meta")
    parameters = dict(model.named_parameters())
    ours = [
        "\t".join(
            (
                name,
                "x".join(map(str, tensor.shape)) or "scalar",
                str(tensor.dtype).removeprefix("torch."),
                "param" if name in parameters else "buffer",
            )
        )
        for name, tensor in model.state_dict().items()
    ]
    assert ours == rows
    total = re.search(r"parameters (\d+); tensors (\d+); elements (\d+)", header)
    assert total is not None
    assert sum(p.numel() for p in parameters.values()) == int(total[1])
    assert len(ours) == int(total[2])
    assert sum(t.numel() for t in model.state_dict().values()) == int(total[3])
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert not model.training


@pytest.mark.parametrize("variant", ["sam_vit_b", "mobile_sam"])
def test_what_no_checkpoint_holds_is_as_recorded(variant: str) -> None:
    with gzip.open(MANIFESTS / f"ultralytics__{variant}.tsv.gz", "rt") as file:
        notes = re.findall(r'"name": "(.*?)", "shape": \[(.*?)\], "dtype": "(.*?)"', file.read())
    model = build(variant, device="meta")
    ours = [
        (name, ", ".join(map(str, buffer.shape)), str(buffer.dtype).removeprefix("torch."))
        for name, buffer in model.named_buffers()
        if name not in model.state_dict()
    ]
    assert sorted(ours) == sorted(notes)


def test_sam_2_1_differs_from_2_0_in_four_flags() -> None:
    for size in ("tiny", "small", "base_plus", "large"):
        old, new = VARIANTS[f"sam2_hiera_{size}"], VARIANTS[f"sam2.1_hiera_{size}"]
        assert old.trunk == new.trunk
        assert isinstance(old, SAM2Variant)
        assert isinstance(new, SAM2Variant)
        flags = {
            f.name: getattr(new.tracking, f.name)
            for f in dataclasses.fields(SAM2Config)
            if getattr(new.tracking, f.name) != getattr(old.tracking, f.name)
        }
        assert flags == {
            "add_tpos_enc_to_obj_ptrs": True,
            "proj_tpos_enc_in_obj_ptrs": True,
            "use_signed_tpos_enc_to_obj_ptrs": True,
            "no_obj_embed_spatial": True,
        }


HIERAS = {
    # heads, global blocks, windows
    "tiny": (1, (5, 7, 9), (8, 4, 14, 7)),
    "small": (1, (7, 10, 13), (8, 4, 14, 7)),
    "base_plus": (2, (12, 16, 20), (8, 4, 14, 7)),
    "large": (2, (23, 33, 43), (8, 4, 16, 8)),
}


@pytest.mark.parametrize("size", HIERAS)
@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_trunks_of_sam_2(version: str, size: str) -> None:
    facts = VARIANTS[f"{version}_hiera_{size}"].facts()
    heads, global_blocks, windows = HIERAS[size]
    assert {name: value for name, value in facts.items() if name.startswith("trunk.")} == {
        "trunk.num_heads": heads,
        "trunk.global_att_blocks": global_blocks,
        "trunk.window_spec": windows,
        "trunk.q_pool": 3,
        "trunk.q_stride": (2, 2),
        "trunk.head_mul": 2.0,
        "trunk.drop_path_rate": 0.0,
    }


def test_released_settings_of_sam_2() -> None:
    facts = VARIANTS["sam2_hiera_tiny"].facts()
    assert {name: value for name, value in facts.items() if not name.startswith("trunk.")} == {
        "prompt.embed_corner_labels": True,
        "prompt.transformer_num_heads": 8,
        "neck.fpn_top_down_levels": (2, 3),
        "neck.fpn_interp_model": "nearest",
        "neck.fuse_type": "sum",
        "neck.scalp": 1,
        "memory.num_heads": 1,
        "memory.dropout": 0.1,
        "memory.rope_theta": 10000.0,
        "memory.pos_enc_at_input": True,
        "memory.pos_enc_at_attn": False,
        "memory.pos_enc_at_cross_attn_keys": True,
        "memory.pos_enc_at_cross_attn_queries": False,
        "tracking.backbone_stride": 16,
        "tracking.sigmoid_scale_for_mem_enc": 20.0,
        "tracking.sigmoid_bias_for_mem_enc": -10.0,
        "tracking.binarize_mask_from_pts_for_mem_enc": False,
        "tracking.use_mask_input_as_output_without_sam": True,
        "tracking.max_cond_frames_in_attn": -1,
        "tracking.directly_add_no_mem_embed": True,
        "tracking.multimask_output_in_sam": True,
        "tracking.multimask_min_pt_num": 0,
        "tracking.multimask_max_pt_num": 1,
        "tracking.multimask_output_for_tracking": True,
        "tracking.use_multimask_token_for_obj_ptr": True,
        "tracking.iou_prediction_use_sigmoid": True,
        "tracking.memory_temporal_stride_for_eval": 1,
        "tracking.non_overlap_masks_for_mem_enc": False,
        "tracking.use_obj_ptrs_in_encoder": True,
        "tracking.max_obj_ptrs_in_encoder": 16,
        "tracking.only_obj_ptrs_in_the_past_for_eval": True,
        "tracking.fixed_no_obj_ptr": True,
        "tracking.soft_no_obj_ptr": False,
        "tracking.add_tpos_enc_to_obj_ptrs": False,
        "tracking.use_signed_tpos_enc_to_obj_ptrs": False,
        "multimask.dynamic_multimask_via_stability": True,
        "multimask.dynamic_multimask_stability_delta": 0.05,
        "multimask.dynamic_multimask_stability_thresh": 0.98,
        "image_size": 1024,
        "pixel_mean": (0.485, 0.456, 0.406),
        "pixel_std": (0.229, 0.224, 0.225),
        "pixel_range": 1.0,
        "mask_threshold": 0.0,
    }


def test_facts_are_what_weights_do_not_tell() -> None:
    facts = VARIANTS["sam_vit_h"].facts()
    assert facts["trunk.num_heads"] == 16
    assert facts["trunk.window_size"] == 14
    assert facts["trunk.global_attn_indexes"] == (7, 15, 23, 31)
    assert facts["trunk.norm_eps"] == 1e-6
    assert facts["prompt.embed_corner_labels"] is False
    assert facts["pixel_range"] == 255.0
    assert not {"name", "family", "trunk.embed_dim", "trunk.depth", "neck", "memory"} & facts.keys()
    assert not [name for name in facts if name.startswith(("tracking", "memory", "neck"))]


@pytest.mark.parametrize("variant", ["sam2_hiera_large", "sam2.1_hiera_base_plus", "mobile_sam", "sam_vit_l"])
def test_modules_have_the_settings_of_their_row(variant: str) -> None:
    """What `facts` says is what was built, read back from the modules."""
    facts, model = VARIANTS[variant].facts(), build(variant, device="meta")
    named = dict(model.named_modules())
    if variant.startswith("sam2"):
        trunk = named["image_encoder.trunk"]
        windows = [block.window_size for block in trunk.blocks]
        assert tuple(i for i, w in enumerate(windows) if w == 0) == facts["trunk.global_att_blocks"]
        assert trunk.blocks[0].attn.num_heads == facts["trunk.num_heads"]
        attention = named["memory_attention.layers.0.cross_attn_image"]
        assert attention.rope_theta == facts["memory.rope_theta"]
        assert attention.num_heads == facts["memory.num_heads"]
        assert named["memory_attention.layers.3.dropout"].p == facts["memory.dropout"]
        encoder = named["image_encoder"]
        assert encoder.scalp == facts["neck.scalp"]
        assert tuple(encoder.neck.fpn_top_down_levels) == facts["neck.fpn_top_down_levels"]
        assert encoder.neck.fpn_interp_model == facts["neck.fpn_interp_model"]
        decoder = named["sam_mask_decoder"]
        for name in ("via_stability", "stability_delta", "stability_thresh"):
            assert (
                getattr(decoder, f"dynamic_multimask_{name}") == facts[f"multimask.dynamic_multimask_{name}"]
            )
        for fact, value in facts.items():
            if fact.startswith("tracking."):
                assert getattr(model, fact.removeprefix("tracking.")) == value, fact
        assert named["sam_prompt_encoder"].embed_corner_labels
    elif variant == "mobile_sam":
        layers = named["image_encoder"].layers[1:]
        heads = [layer.blocks[0].num_heads for layer in layers]
        assert tuple(heads) == facts["trunk.num_heads"][1:]
        assert [layer.blocks[0].window_size for layer in layers] == [7, 14, 7]
    else:
        windows = [block.window_size for block in named["image_encoder"].blocks]
        assert tuple(i for i, w in enumerate(windows) if w == 0) == facts["trunk.global_attn_indexes"]
        assert set(windows) == {0, facts["trunk.window_size"]}
        assert named["image_encoder.blocks.3.norm1"].eps == facts["trunk.norm_eps"]
        assert named["prompt_encoder"].embed_corner_labels is False
    decoder = named["sam_mask_decoder" if variant.startswith("sam2") else "mask_decoder"]
    assert decoder.transformer.layers[0].self_attn.num_heads == facts["prompt.transformer_num_heads"]


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        VARIANTS["mine"] = VARIANTS["sam_vit_b"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        VARIANTS["sam_vit_b"].image_size = 512  # type: ignore[misc]
    with pytest.raises(TypeError):
        HieraConfig(96, 1, (1, 2, 7, 2), (5, 7, 9))  # type: ignore[call-arg]
    assert not hasattr(FpnNeckConfig(), "__dict__")


def test_building_does_not_take_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        assert next(build("sam_vit_h").parameters()).is_meta
