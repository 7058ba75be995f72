"""SAM2Model as a thing: tensors and their order, attributes, settings that exclude each other, sizes, devices."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from parity.execution.fill import tensor
from samblocks.models import ImageEncoder, SAM2Model

OWN = ("maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr", "no_obj_embed_spatial")


def groups(model: SAM2Model) -> list[str]:
    """The first parts of the keys, each once, in order."""
    return list(dict.fromkeys(key.split(".")[0] for key in model.state_dict()))


def test_order_of_the_state_dict(sam2: Callable[..., SAM2Model]) -> None:
    assert groups(sam2()) == [
        *OWN,
        "image_encoder",
        "mask_downsample",
        "memory_attention",
        "memory_encoder",
        "sam_prompt_encoder",
        "sam_mask_decoder",
        "obj_ptr_proj",
        "obj_ptr_tpos_proj",
    ]


def test_shapes_of_the_models_own_tensors(sam2: Callable[..., SAM2Model]) -> None:
    state = sam2(num_maskmem=5).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if "encoder" not in name}
    assert [shapes[name] for name in OWN] == [(5, 1, 1, 8), (1, 1, 32), (1, 1, 32), (1, 32), (1, 8)]
    assert shapes["mask_downsample.weight"] == (1, 1, 4, 4)
    assert shapes["obj_ptr_proj.layers.2.weight"] == (32, 32)
    assert shapes["obj_ptr_tpos_proj.weight"] == (8, 32)


@pytest.mark.parametrize(
    ("changes", "gone", "new"),
    [
        ({"no_obj_embed_spatial": False}, {"no_obj_embed_spatial"}, set()),
        ({"proj_tpos_enc_in_obj_ptrs": False}, {"obj_ptr_tpos_proj"}, set()),
        ({"pred_obj_scores": False, "fixed_no_obj_ptr": False}, {"no_obj_ptr"}, set()),
        (
            {"use_obj_ptrs_in_encoder": False, "fixed_no_obj_ptr": False},
            {"no_obj_ptr", "mask_downsample", "obj_ptr_proj"},
            set(),
        ),
    ],
)
def test_tensors_come_and_go_with_settings(
    sam2: Callable[..., SAM2Model], changes: dict[str, Any], gone: set[str], new: set[str]
) -> None:
    assert set(groups(sam2())) - set(groups(sam2(**changes))) == gone
    assert set(groups(sam2(**changes))) - set(groups(sam2())) == new


def test_depth_of_small_heads(sam2: Callable[..., SAM2Model]) -> None:
    assert isinstance(sam2(use_mlp_for_obj_ptr_proj=False).obj_ptr_proj, nn.Linear)
    assert isinstance(sam2(pred_obj_scores_mlp=False).sam_mask_decoder.pred_obj_score_head, nn.Linear)
    without = sam2(use_high_res_features_in_sam=False)
    assert not hasattr(without.sam_mask_decoder, "conv_s0")
    assert without.num_feature_levels == 1


def test_free_tensors_start_small_and_everything_else_is_made_once(sam2: Callable[..., SAM2Model]) -> None:
    parts = sam2()
    torch.manual_seed(0)
    model = SAM2Model(
        parts.image_encoder,
        parts.memory_attention,
        parts.memory_encoder,
        image_size=64,
        no_obj_embed_spatial=True,
    )
    for name in ("maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_embed_spatial"):
        value = getattr(model, name)
        assert 0 < value.abs().max() < 0.1, name
    assert model.image_encoder is parts.image_encoder


def test_attributes_that_drivers_read(sam2: Callable[..., SAM2Model]) -> None:
    extra = {"dynamic_multimask_via_stability": True}
    model = sam2(num_maskmem=5, sam_mask_decoder_extra_args=extra)
    for name, parameter in inspect.signature(SAM2Model.__init__).parameters.items():
        if name not in ("self", "compile_image_encoder"):
            assert hasattr(model, name), name
            if parameter.default is not inspect.Parameter.empty and name != "no_obj_embed_spatial":
                assert not isinstance(getattr(model, name), torch.Tensor), name
    assert (model.hidden_dim, model.mem_dim, model.num_feature_levels) == (32, 8, 3)
    assert (model.sam_prompt_embed_dim, model.sam_image_embedding_size) == (32, 4)
    assert (model.mask_threshold, model.add_all_frames_to_correct_as_cond) == (0.0, True)
    assert model.sam_mask_decoder.dynamic_multimask_via_stability
    assert extra == {"dynamic_multimask_via_stability": True}
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"add_tpos_enc_to_obj_ptrs": False},
            "proj_tpos_enc_in_obj_ptrs=True: needs add_tpos_enc_to_obj_ptrs",
        ),
        ({"pred_obj_scores": False}, "fixed_no_obj_ptr=True: needs pred_obj_scores=True"),
        ({"use_obj_ptrs_in_encoder": False}, "fixed_no_obj_ptr=True: needs .* use_obj_ptrs_in_encoder=True"),
    ],
)
def test_settings_that_exclude_each_other(
    sam2: Callable[..., SAM2Model], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        sam2(**changes)


def test_pointers_must_fit_the_memory(sam2: Callable[..., SAM2Model]) -> None:
    parts = sam2()
    parts.memory_encoder.out_proj = nn.Conv2d(32, 12, 1)
    arguments: dict[str, Any] = {"image_size": 64}
    SAM2Model(parts.image_encoder, parts.memory_attention, parts.memory_encoder, **arguments)
    with pytest.raises(ValueError, match="pointers of 32 channels cannot be cut into tokens of 12"):
        SAM2Model(
            parts.image_encoder,
            parts.memory_attention,
            parts.memory_encoder,
            use_obj_ptrs_in_encoder=True,
            **arguments,
        )


def test_an_encoder_without_projection_keeps_the_models_width(sam2: Callable[..., SAM2Model]) -> None:
    parts = sam2()
    parts.memory_encoder.out_proj = nn.Identity()
    model = SAM2Model(parts.image_encoder, parts.memory_attention, parts.memory_encoder, image_size=64)
    assert model.mem_dim == model.hidden_dim == 32


def test_there_is_no_forward(sam2: Callable[..., SAM2Model]) -> None:
    with pytest.raises(NotImplementedError, match="track_step"):
        sam2()(tensor("x", (1, 3, 64, 64)))


def test_forward_image_projects_the_fine_levels(sam2: Callable[..., SAM2Model]) -> None:
    model, image = sam2(), tensor("image", (2, 3, 64, 64))
    plain, projected = model.image_encoder(image), model.forward_image(image)
    assert list(projected) == ["vision_features", "vision_pos_enc", "backbone_fpn"]
    assert [tuple(x.shape) for x in projected["backbone_fpn"]] == [
        (2, 4, 16, 16),
        (2, 8, 8, 8),
        (2, 32, 4, 4),
    ]
    decoder = model.sam_mask_decoder
    assert torch.equal(projected["backbone_fpn"][0], decoder.conv_s0(plain["backbone_fpn"][0]))
    assert torch.equal(projected["backbone_fpn"][1], decoder.conv_s1(plain["backbone_fpn"][1]))
    assert torch.equal(projected["backbone_fpn"][2], plain["backbone_fpn"][2])
    bare = sam2(use_high_res_features_in_sam=False)
    unchanged = bare.forward_image(image)["backbone_fpn"][0]
    assert torch.equal(unchanged, bare.image_encoder(image)["backbone_fpn"][0])


def test_an_image_encoder_may_keep_what_it_returned(sam2: Callable[..., SAM2Model]) -> None:
    model, image = sam2(), tensor("image", (1, 3, 64, 64))
    kept = model.image_encoder(image)
    before = list(kept["backbone_fpn"])
    model.image_encoder.forward = lambda _: kept
    first, second = model.forward_image(image), model.forward_image(image)
    assert kept["backbone_fpn"] == before
    assert torch.equal(first["backbone_fpn"][0], second["backbone_fpn"][0])


@pytest.mark.parametrize("batch", [1, 3])
def test_prepare_backbone_features(sam2: Callable[..., SAM2Model], batch: int) -> None:
    model = sam2()
    encoded = model.forward_image(tensor("image", (1, 3, 64, 64)))
    given = {name: list(value) if isinstance(value, list) else value for name, value in encoded.items()}
    prepared, features, encodings, sizes = model._prepare_backbone_features(encoded, batch=batch)
    assert sizes == [(16, 16), (8, 8), (4, 4)]
    assert [tuple(x.shape) for x in features] == [(256, batch, 4), (64, batch, 8), (16, batch, 32)]
    assert [tuple(x.shape) for x in encodings] == [(256, batch, 32), (64, batch, 32), (16, batch, 32)]
    assert [len(x) for x in prepared["backbone_fpn"]] == [batch] * 3
    level = encoded["backbone_fpn"][1]
    assert torch.equal(features[1][8 + 3, batch - 1], level[0, :, 1, 3])
    assert prepared is not encoded
    assert {
        name: list(value) if isinstance(value, list) else value for name, value in encoded.items()
    } == given
    single = sam2(use_high_res_features_in_sam=False)
    assert len(single._prepare_backbone_features(single.forward_image(tensor("x", (1, 3, 64, 64))))[1]) == 1


def test_prepare_backbone_features_refuses_missing_levels(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2()
    encoded = model.forward_image(tensor("image", (1, 3, 64, 64)))
    short = {
        **encoded,
        "backbone_fpn": encoded["backbone_fpn"][1:],
        "vision_pos_enc": encoded["vision_pos_enc"][1:],
    }
    with pytest.raises(ValueError, match="2 maps and 2 position encodings, must be as many, at least 3"):
        model._prepare_backbone_features(short)
    with pytest.raises(ValueError, match="3 maps and 2 position encodings"):
        model._prepare_backbone_features({**encoded, "vision_pos_enc": short["vision_pos_enc"]})


def test_set_binarize(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2()
    model.set_binarize(True)
    assert model.binarize_mask_from_pts_for_mem_enc
    model.set_binarize()
    assert not model.binarize_mask_from_pts_for_mem_enc


def test_set_imgsz_changes_sizes_and_nothing_else(sam2: Callable[..., SAM2Model], video: Any) -> None:
    resized, made = sam2(), sam2(image_size=128)
    before = {name: value.clone() for name, value in resized.state_dict().items()}
    resized.set_imgsz([128, 128])
    assert all(torch.equal(before[name], value) for name, value in resized.state_dict().items())
    assert resized.image_size == 128
    assert resized.sam_image_embedding_size == 8
    assert tuple(resized.sam_prompt_encoder.image_embedding_size) == (8, 8)
    assert tuple(resized.sam_prompt_encoder.input_image_size) == (128, 128)
    assert tuple(resized.sam_prompt_encoder.mask_input_size) == (32, 32)
    steps = ((0, "click"), 1, 2)
    for a, b in zip(video(resized).follow(*steps), video(made).follow(*steps), strict=True):
        assert torch.equal(a["pred_masks_high_res"], b["pred_masks_high_res"])
        assert torch.equal(a["maskmem_features"], b["maskmem_features"])


@pytest.mark.parametrize("size", [[60, 64], [64, 60], [8, 8], [0, 64]])
def test_set_imgsz_refuses_sides_that_the_windows_do_not_divide(
    sam2: Callable[..., SAM2Model], size: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"imgsz=.*(multiples of 32|from 1 to)"):
        sam2().set_imgsz(size)


def test_meta_device_to_real_tensors_and_back(sam2: Callable[..., SAM2Model], video: Any) -> None:
    with torch.device("meta"):
        empty = sam2()
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    full = sam2()
    empty.load_state_dict(full.state_dict(), assign=True)
    steps = ((0, "click"), 1)
    for a, b in zip(video(empty).follow(*steps), video(full).follow(*steps), strict=True):
        assert torch.equal(a["pred_masks"], b["pred_masks"])


def test_copies_and_pickles_are_independent(sam2: Callable[..., SAM2Model], video: Any) -> None:
    model = sam2()
    expected = video(model).step(0, "click")["pred_masks"]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(video(other).step(0, "click")["pred_masks"], expected)
        other.no_mem_embed.data += 1
    assert torch.equal(video(model).step(0, "click")["pred_masks"], expected)


def test_the_image_encoder_is_compiled_on_demand(
    sam2: Callable[..., SAM2Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, *args, **kwargs: compiled.append(self))
    sam2()
    assert not compiled
    model = sam2(compile_image_encoder=True)
    assert [type(module) for module in compiled] == [ImageEncoder]
    assert list(model.state_dict()) == list(sam2().state_dict())
