"""Tracking with SAM 2: what each setting changes, prompts of all kinds, manners, precisions, gradients."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution.fill import tensor
from samblocks.models import SAM2Model

RUN: tuple[tuple[int, str] | int, ...] = (
    (0, "click"),
    1,
    2,
    (2, "correction"),
    3,
    (4, "box"),
    (5, "mask"),
    6,
    7,
    8,
    9,
    10,
)
RESULTS = ("pred_masks", "pred_masks_high_res", "obj_ptr", "object_score_logits", "maskmem_features")


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested dicts and lists, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


def outline(value: Any) -> str:
    """The keys and lengths of nested dicts and lists."""
    return json.dumps(value, default=lambda leaf: type(leaf).__name__)


def differ(a: list[dict[str, Any]], b: list[dict[str, Any]], *names: str) -> list[int]:
    """The steps, of those that both took, in which any of these results differ."""
    return [
        step
        for step, (one, other) in enumerate(zip(a, b, strict=False))
        if any(not torch.equal(one[name], other[name]) for name in names or RESULTS)
    ]


@torch.inference_mode()
def test_a_whole_run_sees_and_misses_objects(sam2: Callable[..., SAM2Model], video: Any) -> None:
    run = video(sam2()).follow(*RUN)
    scores = torch.cat([result["object_score_logits"] for result in run])
    assert (scores > 0).any()
    assert (scores < 0).any()
    for result in run:
        assert list(result) == [*RESULTS[:4], "maskmem_features", "maskmem_pos_enc"]
        assert result["pred_masks"].shape == (2, 1, 16, 16)
        assert result["pred_masks_high_res"].shape == (2, 1, 64, 64)
        assert result["obj_ptr"].shape == (2, 32)
        assert result["object_score_logits"].shape == (2, 1)
        assert result["maskmem_features"].shape == result["maskmem_pos_enc"][0].shape == (2, 8, 4, 4)
        assert all(x.isfinite().all() for x in tensors(result))
        for shown, score in zip(result["pred_masks"], result["object_score_logits"], strict=True):
            assert (shown == -1024).all() == (score <= 0)
            if score > 0:
                assert 0.05 < (shown > 0).float().mean() < 0.95


@torch.inference_mode()
def test_the_direction_matters(sam2: Callable[..., SAM2Model], video: Any) -> None:
    # Frame 5 has neighbours on both sides: forwards it reads 4 and 3, backwards 6 and 7.
    forwards, backwards = video(sam2()), video(sam2())
    for one in (forwards, backwards):
        one.follow((0, "click"), 3, 4, (9, "box"))
        one.follow(8, 7, 6, reverse=True)
    ahead, back = forwards.step(5), backwards.step(5, reverse=True)
    assert differ([ahead], [back], "obj_ptr", "object_score_logits")
    del forwards.outputs["cond_frame_outputs"][9]
    del forwards.outputs["non_cond_frame_outputs"][5]
    for frame in (6, 7, 8):
        del forwards.outputs["non_cond_frame_outputs"][frame]
    # What lies behind (in the direction of tracking) is not read, apart from the prompts' memory maps.
    without = forwards.step(5)
    del backwards.outputs["cond_frame_outputs"][0]
    assert differ([ahead], [without])
    assert differ([back], [backwards.step(5, reverse=True)])


# Settings, and the first step of `RUN` whose results they change; in step 5, the box, no object is seen.
EFFECTS: list[tuple[dict[str, Any], int]] = [
    ({"num_maskmem": 3}, 7),
    ({"num_maskmem": 1}, 2),
    ({"sigmoid_scale_for_mem_enc": 3.0}, 0),
    ({"sigmoid_bias_for_mem_enc": 0.5}, 0),
    ({"binarize_mask_from_pts_for_mem_enc": True}, 0),
    ({"use_mask_input_as_output_without_sam": False}, 6),
    ({"max_cond_frames_in_attn": 2}, 7),
    ({"use_high_res_features_in_sam": False}, 0),
    ({"multimask_output_in_sam": False}, 0),
    ({"multimask_min_pt_num": 1}, 1),
    ({"multimask_max_pt_num": 0}, 0),
    ({"multimask_output_for_tracking": False}, 1),
    ({"use_multimask_token_for_obj_ptr": False}, 0),
    ({"memory_temporal_stride_for_eval": 3}, 4),
    ({"non_overlap_masks_for_mem_enc": True}, 0),
    ({"use_obj_ptrs_in_encoder": False, "fixed_no_obj_ptr": False}, 0),
    ({"max_obj_ptrs_in_encoder": 2}, 1),
    ({"add_tpos_enc_to_obj_ptrs": False, "proj_tpos_enc_in_obj_ptrs": False}, 1),
    ({"proj_tpos_enc_in_obj_ptrs": False}, 1),
    ({"pred_obj_scores": False, "fixed_no_obj_ptr": False}, 0),
    ({"fixed_no_obj_ptr": False}, 5),
    ({"soft_no_obj_ptr": True}, 0),
    ({"use_mlp_for_obj_ptr_proj": False}, 0),
    ({"no_obj_embed_spatial": False}, 5),
    ({"sam_mask_decoder_extra_args": {"dynamic_multimask_via_stability": True}}, 3),
]


@torch.inference_mode()
@pytest.mark.parametrize(
    ("changes", "first"), EFFECTS, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_what_a_setting_changes(
    sam2: Callable[..., SAM2Model], video: Any, usual_run: Any, changes: dict[str, Any], first: int
) -> None:
    usual, other = sam2(), sam2(**changes)
    rows = [*range(other.num_maskmem - 1), usual.num_maskmem - 1]
    other.maskmem_tpos_enc.data = usual.maskmem_tpos_enc.data[rows]
    assert differ(usual_run(*RUN), video(other).follow(*RUN[: first + 1]))[0] == first


@torch.inference_mode()
@pytest.mark.parametrize(
    "changes",
    [
        {"use_signed_tpos_enc_to_obj_ptrs": False},
        {"only_obj_ptrs_in_the_past_for_eval": False},
    ],
)
def test_what_is_ahead_counts_by_settings(
    sam2: Callable[..., SAM2Model], video: Any, changes: dict[str, Any]
) -> None:
    usual = {"only_obj_ptrs_in_the_past_for_eval": "only_obj_ptrs_in_the_past_for_eval" in changes}
    steps = ((0, "click"), (8, "box"), 1, 2)
    a, b = video(sam2(**usual)).follow(*steps), video(sam2(**{**usual, **changes})).follow(*steps)
    assert differ(a, b)[:1] == [2]


@torch.inference_mode()
def test_iou_and_score_heads_by_settings(sam2: Callable[..., SAM2Model], video: Any) -> None:
    usual, raw = sam2(), sam2(iou_prediction_use_sigmoid=False)
    features = tensor("features", (1, 32, 4, 4))
    fine = [tensor("finest", (1, 4, 16, 16)), tensor("fine", (1, 8, 8, 8))]
    squashed = usual._forward_sam_heads(features, high_res_features=fine)[2]
    torch.testing.assert_close(
        squashed, raw._forward_sam_heads(features, high_res_features=fine)[2].sigmoid()
    )
    assert differ(
        video(sam2()).follow((0, "click")), video(sam2(pred_obj_scores_mlp=False)).follow((0, "click"))
    )


@torch.inference_mode()
def test_without_memory(sam2: Callable[..., SAM2Model], video: Any) -> None:
    model = sam2(num_maskmem=0)
    run = video(model).follow((0, "click"), 1, 2)
    assert [result["maskmem_features"] for result in run] == [None] * 3
    assert [result["maskmem_pos_enc"] for result in run] == [None] * 3
    alone = video(model)
    alone.follow((0, "box"))
    assert not differ([run[2]], [alone.step(2)], *RESULTS[:4])


@torch.inference_mode()
def test_the_memory_encoder_may_be_left_out(sam2: Callable[..., SAM2Model], video: Any) -> None:
    one = video(sam2())
    result = one.model.track_step(**one.arguments(0, "click"), run_mem_encoder=False)
    assert result["maskmem_features"] is None
    assert result["maskmem_pos_enc"] is None
    arguments = one.arguments(0, "click")
    filled: dict[str, Any] = {"kept": 1}
    one.model._encode_memory_in_output(
        arguments["current_vision_feats"],
        arguments["feat_sizes"],
        arguments["point_inputs"],
        True,
        result["pred_masks_high_res"],
        result["object_score_logits"],
        filled,
    )
    assert list(filled) == ["kept", "maskmem_features", "maskmem_pos_enc"]
    assert torch.equal(filled["maskmem_features"], one.step(0, "click")["maskmem_features"])


@torch.inference_mode()
def test_masks_for_memory_by_settings(sam2: Callable[..., SAM2Model]) -> None:
    seen: list[Tensor] = []
    logits = tensor("logits", (2, 1, 64, 64)) * 4
    features, score = [tensor("features", (16, 2, 32))], torch.tensor([[1.0], [-1.0]])

    def encoded(model: SAM2Model, from_points: bool) -> Tensor:
        model.memory_encoder.mask_downsampler.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        model._encode_new_memory(features, [(4, 4)], logits, score, from_points)
        return seen[-1]

    usual: dict[str, bool] = {}
    binary = {"binarize_mask_from_pts_for_mem_enc": True}
    soft, hard = logits.sigmoid() * 20 - 10, (logits > 0) * 20.0 - 10
    assert torch.equal(encoded(sam2(**usual), True), soft)
    assert torch.equal(encoded(sam2(**binary), True), hard)
    assert torch.equal(encoded(sam2(**binary), False), soft)
    assert torch.equal(encoded(sam2(**binary).train(), True), soft)
    parted = sam2()._apply_non_overlapping_constraints(logits).sigmoid() * 20 - 10
    assert torch.equal(encoded(sam2(non_overlap_masks_for_mem_enc=True), True), parted)
    assert torch.equal(encoded(sam2(non_overlap_masks_for_mem_enc=True).train(), True), soft)


@torch.inference_mode()
def test_memory_of_an_absent_object_is_marked(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2()
    given: dict[str, Any] = {
        "current_vision_feats": [tensor("features", (16, 3, 32))],
        "feat_sizes": [(4, 4)],
        "pred_masks_high_res": tensor("logits", (3, 1, 64, 64)),
        "is_mask_from_pts": False,
    }
    present, _ = model._encode_new_memory(object_score_logits=torch.ones(3, 1), **given)
    scores = torch.tensor([[0.5], [0.0], [float("nan")]])
    mixed, encodings = model._encode_new_memory(object_score_logits=scores, **given)
    assert model.no_obj_embed_spatial is not None
    mark = model.no_obj_embed_spatial[0, :, None, None]
    assert torch.equal(mixed, torch.stack([present[0], present[1] + mark, present[2] + mark]))
    assert [tuple(code.shape) for code in encodings] == [(3, 8, 4, 4)]


@torch.inference_mode()
def test_a_frame_without_memory_gets_the_learned_stand_in(sam2: Callable[..., SAM2Model]) -> None:
    model, features = sam2(), tensor("features", (16, 2, 32))
    given: dict[str, Any] = {
        "frame_idx": 0,
        "is_init_cond_frame": True,
        "current_vision_feats": [features],
        "current_vision_pos_embeds": [features],
        "feat_sizes": [(4, 4)],
        "output_dict": {},
        "num_frames": 3,
    }
    added = model._prepare_memory_conditioned_features(**given)
    assert torch.equal(added, (features + model.no_mem_embed).permute(1, 2, 0).reshape(2, 32, 4, 4))
    with pytest.raises(ValueError, match="build the model with directly_add_no_mem_embed=True"):
        sam2(directly_add_no_mem_embed=False)._prepare_memory_conditioned_features(**given)


class Reader(nn.Module):
    """In memory attention's place: adds the mean of what it reads."""

    def forward(self, curr: Tensor, memory: Tensor, memory_pos: Tensor, **rest: Any) -> Tensor:
        assert rest["num_obj_ptr_tokens"] == 0
        return curr + (memory + memory_pos).mean(dim=0)


