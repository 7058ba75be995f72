"""Flat memory: what the window keeps, what comes back when it is needed, and streams without an end."""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import pytest
import small_models
import torch
from test_video import MODEL, differing, frames, loop, run
from torch import Tensor

from parity.execution import fill
from samblocks.predict import VideoPredictor
from samblocks.predict.video.video_state import VideoState

LONG = 40


def _held(state: VideoState) -> int:
    """Bytes of all tensors that a state holds, and of the frames behind it."""
    tensors = [
        value
        for track in state.tracks.values()
        for part in (*track.outputs.values(), *track.pending.values())
        for output in part.values()
        for value in output.values()
        if isinstance(value, Tensor)
    ]
    tensors += [level for found in state._features.values() for levels in found.values() for level in levels]
    pixels = sum(held.nbytes for held in getattr(state.clip, "held", {}).values())
    return pixels + sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def camera(length: int | None = None) -> Iterator[np.ndarray]:
    def made(number: int) -> np.ndarray:
        coarse = fill.integers(f"frame {number // 2}", (5, 7, 3), 0, 256).astype(np.uint8)
        return coarse.repeat(8, axis=0).repeat(8, axis=1)

    return (made(number) for number in (count() if length is None else range(length)))


def _correct(driver: VideoPredictor, state: VideoState) -> dict[int, Tensor]:
    _, _, answered = driver.add_new_points_or_box(state, 22, "one", points=[[30, 8]], labels=[0])
    return {-1: answered, **run(driver, state, 20)}


def _start_between(driver: VideoPredictor, state: VideoState) -> dict[int, Tensor]:
    return run(driver, state, 25, 2)


def _backwards(driver: VideoPredictor, state: VideoState) -> dict[int, Tensor]:
    return run(driver, state, 3, reverse=True)


def _prompt_a_new_object(driver: VideoPredictor, state: VideoState) -> dict[int, Tensor]:
    _, _, answered = driver.add_new_points_or_box(state, 24, "late", points=[[30, 8]], labels=[1])
    found = {-1: answered, **run(driver, state, 24, 2)}
    driver.remove_object(state, "late")
    return found


def _correct_twice(driver: VideoPredictor, state: VideoState) -> dict[int, Tensor]:
    driver.add_new_points_or_box(state, 33, "one", points=[[10, 8]], labels=[1])
    _, _, answered = driver.add_new_points_or_box(state, 28, 2, points=[[30, 30]], labels=[1])
    return {-1: answered, **run(driver, state, 28)}


def test_the_window_gives_the_same_masks_and_what_was_dropped_comes_back() -> None:
    full, window = loop(history="all"), loop(history="window")
    source = frames(LONG)
    states = [full.init_state(source), window.init_state(source)]
    found = []
    for driver, state in zip((full, window), states, strict=True):
        driver.add_new_points_or_box(state, 0, "one", points=[[20, 20]], labels=[1])
        driver.add_new_points_or_box(state, 3, 2, box=[10, 10, 40, 36])
        found.append(run(driver, state))
    assert differing(*found) == []
    outputs = states[1].tracks["one"].outputs["non_cond_frame_outputs"]
    whole = sorted(frame for frame, output in outputs.items() if output["pred_masks"] is not None)
    assert whole == [*range(1, 7), *range(LONG - 7, LONG)]
    assert sorted(outputs) == [*range(1, 16), *range(LONG - 16, LONG)]
    for change in (_start_between, _correct, _prompt_a_new_object, _correct_twice, _backwards):
        one, other = change(full, states[0]), change(window, states[1])
        assert differing(one, other) == [], change.__name__
    assert _held(states[1]) < _held(states[0])


@pytest.mark.parametrize("length", [1, 8, 20])
@pytest.mark.parametrize("variant", ["sam2_hiera_tiny", "sam2.1_hiera_tiny"])
def test_a_stream_is_the_video(variant: str, length: int) -> None:
    driver = VideoPredictor(small_models.tracker(variant, present=-1.0), batch_objects=False)
    found = []
    for source in (frames(length), camera(length)):
        state = driver.init_state(source)
        driver.add_new_points_or_box(state, 0, 1, points=[[20, 20]], labels=[1])
        found.append(run(driver, state))
        assert state.num_frames == length
    assert differing(*found) == []


