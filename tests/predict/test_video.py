"""`VideoPredictor` by itself: what prompts do to a state. Cases compare its numbers with Meta's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import small_models
import torch
from torch import Tensor

import samblocks
from parity.execution import fill
from samblocks.predict import SAM2VideoPredictor, VideoPredictor
from samblocks.predict.video.video_state import VideoState

SIZE = (40, 56)
MODEL = small_models.tracker(present=-1.0)


def frames(count: int = 12) -> list[np.ndarray]:
    coarse = [
        fill.integers(f"frame {number // 2}", (5, 7, 3), 0, 256).astype(np.uint8) for number in range(count)
    ]
    return [picture.repeat(8, axis=0).repeat(8, axis=1) for picture in coarse]


def predictor(**options: Any) -> VideoPredictor:
    return VideoPredictor(MODEL, **options)


def loop(**options: Any) -> VideoPredictor:
    """One object after the other, so that results do not depend on which are tracked together."""
    return VideoPredictor(MODEL, batch_objects=False, **options)


def absent(masks: Tensor) -> list[bool]:
    return [bool((mask < -1000).all()) for mask in masks]


def shown(driver: VideoPredictor, source: Any = None) -> VideoState:
    """A state with three objects: two prompted on frame 0, one on frame 3."""
    state = driver.init_state(frames() if source is None else source)
    driver.add_new_points_or_box(state, 0, "one", points=[[20, 20]], labels=[1])
    driver.add_new_points_or_box(state, 0, 2, box=[10, 10, 40, 36])
    driver.add_new_points_or_box(state, 3, 3, points=[[50, 20]], labels=[1])
    return state


def run(driver: VideoPredictor, state: VideoState, *args: Any, **kwargs: Any) -> dict[int, Tensor]:
    return {frame: masks for frame, _, masks in driver.propagate_in_video(state, *args, **kwargs)}


def differing(one: dict[int, Tensor], other: dict[int, Tensor], obj: int | None = None) -> list[int]:
    assert list(one) == list(other)
    which = slice(None) if obj is None else slice(obj, obj + 1)
    return [frame for frame in one if not torch.equal(one[frame][which], other[frame][which])]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The frames that the model tracks, with the number of objects, from now on."""
    taken: list[tuple[int, int]] = []
    step = MODEL.track_step

    def counted(**given: Any) -> Any:
        if not given["is_init_cond_frame"] and given["point_inputs"] is None:
            taken.append((given["frame_idx"], given["current_vision_feats"][0].shape[1]))
        return step(**given)

    monkeypatch.setattr(MODEL, "track_step", counted)
    yield taken
    monkeypatch.undo()


def test_names() -> None:
    assert SAM2VideoPredictor is VideoPredictor is samblocks.VideoPredictor


def test_masks_are_of_the_videos_size_and_mixed() -> None:
    driver = predictor()
    found = run(driver, shown(driver))
    assert list(found) == list(range(12))
    for masks in found.values():
        assert (masks.shape, masks.dtype) == ((3, 1, *SIZE), torch.float32)
    there = torch.cat(list(found.values())) > 0
    assert 0.05 < float(there.float().mean()) < 0.95
    gone = [missing for masks in found.values() for missing in absent(masks)]
    assert any(gone)
    assert not all(gone)


def test_all_objects_at_once_flip_nothing_that_is_not_close() -> None:
    together, apart = predictor(), loop()
    one, other = run(together, shown(together)), run(apart, shown(apart))
    for frame, masks in one.items():
        error = float((masks - other[frame]).abs().max())
        assert error < 1e-2
        flipped = (masks > 0) != (other[frame] > 0)
        assert not (flipped & (other[frame].abs() > error)).any()


def test_objects_of_a_frame_take_one_step(steps: list[tuple[int, int]]) -> None:
    driver = predictor()
    run(driver, shown(driver))
    assert [step for step in steps if step[0] > 3 + 15] == []
    assert (1, 2) in steps  # the third one reads another frame with a prompt
    assert len([step for step in steps if step[0] == 1]) == 2
    alone = loop()
    steps.clear()
    run(alone, shown(alone))
    assert {objects for _, objects in steps} == {1}


