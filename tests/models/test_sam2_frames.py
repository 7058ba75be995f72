"""Which frames are remembered: against plain listings, and in what the memory attention is given."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samblocks.models import SAM2Model
from samblocks.models.sam2.frames import memory_frames, pointer_frames
from samblocks.models.sam2.memory_bank import pointers_as_tokens


def listed_memory(current: int, size: int, stride: int, reverse: bool) -> list[int]:
    """The neighbour, then every multiple of the stride two or more frames away, until the memory is full."""
    if size < 2:
        return []
    ahead = range(current + 1, current + 200) if reverse else range(current - 1, current - 200, -1)
    found = [ahead[0]]
    for frame in ahead[1:]:
        if frame % stride == 0 and len(found) < size - 1:
            found.append(frame)
    return found[::-1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 7])
def test_memory_frames_against_a_listing(size: int, stride: int, reverse: bool) -> None:
    for current in range(14):
        found = memory_frames(current, size, stride=stride, reverse=reverse)
        assert [frame for frame, _ in found] == listed_memory(current, size, stride, reverse)
        # Row 0 is the neighbour's; the last row, size - 1, is left to the frames with prompts.
        assert [row for _, row in found] == list(range(size - 1))[::-1]


def listed_pointers(
    current: int,
    selected: list[int],
    others: list[int],
    *,
    limit: int,
    num_frames: int,
    reverse: bool,
    past_only: bool,
    signed: bool,
) -> list[tuple[int, int, bool]]:
    prompted = []
    for frame in selected:
        ahead = frame < current if reverse else frame > current
        distance = abs(frame - current)
        if not (ahead and past_only):
            prompted.append((frame, -distance if ahead and signed else distance, True))
    passed = [frame for frame in others if (frame > current if reverse else frame < current)]
    near = sorted(
        (frame for frame in passed if abs(frame - current) < limit and 0 <= frame < num_frames),
        key=lambda frame: abs(frame - current),
    )
    return prompted + [(frame, abs(frame - current), False) for frame in near]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("past_only", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 16])
def test_pointer_frames_against_a_listing(limit: int, signed: bool, past_only: bool, reverse: bool) -> None:
    selected, others = [9, 0, 4], [2, 3, 5, 7, 8, 11, 13]
    for num_frames in (9, 14):
        for current in range(num_frames):
            options: dict[str, Any] = {
                "limit": limit,
                "num_frames": num_frames,
                "reverse": reverse,
                "past_only": past_only,
                "signed": signed,
            }
            found = [tuple(pointer) for pointer in pointer_frames(current, selected, others, **options)]
            assert found == listed_pointers(current, selected, others, **options)


def test_a_stride_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="memory_temporal_stride_for_eval=0: must be at least 1"):
        memory_frames(3, 7, stride=0)


class Recorder(nn.Module):
    """In memory attention's place: keeps what it is given and hands the frame back."""

    d_model = 32

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}

    def forward(self, **given: Any) -> Tensor:
        self.given = given
        current: Tensor = given["curr"]
        return current


def marked(frame: int) -> dict[str, Any]:
    """An output whose memory is 100 + frame everywhere, and whose pointer is 1000 + frame."""
    return {
        "maskmem_features": torch.full((2, 8, 4, 4), 100.0 + frame),
        "maskmem_pos_enc": [torch.full((2, 8, 4, 4), float(frame))],
        "obj_ptr": torch.full((2, 32), 1000.0 + frame),
    }


def read(
    model: SAM2Model,
    current: int,
    prompted: list[int],
    tracked: list[int],
    *,
    frames: int = 40,
    reverse: bool = False,
) -> tuple[list[int], list[int], Recorder]:
    """Frames whose memories, and whose pointers, are given to the memory attention."""
    recorder = Recorder()
    model.memory_attention = recorder
    model._prepare_memory_conditioned_features(
        frame_idx=current,
        is_init_cond_frame=False,
        current_vision_feats=[torch.zeros(16, 2, 32)],
        current_vision_pos_embeds=[torch.zeros(16, 2, 32)],
        feat_sizes=[(4, 4)],
        output_dict={
            "cond_frame_outputs": {frame: marked(frame) for frame in prompted},
            "non_cond_frame_outputs": {frame: marked(frame) for frame in tracked},
        },
        num_frames=frames,
        track_in_reverse=reverse,
    )
    values = recorder.given["memory"][:, 0, 0].tolist()
    maps = [int(value) - 100 for value in values if value < 1000][::16]
    pointers = [int(value) - 1000 for value in values if value >= 1000][::4]
    assert recorder.given["num_obj_ptr_tokens"] == 4 * len(pointers)
    assert len(values) == 16 * len(maps) + 4 * len(pointers)
    assert recorder.given["memory_pos"].shape == recorder.given["memory"].shape
    return maps, pointers, recorder


