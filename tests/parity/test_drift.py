"""`parity drift`: which frames a film's outputs hold, and what is said of them."""

import pytest
import torch

from parity.commands import drift
from parity.errors import UsageError


def _outputs(masks: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "00_add_new_points_or_box/frames": torch.tensor([0]),
        "01_propagate_in_video/frames": torch.tensor([4, 5]),
        "01_propagate_in_video/ids": torch.tensor([[1, 7, 0], [2, 7, 9]]),
        "01_propagate_in_video/masks": masks,
    }


def test_each_frame_has_its_own_objects_and_errors() -> None:
    truth = torch.ones(3, 1, 2, 2, dtype=torch.float64)
    upstream, ours = truth.float(), truth.float()
    upstream[1:] += 0.01
    ours[1:] += 0.02
    ours[2, 0, 0, 0] = -1.0
    found = list(drift.frames(_outputs(ours), _outputs(upstream), _outputs(truth)))
    assert [(frame.step, frame.number, frame.ids) for frame in found] == [("01", 4, [7]), ("01", 5, [7, 9])]
    assert found[0].errors == (0.0, 0.0)
    assert found[1].errors[1] == pytest.approx(0.01, rel=1e-4)
    assert [(frame.flips.flipped, frame.flips.unexplained) for frame in found] == [(0, 0), (1, 1)]
    told = list(drift.lines(found, "meta"))
    assert len(told) == 4
    assert told[-1].startswith("2 frames: 1 of 12 pixels flip")
    assert told[-1].endswith("on frame 5")


def test_what_is_no_film_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="films are SAM2Model/film_forward"):
        drift._film("SAM2Model/small_tracking")