def test_what_would_come_out_again_is_not_tracked_again(steps: list[tuple[int, int]]) -> None:
    driver = predictor()
    state = shown(driver)
    first = run(driver, state)
    steps.clear()
    assert state.stale_frames() == []
    assert differing(first, run(driver, state)) == []
    assert steps == []


def test_a_correction_sticks_and_changes_what_follows(steps: list[tuple[int, int]]) -> None:
    driver = loop()
    state = shown(driver)
    before = run(driver, state)
    _, _, answered = driver.add_new_points_or_box(state, 6, "one", points=[[30, 8]], labels=[0])
    assert not torch.equal(answered[0], before[6][0])
    assert state.stale_frames() == list(range(7, 12))
    steps.clear()
    after = run(driver, state)
    assert sorted({frame for frame, _ in steps}) == list(range(7, 12))
    assert {objects for _, objects in steps} == {1}
    assert torch.equal(after[6], answered)
    changed = differing(before, after)
    assert changed[0] == 6
    assert set(changed) <= set(range(6, 12))
    assert len(changed) > 3
    assert differing(before, after, obj=1) == []
    assert state.stale_frames() == []
    assert differing(after, run(driver, state)) == []  # nor is it tracked over later
    backwards = run(driver, state, 11, reverse=True)
    assert torch.equal(backwards[6][0], answered[0])


def test_upstream_loses_the_correction() -> None:
    driver = loop(corrections="upstream")
    state = shown(driver)
    before = run(driver, state)
    driver.add_new_points_or_box(state, 6, "one", points=[[30, 8]], labels=[0])
    driver.add_new_points_or_box(state, 0, "one", points=[[30, 8]], labels=[0])
    assert differing(before, run(driver, state)) == []


def test_a_correction_of_a_prompted_frame_takes_its_place() -> None:
    driver = predictor()
    state = shown(driver)
    before = run(driver, state)
    _, _, answered = driver.add_new_points_or_box(state, 0, "one", points=[[30, 8]], labels=[0])
    after = run(driver, state)
    assert torch.equal(after[0], answered)
    assert not torch.equal(after[0], before[0])
    assert list(state.tracks["one"].outputs["cond_frame_outputs"]) == [0]


def test_corrected_frames_may_become_prompted_ones() -> None:
    driver = loop(add_all_frames_to_correct_as_cond=True)
    state = shown(driver)
    before = run(driver, state)
    driver.add_new_points_or_box(state, 6, "one", points=[[30, 8]], labels=[0])
    after = run(driver, state)
    assert min(differing(before, after)) < 6  # all frames read it, earlier ones too
    assert sorted(state.tracks["one"].outputs["cond_frame_outputs"]) == [0, 6]


def test_a_correction_that_is_taken_back_is_tracked_over() -> None:
    driver = loop()
    state = shown(driver)
    before = run(driver, state)
    driver.add_new_points_or_box(state, 6, "one", points=[[30, 8]], labels=[0])
    run(driver, state)
    driver.clear_all_prompts_in_frame(state, 6, "one")
    assert differing(before, run(driver, state)) == []


def test_memory_near_prompts_can_be_dropped() -> None:
    plain, clearing = loop(), loop(clear_non_cond_mem_around_input=True)
    states = [shown(plain), shown(clearing)]
    one, other = run(plain, states[0]), run(clearing, states[1])
    assert differing(one, other, obj=0) == []  # nothing lay near its prompt when it was passed
    assert min(differing(one, other, obj=2)) == 4
    for driver, state in zip((plain, clearing), states, strict=True):
        driver.add_new_points_or_box(state, 11, 2, points=[[30, 8]], labels=[1])
    run(clearing, states[1], 11)
    held = states[1].tracks[2].outputs["non_cond_frame_outputs"]
    assert [frame for frame in held if frame > 3] == [11]  # what was said last stays