@torch.inference_mode()
def test_a_stand_in_may_be_attended_to_where_widths_agree(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2(directly_add_no_mem_embed=False)
    model.memory_attention, model.mem_dim = Reader(), model.hidden_dim
    features = tensor("features", (16, 2, 32))
    read = model._prepare_memory_conditioned_features(0, True, [features], [features], [(4, 4)], {}, 3)
    expected = features + model.no_mem_embed + model.no_mem_pos_enc
    torch.testing.assert_close(read, expected.permute(1, 2, 0).reshape(2, 32, 4, 4))


@torch.inference_mode()
def test_prompts_that_exclude_each_other(sam2: Callable[..., SAM2Model], video: Any) -> None:
    one = video(sam2())
    one.step(0, "click")
    both = {**one.arguments(0, "click"), "mask_inputs": torch.zeros(2, 1, 64, 64)}
    with pytest.raises(ValueError, match="mask_inputs: must be None when point_inputs are given"):
        one.model.track_step(**both)
    alone = {**one.arguments(0, "correction"), "point_inputs": None}
    with pytest.raises(ValueError, match="prev_sam_mask_logits: needs point_inputs"):
        one.model.track_step(**alone)


@torch.inference_mode()
def test_a_correction_depends_on_the_earlier_answer(sam2: Callable[..., SAM2Model], video: Any) -> None:
    one = video(sam2())
    one.follow((0, "click"), 1)
    arguments = one.arguments(1, "correction")
    corrected = one.model.track_step(**arguments)
    fresh = one.model.track_step(**{**arguments, "prev_sam_mask_logits": None})
    assert differ([corrected], [fresh], "object_score_logits")


@torch.inference_mode()
@pytest.mark.parametrize("frames", [1, 2])
def test_a_very_short_video_has_no_nan(sam2: Callable[..., SAM2Model], video: Any, frames: int) -> None:
    run = video(sam2(), num_frames=frames).follow((0, "click"), (0, "correction"))
    assert all(x.isfinite().all() for x in tensors(run))


@torch.inference_mode()
def test_a_step_changes_nothing_that_it_is_given(sam2: Callable[..., SAM2Model], video: Any) -> None:
    one = video(sam2())
    one.follow((0, "click"), 1, (2, "mask"), 3)
    state = {name: value.clone() for name, value in one.model.state_dict().items()}
    for prompt in (None, "click", "box", "mask"):
        arguments = one.arguments(4, prompt)
        kept, drawn = [x.clone() for x in tensors(arguments)], outline(arguments)
        first = one.model.track_step(**arguments)
        second = one.model.track_step(**arguments)
        assert outline(arguments) == drawn
        assert all(torch.equal(a, b) for a, b in zip(tensors(arguments), kept, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
    assert all(torch.equal(state[name], value) for name, value in one.model.state_dict().items())


@torch.inference_mode()
def test_results_share_no_memory_with_the_model_or_one_another(
    sam2: Callable[..., SAM2Model], video: Any
) -> None:
    one, other = video(sam2()), video(sam2())
    expected = other.follow((0, "click"), 1)
    result = one.step(0, "click")
    spoilt = copy.deepcopy(result)
    for x in tensors(result):
        x.fill_(7)
    one.outputs["cond_frame_outputs"][0] = spoilt
    assert not differ([one.step(1)], expected[1:])


@torch.inference_mode()
def test_objects_do_not_mix(sam2: Callable[..., SAM2Model], video: Any) -> None:
    together, alone = video(sam2()).follow(*RUN[:4]), video(sam2(), objects=1).follow(*RUN[:4])
    for one, pair in zip(alone, together, strict=True):
        for name in RESULTS:
            torch.testing.assert_close(one[name], pair[name][:1], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precisions_without_autocast(sam2: Callable[..., SAM2Model], video: Any, dtype: torch.dtype) -> None:
    steps = ((0, "click"), 1, (1, "correction"), (2, "box"), (3, "mask"), 4)
    exact, run = video(sam2()).follow(*steps), video(sam2().to(dtype)).follow(*steps)
    assert {x.dtype for x in tensors(run)} == {dtype}
    assert all(x.isfinite().all() for x in tensors(run))
    tolerance = 1e-4 if dtype == torch.float64 else 0.2
    for a, b in zip(exact, run, strict=True):
        assert (a["object_score_logits"] - b["object_score_logits"]).abs().max() < tolerance


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_memories_may_be_kept_in_half_precision(
    sam2: Callable[..., SAM2Model], video: Any, dtype: torch.dtype
) -> None:
    """Meta's video driver keeps bfloat16, that of Ultralytics float16."""
    one, other = video(sam2()), video(sam2())
    one.follow((0, "click"), 1)
    for kept in (
        *one.outputs["cond_frame_outputs"].values(),
        *one.outputs["non_cond_frame_outputs"].values(),
    ):
        kept["maskmem_features"] = kept["maskmem_features"].to(dtype)
    result, expected = one.step(2), other.follow((0, "click"), 1, 2)[-1]
    assert {result[name].dtype for name in RESULTS} == {torch.float32}
    torch.testing.assert_close(
        result["object_score_logits"], expected["object_score_logits"], atol=2e-2, rtol=0
    )


def test_a_step_on_the_meta_device(sam2: Callable[..., SAM2Model], video: Any) -> None:
    one = video(sam2().to("meta"))
    arguments = one.arguments
    one.arguments = lambda *args, **kwargs: moved(arguments(*args, **kwargs))
    known = video(sam2())
    one.features = known.features
    run = one.follow((0, "click"), 1)
    assert {x.device.type for x in tensors(run)} == {"meta"}
    assert run[1]["pred_masks_high_res"].shape == (2, 1, 64, 64)


def moved(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {name: moved(part) for name, part in value.items()}
    if isinstance(value, list):
        return [moved(part) for part in value]
    return value


@torch.inference_mode()
def test_images_with_unequal_sides(sam2: Callable[..., SAM2Model], video: Any) -> None:
    model = sam2()
    model.set_imgsz([64, 96])
    run = video(model).follow((0, "click"), 1, (1, "correction"), 2)
    assert {tuple(result["pred_masks_high_res"].shape) for result in run} == {(2, 1, 64, 96)}
    assert {tuple(result["maskmem_features"].shape) for result in run} == {(2, 8, 4, 6)}
    cross = model.memory_attention.layers[0].cross_attn_image
    assert tuple(cross.feat_sizes) == (6, 4)
    model.set_imgsz([64, 64])
    again, usual = video(model).follow((0, "click"), 1), video(sam2()).follow((0, "click"), 1)
    assert not differ(again, usual)


def test_training_returns_no_scores_and_drops_paths(sam2: Callable[..., SAM2Model], video: Any) -> None:
    model = sam2(dropout=0.5, drop_path_rate=0.9).train()

    def run(seed: int) -> list[dict[str, Any]]:
        torch.manual_seed(seed)
        with torch.no_grad():
            return video(model).follow((0, "click"), 1, 2)

    names = [name for name in RESULTS if name != "object_score_logits"]
    assert [list(result) for result in run(0)] == [[*names, "maskmem_pos_enc"]] * 3
    assert not differ(run(0), run(0), *names)
    assert differ(run(0), run(1), *names)[-1] == 2


def test_gradients_reach_everything_through_time(sam2: Callable[..., SAM2Model], video: Any) -> None:
    model = sam2(soft_no_obj_ptr=True).train()
    model.sam_mask_decoder.pred_obj_score_head.layers[2].bias.data += 1  # objects are seen
    run = video(model).follow((0, "click"), (1, "mask"), 2, (2, "correction"), (3, "box"), 4)
    seen = [run[step] for step in (2, 3, 4, 5)]
    total = sum((result["pred_masks_high_res"] * tensor("w", (2, 1, 64, 64))).mean() for result in seen)
    (total + sum(result["obj_ptr"].square().mean() for result in seen)).backward()
    without = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    }
    parts = {name.rsplit(".layers", 1)[0].removeprefix("sam_mask_decoder.") for name in without}
    # Qualities only choose among masks, two masks were never chosen, every object was seen, and a stand-in that
    # is added has no position.
    assert parts == {
        "iou_prediction_head",
        "output_hypernetworks_mlps.1",
        "output_hypernetworks_mlps.2",
        "no_obj_embed_spatial",
        "no_mem_pos_enc",
    }