EVERY = list(range(40))


def without(*frames: int) -> list[int]:
    return [frame for frame in EVERY if frame not in frames]


def test_memory_of_a_long_run(sam2: Callable[..., SAM2Model]) -> None:
    maps, pointers, _ = read(sam2(), 30, prompted=[0], tracked=without(0, *range(30, 40)))
    assert maps == [0, 24, 25, 26, 27, 28, 29]
    assert pointers == [0, *range(29, 14, -1)]


def test_memory_in_reverse(sam2: Callable[..., SAM2Model]) -> None:
    maps, pointers, _ = read(sam2(), 10, prompted=[39], tracked=list(range(11, 39)), reverse=True)
    assert maps == [39, 16, 15, 14, 13, 12, 11]
    assert pointers == [39, *range(11, 26)]


def test_frames_that_are_not_there_are_skipped(sam2: Callable[..., SAM2Model]) -> None:
    maps, pointers, _ = read(sam2(), 8, prompted=[0], tracked=[3, 7], frames=12)
    assert maps == [0, 3, 7]
    assert pointers == [0, 7, 3]


def test_prompted_frames_that_are_not_selected_count_as_neighbours(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2(max_cond_frames_in_attn=2)
    maps, pointers, _ = read(model, 8, prompted=[1, 4, 7, 12], tracked=[2, 3, 5, 6], frames=20)
    # 7 and 12 are the nearest before and after; 4 fills its place among the last six frames, 1 is too far.
    assert maps == [7, 12, 2, 3, 4, 5, 6]
    assert pointers == [7, 6, 5, 4, 3, 2, 1]


def test_the_tracked_output_of_an_unselected_frame_wins(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2(max_cond_frames_in_attn=2)
    recorder = Recorder()
    model.memory_attention = recorder
    outputs = {
        "cond_frame_outputs": {0: marked(0), 3: marked(3), 4: marked(4)},
        "non_cond_frame_outputs": {0: marked(50), 3: marked(53), 4: marked(54)},
    }
    zeros = [torch.zeros(16, 2, 32)]
    model._prepare_memory_conditioned_features(5, False, zeros, zeros, [(4, 4)], outputs, 9)
    values = recorder.given["memory"][:, 0, 0].tolist()
    # 4 and 3 are selected, and their tracked outputs are neighbours all the same; of 0 only the tracked one.
    assert [int(value) - 100 for value in values if value < 1000][::16] == [4, 3, 50, 53, 54]
    assert [int(value) - 1000 for value in values if value >= 1000][::4] == [4, 3, 54, 53, 50]


@pytest.mark.parametrize(
    ("stride", "expected"), [(2, [0, 8, 10, 11]), (3, [0, 6, 9, 11]), (5, [0, 5, 10, 11])]
)
def test_stride_in_evaluation_only(sam2: Callable[..., SAM2Model], stride: int, expected: list[int]) -> None:
    model = sam2(memory_temporal_stride_for_eval=stride, num_maskmem=4)
    assert read(model, 12, prompted=[0], tracked=list(range(1, 12)))[0] == expected
    assert read(model.train(), 12, prompted=[0], tracked=list(range(1, 12)))[0] == [0, 9, 10, 11]


def test_stride_in_reverse(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2(memory_temporal_stride_for_eval=3, num_maskmem=4)
    maps, _, _ = read(model, 10, prompted=[30], tracked=list(range(11, 30)), reverse=True)
    assert maps == [30, 15, 12, 11]


def test_pointers_of_prompts_ahead(sam2: Callable[..., SAM2Model]) -> None:
    given: dict[str, Any] = {"prompted": [0, 20], "tracked": [9], "frames": 30}
    assert read(sam2(), 10, **given)[1] == [0, 9]
    assert read(sam2(only_obj_ptrs_in_the_past_for_eval=False), 10, **given)[1] == [0, 20, 9]
    assert read(sam2().train(), 10, **given)[1] == [0, 20, 9]
    assert read(sam2(), 10, **given, reverse=True)[1] == [20]


@pytest.mark.parametrize(("limit", "expected"), [(1, [0]), (2, [0, 9]), (4, [0, 9, 8, 7])])
def test_reach_of_pointers(sam2: Callable[..., SAM2Model], limit: int, expected: list[int]) -> None:
    model = sam2(max_obj_ptrs_in_encoder=limit)
    assert read(model, 10, prompted=[0], tracked=list(range(1, 10)))[1] == expected


def test_no_pointers_when_they_are_off(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2(use_obj_ptrs_in_encoder=False, fixed_no_obj_ptr=False)
    maps, pointers, _ = read(model, 3, prompted=[0], tracked=[1, 2])
    assert (maps, pointers) == ([0, 1, 2], [])


def test_places_of_memories_in_time(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2(num_maskmem=4)
    _, _, recorder = read(model, 9, prompted=[0, 20], tracked=[6, 7, 8])
    places = recorder.given["memory_pos"][: 5 * 16 : 16, 0]
    table = model.maskmem_tpos_enc[:, 0, 0]
    rows = [(0, 3), (20, 3), (6, 2), (7, 1), (8, 0)]
    assert torch.equal(places, torch.stack([frame + table[row] for frame, row in rows]))


def sine(distance: float, dim: int) -> list[float]:
    angles = [torch.tensor(distance / 10000 ** (2 * (i // 2) / (dim // 2))) for i in range(dim // 2)]
    return [float(angle.sin()) for angle in angles] + [float(angle.cos()) for angle in angles]


@pytest.mark.parametrize("signed", [True, False])
def test_places_of_pointers_in_time(sam2: Callable[..., SAM2Model], signed: bool) -> None:
    model = sam2(
        proj_tpos_enc_in_obj_ptrs=False,
        use_signed_tpos_enc_to_obj_ptrs=signed,
        only_obj_ptrs_in_the_past_for_eval=False,
    )
    _, pointers, recorder = read(model, 10, prompted=[0, 20], tracked=[7, 8], frames=30)
    assert pointers == [0, 20, 8, 7]
    encodings = recorder.given["memory_pos"][-16:, 1]
    distances = [10, -10 if signed else 10, 2, 3]
    expected = torch.tensor([sine(distance / 15, 8) for distance in distances]).repeat_interleave(4, dim=0)
    torch.testing.assert_close(encodings, expected)


def test_places_of_pointers_are_projected_or_left_out(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2()
    _, _, recorder = read(model, 10, prompted=[0], tracked=[], frames=5)
    expected = model.obj_ptr_tpos_proj(torch.tensor([sine(10 / 4, 32)]))
    torch.testing.assert_close(recorder.given["memory_pos"][-4:, 0], expected.expand(4, 8))
    model = sam2(add_tpos_enc_to_obj_ptrs=False, proj_tpos_enc_in_obj_ptrs=False)
    _, _, recorder = read(model, 10, prompted=[0], tracked=[])
    assert torch.equal(recorder.given["memory_pos"][-4:], torch.zeros(4, 2, 8))


def test_pointers_are_cut_into_tokens_in_order() -> None:
    pointers = torch.arange(2 * 3 * 32.0).reshape(2, 3, 32)
    tokens, places = pointers_as_tokens(pointers, torch.tensor([[1.0] * 8, [2.0] * 8]))
    assert tokens.shape == places.shape == (8, 3, 8)
    for pointer in range(2):
        for piece in range(4):
            expected = pointers[pointer, :, 8 * piece : 8 * piece + 8]
            assert torch.equal(tokens[4 * pointer + piece], expected)
    assert places[:, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("changes", [{}, {"proj_tpos_enc_in_obj_ptrs": False}])
def test_one_frame_or_one_pointer_divides_by_nothing(
    sam2: Callable[..., SAM2Model], changes: dict[str, Any]
) -> None:
    """Upstream divides distances by zero here and hides the NaN behind "no object"."""
    model = sam2(**changes)
    _, pointers, recorder = read(model, 0, prompted=[0], tracked=[], frames=1)
    assert pointers == [0]
    assert recorder.given["memory_pos"].isfinite().all()
    model = sam2(max_obj_ptrs_in_encoder=1, **changes)
    _, pointers, recorder = read(model, 6, prompted=[2], tracked=[5], frames=9)
    assert pointers == [2]
    assert recorder.given["memory_pos"].isfinite().all()


def test_nothing_to_track_from(sam2: Callable[..., SAM2Model]) -> None:
    with pytest.raises(ValueError, match="no frame with prompts, but frame 3 is to be tracked"):
        read(sam2(), 3, prompted=[], tracked=[1, 2])


def test_a_frame_without_its_memory_is_named(sam2: Callable[..., SAM2Model]) -> None:
    model = sam2()
    outputs = {
        "cond_frame_outputs": {2: {**marked(2), "maskmem_features": None}},
        "non_cond_frame_outputs": {},
    }
    zeros = [torch.zeros(16, 2, 32)]
    with pytest.raises(ValueError, match="frame 2 was stored without maskmem_features"):
        model._prepare_memory_conditioned_features(3, False, zeros, zeros, [(4, 4)], outputs, 9)