def test_a_stream_is_read_ahead_only_until_its_length_does_not_matter() -> None:
    taken = []

    def watched() -> Iterator[np.ndarray]:
        for number, picture in enumerate(camera()):
            taken.append(number)
            yield picture

    driver = loop()
    state = driver.init_state(watched())
    driver.add_new_points_or_box(state, 0, 1, points=[[20, 20]], labels=[1])
    assert len(taken) == 1
    for frame, _, _ in islice(driver.propagate_in_video(state), 30):
        assert len(taken) == (1 if frame == 0 else max(16, frame + 1))
    assert state.num_frames is None


def test_memory_does_not_grow_with_an_endless_stream() -> None:
    driver = VideoPredictor(MODEL)
    state = driver.init_state(camera())
    for obj_id in range(3):
        driver.add_new_points_or_box(state, 0, obj_id, points=[[10 + 10 * obj_id, 20]], labels=[1])
    held = {}
    for frame, _, _ in driver.propagate_in_video(state, max_frame_num_to_track=70):
        held[frame] = _held(state)
    assert held[70] == held[40]
    assert len(state.tracks[0].tracked.runs) == 1


def test_objects_come_and_go_while_a_stream_runs() -> None:
    driver = loop()
    state = driver.init_state(camera(40))
    driver.add_new_points_or_box(state, 0, "one", points=[[20, 20]], labels=[1])
    seen = {}
    start = None
    while start is None or start < 40:
        for frame, ids, masks in driver.propagate_in_video(state, start):
            seen[frame] = (ids, masks)
            if frame == 20 and "two" not in ids:
                driver.add_new_points_or_box(state, 20, "two", points=[[30, 8]], labels=[1])
                break
            if frame == 30 and "one" in ids:
                driver.remove_object(state, "one")
                start = 31
                break
        else:
            break
        if "one" in state.obj_ids:
            start = None  # where the stream stands
    assert list(seen) == list(range(40))
    assert seen[19][0] == ["one"]
    assert seen[20][0] == ["one", "two"]
    assert seen[39][0] == ["two"]

    whole = loop().init_state(frames(40))
    other = loop()
    other.add_new_points_or_box(whole, 0, "one", points=[[20, 20]], labels=[1])
    one = run(other, whole)
    assert all(torch.equal(masks[0], one[frame][0]) for frame, (_, masks) in seen.items() if frame < 31)


def test_what_has_passed_is_an_error_that_names_the_way_out() -> None:
    driver = loop()
    state = driver.init_state(camera())
    driver.add_new_points_or_box(state, 0, 1, points=[[20, 20]], labels=[1])
    for _ in islice(driver.propagate_in_video(state), 45):
        pass
    with pytest.raises(ValueError, match=r"frame 20 .*history='window'.*history='all'"):
        driver.add_new_points_or_box(state, 20, 1, points=[[20, 20]], labels=[1])
    with pytest.raises(ValueError, match=r"frame 20 .*history='all'"):
        driver.add_new_points_or_box(state, 20, 2, points=[[20, 20]], labels=[1])
    assert state.obj_ids == [1]
    with pytest.raises(ValueError, match=r"history='all'"):
        next(driver.propagate_in_video(state, 20))
    assert next(driver.propagate_in_video(state, 45))[0] == 45


def test_a_stream_can_be_kept() -> None:
    driver, other = loop(history="all"), loop()
    states = [driver.init_state(camera(20)), other.init_state(frames(20))]
    for one, state in zip((driver, other), states, strict=True):
        one.add_new_points_or_box(state, 0, 1, points=[[20, 20]], labels=[1])
        run(one, state)
        one.add_new_points_or_box(state, 5, 1, points=[[30, 8]], labels=[0])
    assert differing(run(driver, states[0], 0), run(other, states[1])) == []
    assert differing(run(driver, states[0], 9, reverse=True), run(other, states[1], 9, reverse=True)) == []


def test_a_volume_is_tracked_from_the_middle_both_ways() -> None:
    volume = np.stack([picture[..., 0] for picture in frames(9)])
    driver = loop()
    found = []
    for source in (volume, np.stack([volume] * 3, axis=-1)):
        state = driver.init_state(source)
        driver.add_new_mask(state, 4, "organ", volume[4] > 128)
        found.append(run(driver, state) | run(driver, state, reverse=True))
        assert sorted(found[-1]) == list(range(9))
    assert differing(*found) == []