def test_each_pixel_can_be_remembered_for_one_object() -> None:
    driver = predictor()
    plain = run(driver, shown(driver))
    MODEL.non_overlap_masks_for_mem_enc = True
    try:
        apart = run(driver, shown(driver))
        alone = loop()
        one_by_one = run(alone, shown(alone))
    finally:
        MODEL.non_overlap_masks_for_mem_enc = False
    assert len(differing(plain, apart)) > 5
    for frame, masks in apart.items():
        assert float((masks - one_by_one[frame]).abs().max()) < 1e-2


def test_each_pixel_can_be_given_to_one_object() -> None:
    driver = predictor(non_overlap_masks=True)
    for masks in run(driver, shown(driver)).values():
        assert int((masks > 0).sum(0).max()) <= 1


def test_a_video_of_one_frame_can_be_corrected() -> None:
    driver = predictor()
    state = driver.init_state(frames(1))
    driver.add_new_points_or_box(state, 0, 1, points=[[20, 20]], labels=[1])
    run(driver, state)
    _, _, masks = driver.add_new_points_or_box(state, 0, 1, points=[[30, 8]], labels=[0])
    assert masks.isfinite().all()
    assert torch.equal(run(driver, state)[0], masks)


REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("add_new_points_or_box", (0, "new"), {}, "points"),
    ("add_new_points_or_box", (0, "new"), {"points": [[1, 2]]}, "together"),
    ("add_new_points_or_box", (0, "new"), {"points": [[1, 2]], "labels": [1, 0]}, "shapes"),
    ("add_new_points_or_box", (0, "new"), {"points": [[1, 2]], "labels": [0.5]}, "labels"),
    ("add_new_points_or_box", (0, "new"), {"points": [[1, float("nan")]], "labels": [1]}, "NaN"),
    ("add_new_points_or_box", (0, "new"), {"box": [[1, 2, 3, 4], [1, 2, 3, 4]]}, "one box"),
    (
        "add_new_points_or_box",
        (0, "new"),
        {"box": [1, 2, 3, 4], "clear_old_points": False},
        "clear_old_points",
    ),
    ("add_new_points_or_box", (-1, "new"), {"box": [1, 2, 3, 4]}, "frame_idx=-1"),
    ("add_new_points_or_box", (12, "new"), {"box": [1, 2, 3, 4]}, "0 to 11"),
    ("add_new_points_or_box", (0, []), {"box": [1, 2, 3, 4]}, "hashable"),
    ("add_new_mask", (0, "new", np.zeros((1, 4, 4))), {}, "one object"),
    ("add_new_mask", (0, "new", torch.full((4, 4), 255.0)), {}, "from 0 to 1"),
    ("clear_all_prompts_in_frame", (0, "new"), {}, "unknown"),
    ("propagate_in_video", (0, 1.5), {}, "max_frame_num_to_track=1.5"),
]


@pytest.mark.parametrize(("method", "args", "kwargs", "message"), REFUSED)
def test_what_is_refused_changes_nothing(method: str, args: Any, kwargs: Any, message: str) -> None:
    driver = predictor()
    state = driver.init_state(frames())
    driver.add_new_points_or_box(state, 0, 1, points=[[20, 20]], labels=[1])
    with pytest.raises(ValueError, match=message):
        getattr(driver, method)(state, *args, **kwargs)
    assert state.obj_ids == [1]
    assert list(state.tracks[1].points) == [0]
    assert len(run(driver, state)) == 12


def test_tracking_without_objects_is_refused_at_the_call() -> None:
    driver = predictor()
    state = driver.init_state(frames())
    with pytest.raises(RuntimeError, match="no object"):
        driver.propagate_in_video(state)
    driver.add_new_points_or_box(state, 0, "cat", points=[[20, 20]], labels=[1])
    driver.clear_all_prompts_in_frame(state, 0, "cat")
    with pytest.raises(RuntimeError, match="'cat'"):
        driver.propagate_in_video(state)
    driver.add_new_points_or_box(state, 2, "cat", points=[[20, 20]], labels=[1])
    with pytest.raises(ValueError, match="start_frame_idx=99"):
        driver.propagate_in_video(state, 99)


