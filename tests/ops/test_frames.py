"""The choice of conditioning frames against its rule, for every small case."""

from itertools import combinations, permutations

import pytest

from samblocks.ops.frames import select_closest_cond_frames


def by_rule(frame: int, keys: list[int], most: int) -> list[int]:
    chosen: list[int] = []
    before = [key for key in keys if key < frame]
    after = [key for key in keys if key >= frame]
    if before:
        chosen.append(sorted(before)[-1])
    if after:
        chosen.append(sorted(after)[0])
    while len(chosen) < most:
        rest = [key for key in keys if key not in chosen]
        nearest = min(abs(key - frame) for key in rest)
        chosen.append(next(key for key in rest if abs(key - frame) == nearest))
    return chosen


@pytest.mark.parametrize("frame", [0, 3, 4, 9])
def test_every_small_choice(frame: int) -> None:
    for size in (3, 4):
        for keys in combinations(range(0, 9, 1 if size == 3 else 2), size):
            outputs = {key: f"frame {key}" for key in keys}
            for most in range(2, size):
                chosen, others = select_closest_cond_frames(frame, outputs, most)
                assert list(chosen) == by_rule(frame, list(keys), most)
                assert list(others) == [key for key in keys if key not in chosen]
                assert {**chosen, **others} == outputs


def test_ties_go_by_the_order_of_the_frames() -> None:
    for order in permutations([1, 4, 6, 9]):
        chosen, _ = select_closest_cond_frames(5, dict.fromkeys(order), 3)
        first = next(key for key in order if key in (1, 9))
        assert list(chosen) == [4, 6, first]


def test_all_frames_are_taken_as_they_are() -> None:
    outputs = {3: "a", 1: "b"}
    for most in (-1, 2, 5):
        chosen, others = select_closest_cond_frames(2, outputs, most)
        assert chosen is outputs
        assert others == {}


@pytest.mark.parametrize("most", [0, 1, -2])
def test_too_few_are_refused(most: int) -> None:
    with pytest.raises(ValueError, match=f"max_cond_frame_num must be -1 or at least 2, got {most}"):
        select_closest_cond_frames(2, {1: "a", 3: "b"}, most)
