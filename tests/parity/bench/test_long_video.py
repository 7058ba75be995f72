"""The memory of a long video: what is measured, and what is told of it."""

import pytest
import torch

from parity.bench import long_video


def test_a_few_frames_are_tracked_and_their_memory_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--size", "64", "--frames", "4", "--after", "2", "--objects", "2", "--most", "1000"]
    assert long_video.main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sam2.1_hiera_tiny at 64, 2 objects, 4 frames of a stream, one thread")
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"after frame {frame:5}" for frame in range(4)]
    assert all(float(line.split()[3]) > 50 for line in lines[1:-1])
    assert lines[-1].startswith("from frame 2 to 3: ")


def test_what_is_allocated_is_what_tensors_take() -> None:
    before = long_video.allocated()
    if before is None:
        pytest.skip("the allocator is not glibc's")
    large, small = torch.ones(20_000_000), torch.ones(500_000)
    after = long_video.allocated()
    assert after is not None
    assert 82 <= after - before < 83
    del large, small


@pytest.mark.parametrize(("step", "status"), [(0.0, 0), (0.02, 0), (0.06, 1)])
def test_what_grows_is_told_by_the_status(
    step: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Up and down by 40 MB from frame to frame, as large models do, and growing all the time by `step`.
    held = [900.0 + 40 * (frame % 2) + step * frame for frame in range(300)]
    monkeypatch.setattr(long_video, "track", lambda *args: iter(held))
    assert long_video.main(["--size", "64", "--frames", "300", "--after", "200"]) == status
    assert f"from frame 200 to 299: {99 * step:+.1f} MB, highest" in capsys.readouterr().out


def test_a_frame_behind_the_last_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        long_video.main(["--frames", "100"])
    assert "--after 200 must be a frame before the last of 100" in capsys.readouterr().err
