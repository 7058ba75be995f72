"""Cases of SAM2Model's settings: a small model at 128 pixels, each case with other settings than released.

All of them track two objects over a few frames. `tracking` has the released models, at length.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from parity.cases import blind
from parity.cases.drive import Step, pictures, rectangles
from parity.cases.family import Row, family, row
from parity.cases.pyramids import encoder
from parity.cases.tracking import SEEING, adjusted, following
from parity.execution.case import Make, Spec, literal, make

_SIZE, _FRAMES = 128, 6

_PROMPTS: Mapping[str, Spec] = {
    "click": literal([[[30.0, 40.0]], [[90.0, 60.0]]]),
    "click_labels": literal([[1], [1]]),
    "box": literal([[[15.0, 20.0], [75.0, 85.0]], [[50.0, 30.0], [120.0, 100.0]]]),
    "box_labels": literal([[2, 3], [2, 3]]),
    "clicks": literal([[[45.0, 50.0], [100.0, 15.0]], [[10.0, 110.0], [65.0, 65.0]]]),
    "clicks_labels": literal([[1, 0], [0, 1]]),
    "three": literal([[[45.0, 50.0], [100.0, 15.0], [9.0, 9.0]], [[10.0, 99.0], [65.0, 65.0], [3.0, 70.0]]]),
    "three_labels": literal([[1, 0, 0], [0, 1, 1]]),
    "mask": rectangles(_SIZE, _SIZE, (30, 20, 100, 75), (15, 50, 45, 110)),
    "one_mask": rectangles(_SIZE, _SIZE, (30, 20, 100, 75), (0, 0, 0, 0)),
}

RELEASED: dict[str, Any] = {
    "image_size": _SIZE,
    "sigmoid_scale_for_mem_enc": 20.0,
    "sigmoid_bias_for_mem_enc": -10.0,
    "use_mask_input_as_output_without_sam": True,
    "directly_add_no_mem_embed": True,
    "use_high_res_features_in_sam": True,
    "multimask_output_in_sam": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "multimask_output_for_tracking": True,
    "use_multimask_token_for_obj_ptr": True,
    "iou_prediction_use_sigmoid": True,
    "use_obj_ptrs_in_encoder": True,
    "add_tpos_enc_to_obj_ptrs": True,
    "proj_tpos_enc_in_obj_ptrs": True,
    "use_signed_tpos_enc_to_obj_ptrs": True,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "fixed_no_obj_ptr": True,
    "use_mlp_for_obj_ptr_proj": True,
    "no_obj_embed_spatial": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}

_SEEN = blind.both(blind.scores_have_both_signs, blind.masks_are_mixed, blind.steps_differ)
_SHORT = (Step(0, "click"), Step(1), Step(2), Step(2, "clicks", correct=True), Step(3), Step(4))
_BACK = (Step(5, "box"), *(Step(frame, reverse=True) for frame in (4, 3, 2, 1, 0)))


def _attention(cross: Make) -> Make:
    """A layer of memory attention as released, but without dropout, of which upstreams have different kinds."""
    own = make("RoPEAttention", embedding_dim=256, num_heads=1)
    layer = make("MemoryAttentionLayer", dim_feedforward=256, dropout=0.0, self_attn=own, cross_attn=cross)
    return make("MemoryAttention", d_model=256, pos_enc_at_input=True, layer=layer, num_layers=1)


_ROTATED = make("RoPEAttention", embedding_dim=256, num_heads=1, kv_in_dim=64, rope_k_repeat=True)
# An empty memory is a single token of the features' width: that cannot be rotated.
_PLAIN = make("Attention", embedding_dim=256, num_heads=1, kv_in_dim=256)


def small_parts(scalp: int = 1, memory_width: int = 64, cross: Make = _ROTATED) -> dict[str, Any]:
    """The parts of a small SAM 2 at 128 pixels."""
    return {
        "image_encoder": encoder(scalp),
        "memory_attention": _attention(cross),
        "memory_encoder": make("MemoryEncoder", out_dim=memory_width),
    }


def _tracked(
    why: str,
    settings: Mapping[str, Any],
    script: Sequence[Step],
    *,
    parts: Mapping[str, Any] | None = None,
    released: bool = True,
    **fields: Any,
) -> Row:
    """A case that follows a script, with other settings than released."""
    prompts = {step.prompt for step in script if step.prompt}
    inputs = {key: spec for key, spec in _PROMPTS.items() if key.removesuffix("_labels") in prompts}
    base = RELEASED if released else {"image_size": _SIZE}
    return row(
        why, {**(parts or small_parts()), **base, **settings}, inputs, call=following(script), **fields
    )


CASES = family(
    block="SAM2Model",
    inputs={"frames": pictures(_FRAMES, 3, _SIZE, _SIZE)},
    check=SEEING,
    bound=3.0,
    reason="a few steps give ten numbers as scores, and how exact upstream's happen to be is luck",
    bound64=1e-10,
).of(
    defaults=_tracked(
        "by default no pointers, scores or levels of high resolution; prompted frames read an empty memory",
        {},
        (Step(0, "click"), Step(1, "box"), Step(2, "three"), Step(3, "mask")),
        parts=small_parts(memory_width=256, cross=_PLAIN),
        released=False,
        check=blind.both(blind.masks_are_mixed, blind.steps_differ),
    ),
    without_memory=_tracked(
        "no frames in memory, and features of stride 8: each frame stands alone",
        {"num_maskmem": 0, "backbone_stride": 8},
        (Step(0, "click"), Step(1), Step(2, "box"), Step(3, "mask")),
        parts=small_parts(scalp=2),
        released=False,
        check=blind.both(blind.masks_are_mixed, blind.steps_differ),
    ),
    **{
        "released_2.1": _tracked(
            "the settings of SAM 2.1, with every kind of prompt, and a step that is not remembered",
            {},
            (*_SHORT, Step(5, "mask"), Step(4), Step(3, "box", remember=False)),
            adjust=adjusted(0.01, 2.0),
        )
    },
    mask_of_one=_tracked(
        "a mask prompt that is empty for one object: that object is not there",
        {},
        (Step(0, "one_mask"), Step(1), Step(2, "box"), Step(3)),
        adjust=adjusted(-0.092),
    ),
    mask_of_one_twice=_tracked(
        "that an object is not there is added to its pointer twice: by its score, and by the empty mask",
        {"fixed_no_obj_ptr": False},
        (Step(0, "one_mask"), Step(1), Step(2, "box"), Step(3)),
        adjust=adjusted(-0.092),
    ),
    few_prompted_frames=_tracked(
        "of four frames with prompts, the two closest are attended to; of the others only pointers may remain",
        {"max_cond_frames_in_attn": 2, "max_obj_ptrs_in_encoder": 4},
        (Step(0, "click"), Step(1, "box"), Step(4, "click"), Step(5, "mask"), Step(2), Step(3)),
        adjust=adjusted(-0.005),
    ),
    all_pointers=_tracked(
        "pointers of prompted frames to come, with distances that tell past from future",
        {"only_obj_ptrs_in_the_past_for_eval": False, "max_cond_frames_in_attn": 3},
        (Step(0, "click"), Step(5, "box"), Step(1), Step(2), Step(4, reverse=True)),
        adjust=adjusted(-0.068),
    ),
    every_second_memory=_tracked(
        "every second frame is remembered beside the last one, with few memories and short reach of pointers",
        {"memory_temporal_stride_for_eval": 2, "num_maskmem": 4, "max_obj_ptrs_in_encoder": 3},
        (Step(0, "clicks"), Step(1), Step(2), Step(3), Step(4), Step(5)),
        adjust=adjusted(0.036),
        check=_SEEN,
    ),
    every_second_memory_reverse=_tracked(
        "the same backwards",
        {"memory_temporal_stride_for_eval": 2, "num_maskmem": 4},
        _BACK,
        adjust=adjusted(0.03, 2.0),
    ),
    soft_pointers=_tracked(
        "pointers blended by the probability of presence; scores and pointers from single linear layers",
        {
            "soft_no_obj_ptr": True,
            "fixed_no_obj_ptr": False,
            "no_obj_embed_spatial": False,
            "pred_obj_scores_mlp": False,
            "use_mlp_for_obj_ptr_proj": False,
        },
        _SHORT,
        adjust=adjusted(0.858),
    ),
    fixed_soft_pointers=_tracked(
        "absent objects lose their pointer in the measure of their absence",
        {"soft_no_obj_ptr": True},
        _SHORT,
        adjust=adjusted(0.021),
        check=_SEEN,
    ),
    one_object_a_pixel=_tracked(
        "masks are encoded without overlap, binary where they answer to points, on another scale",
        {
            "non_overlap_masks_for_mem_enc": True,
            "binarize_mask_from_pts_for_mem_enc": True,
            "sigmoid_scale_for_mem_enc": 3.0,
            "sigmoid_bias_for_mem_enc": -1.0,
        },
        (Step(5, "click"), Step(0), Step(4, "box")),
        adjust=adjusted(-1.0, 2.0),
        check=blind.both(
            blind.masks_are_mixed,
            blind.stability_has_both_outcomes,
            blind.steps_differ,
            blind.pixels_are_decided,
        ),
    ),
    masks_through_decoder=_tracked(
        "masks that come as prompts go through the decoder like any other prompt; no point is too few for doubt",
        {"use_mask_input_as_output_without_sam": False, "multimask_min_pt_num": 1},
        (Step(0, "mask"), Step(1), Step(2, "box"), Step(3)),
        adjust=adjusted(-0.11),
        check=_SEEN,
    ),
    other_ambiguity=_tracked(
        "one or two points are ambiguous, three or none are not; tracked frames get one mask, chosen as is",
        {
            "multimask_min_pt_num": 1,
            "multimask_max_pt_num": 2,
            "multimask_output_for_tracking": False,
            "use_multimask_token_for_obj_ptr": False,
            "iou_prediction_use_sigmoid": False,
        },
        (Step(0, "click"), Step(1), Step(2, "clicks"), Step(3, "three"), Step(4)),
        adjust=adjusted(-0.066, 2.0),
    ),
    single_masks_kept=_tracked(
        "without the choice by stability, and without three masks at all",
        {"multimask_output_in_sam": False, "sam_mask_decoder_extra_args": None},
        (Step(0, "click"), Step(1), Step(2, "box")),
        adjust=adjusted(-0.1),
        check=_SEEN,
    ),
    low_resolution=_tracked(
        "without levels of high resolution; pointers without a code of time, as in SAM 2.0",
        {
            "use_high_res_features_in_sam": False,
            "add_tpos_enc_to_obj_ptrs": False,
            "proj_tpos_enc_in_obj_ptrs": False,
            "use_signed_tpos_enc_to_obj_ptrs": False,
        },
        (*_SHORT, Step(5, "box")),
        adjust=adjusted(0.035),
    ),
    code_of_time_as_it_is=_tracked(
        "the code of a pointer's distance is added without projection, and without telling past from future",
        {"proj_tpos_enc_in_obj_ptrs": False, "use_signed_tpos_enc_to_obj_ptrs": False},
        _BACK,
        adjust=adjusted(0.106),
        check=_SEEN,
    ),
    unsigned_code_of_time=_tracked(
        "the code of a pointer's distance is projected, but does not tell past from future",
        {"use_signed_tpos_enc_to_obj_ptrs": False, "only_obj_ptrs_in_the_past_for_eval": False},
        (Step(0, "click"), Step(5, "box"), Step(1), Step(2), Step(4, reverse=True)),
        adjust=adjusted(0.056),
    ),
    train=_tracked(
        "in training: all memories in a row, all pointers, no binary masks, no choice by stability, no scores",
        {
            "memory_temporal_stride_for_eval": 2,
            "non_overlap_masks_for_mem_enc": True,
            "binarize_mask_from_pts_for_mem_enc": True,
        },
        (*_SHORT, Step(5, "mask")),
        adjust=adjusted(0.0),
        train=True,
        check=blind.both(blind.masks_are_mixed, blind.steps_differ),
    ),
)
