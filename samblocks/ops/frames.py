"""Which conditioning frames a memory looks at."""

from typing import TypeVar

Frame = TypeVar("Frame")


def select_closest_cond_frames(
    frame_idx: int, cond_frame_outputs: dict[int, Frame], max_cond_frame_num: int
) -> tuple[dict[int, Frame], dict[int, Frame]]:
    """Choose the conditioning frames nearest to a frame: one before it, one from it on, then by distance.

    Args:
        frame_idx: index of the frame that is being tracked.
        cond_frame_outputs: outputs of the conditioning frames, by frame index.
        max_cond_frame_num: how many may be chosen, at least 2; -1 for all.

    Returns:
        The chosen frames in the order in which they were chosen, and the others. If all are chosen the
        first is `cond_frame_outputs` itself.

    Raises:
        ValueError: if frames have to be left out and `max_cond_frame_num` is less than 2.

    Examples:
        >>> select_closest_cond_frames(5, {1: "a", 3: "b", 7: "c", 9: "d"}, 3)
        ({3: 'b', 7: 'c', 1: 'a'}, {9: 'd'})

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_utils.py
    """
    if max_cond_frame_num == -1 or len(cond_frame_outputs) <= max_cond_frame_num:
        return cond_frame_outputs, {}
    if max_cond_frame_num < 2:
        raise ValueError(f"max_cond_frame_num must be -1 or at least 2, got {max_cond_frame_num}")
    before = [index for index in cond_frame_outputs if index < frame_idx]
    from_here = [index for index in cond_frame_outputs if index >= frame_idx]
    chosen = [max(before)] if before else []
    if from_here:
        chosen.append(min(from_here))
    others = [index for index in cond_frame_outputs if index not in chosen]
    others.sort(key=lambda index: abs(index - frame_idx))
    chosen += others[: max_cond_frame_num - len(chosen)]
    selected = {index: cond_frame_outputs[index] for index in chosen}
    unselected = {index: out for index, out in cond_frame_outputs.items() if index not in selected}
    return selected, unselected