def test_objects_go_and_come_back_at_the_end() -> None:
    driver = loop()
    state = shown(driver)
    before = run(driver, state)
    ids, updated = driver.remove_object(state, "one")
    assert ids == state.obj_ids == [2, 3]
    assert [(frame, tuple(masks.shape)) for frame, masks in updated] == [(0, (2, 1, *SIZE))]
    assert torch.equal(updated[0][1][0], before[0][1])
    driver.add_new_points_or_box(state, 0, "one", points=[[20, 20]], labels=[1])
    assert state.obj_ids == [2, 3, "one"]
    after = run(driver, state)
    assert all(torch.equal(after[frame][[2, 0, 1]], before[frame]) for frame in before)
    assert driver.remove_object(state, "nobody") == ([2, 3, "one"], [])
    with pytest.raises(RuntimeError, match="nobody"):
        driver.remove_object(state, "nobody", strict=True)
    driver.reset_state(state)
    driver.add_new_points_or_box(state, 0, "one", points=[[20, 20]], labels=[1])
    assert differing({f: m[2:] for f, m in after.items()}, run(driver, state)) == []


def test_how_many_frames_and_from_where() -> None:
    driver = predictor()
    state = shown(driver)
    assert list(run(driver, state, 3, 4)) == [3, 4, 5, 6, 7]
    assert list(run(driver, state, 3, reverse=True)) == [3, 2, 1, 0]
    assert list(run(driver, state, reverse=True)) == []
    assert list(run(driver, state, 3, 0)) == [3]
    assert list(run(driver, state, 3, -1)) == []


def test_breaking_off_and_going_on_changes_nothing() -> None:
    driver = loop()
    whole = run(driver, shown(driver))
    state = shown(driver)
    found = {}
    for frame, _, masks in driver.propagate_in_video(state):
        found[frame] = masks
        if frame == 4:
            break
    found |= run(driver, state, 5)
    assert differing(whole, found) == []


def test_metas_keys() -> None:
    driver = predictor()
    state = shown(driver)
    run(driver, state, 0, 1)
    assert state["num_frames"] == 12
    assert (state["video_height"], state["video_width"]) == SIZE
    assert state["obj_ids"] == ["one", 2, 3]
    assert state["obj_id_to_idx"] == {"one": 0, 2: 1, 3: 2}
    assert state["obj_idx_to_id"][2] == 3
    assert state["images"][1].shape == (3, 64, 64)
    assert len(state["images"]) == 12
    assert state["frames_tracked_per_obj"][0] == {0: {"reverse": False}, 1: {"reverse": False}}
    assert list(state["point_inputs_per_obj"][2]) == [3]
    assert state["mask_inputs_per_obj"][0] == {}
    assert list(state["output_dict_per_obj"][0]["non_cond_frame_outputs"]) == [1]
    assert "num_frames" in state
    with pytest.raises(KeyError, match="keys are"):
        state["frames"]


def test_scores_can_be_asked_for() -> None:
    driver = predictor()
    state = shown(driver)
    found = run(driver, state)
    for frame, masks in found.items():
        scores = state.object_scores(frame)
        assert list(scores) == ["one", 2, 3]
        assert [score > 0 for score in scores.values()] == [not missing for missing in absent(masks)]


@pytest.mark.parametrize(
    "options", [{"corrections": "vanish"}, {"history": "none"}, {"memory_dtype": torch.int8}]
)
def test_other_policies_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        predictor(**options)


def test_a_model_that_cannot_track_is_refused() -> None:
    with pytest.raises(ValueError, match="SAMModel, which cannot track"):
        VideoPredictor(small_models.sam())


def test_half_precision_tracks() -> None:
    model = small_models.tracker().to(torch.bfloat16)
    driver = VideoPredictor(model)
    for masks in run(driver, shown(driver, frames(4))).values():
        assert masks.dtype == torch.float32
        assert masks.isfinite().all()
