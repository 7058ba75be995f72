"""Follow what is in the middle of a camera's picture, frame by frame, in flat memory.

  pip install opencv-python
  python examples/track_camera.py --camera 0 --model sam2.1_hiera_tiny --side 512
  python examples/track_camera.py                  # without a camera: a moving disc, and fresh weights

An iterator of pictures is a video whose end nobody knows: no frame is read before it is tracked.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator

import numpy as np
import torch

import samblocks


def camera(number: int) -> Iterator[np.ndarray]:
    """Frames [H, W, 3] of a camera, red first, until it ends."""
    import cv2  # type: ignore[import-not-found]

    capture = cv2.VideoCapture(number)
    try:
        while (read := capture.read())[0]:
            yield read[1][..., ::-1]
    finally:
        capture.release()


def moving_disc() -> Iterator[np.ndarray]:
    """Frames of a disc that goes to the right, without an end."""
    down, across = np.mgrid[:120, :160]
    for step in itertools.count():
        disc = (down - 60) ** 2 + (across - 80 - 2 * (step % 20)) ** 2 < 25**2
        yield np.where(disc[..., None], (220, 160, 60), (30, 50, 70)).astype(np.uint8)


def main() -> list[int]:
    """Track; the area of the object on each frame, in pixels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--camera", type=int, help="its number; by default a moving disc")
    parser.add_argument("--model", help="a SAM 2, by file or name; by default fresh weights")
    parser.add_argument("--side", type=int, default=128, help="of the model's pictures (default: 128)")
    parser.add_argument("--frames", type=int, default=5, help="how many to follow")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.model or f"{folder}/fresh.pt"
        if arguments.model is None:
            samblocks.save(samblocks.build("sam2.1_hiera_tiny"), file)
        predictor = samblocks.VideoPredictor(samblocks.load(file, image_size=arguments.side, mmap=False))
    frames = moving_disc() if arguments.camera is None else camera(arguments.camera)
    first = next(frames)
    height, width = first.shape[:2]
    state = predictor.init_state(itertools.chain([first], itertools.islice(frames, arguments.frames - 1)))
    predictor.add_new_points_or_box(state, 0, "it", points=[[width / 2, height / 2]], labels=[1])
    areas = []
    for frame, _, masks in predictor.propagate_in_video(state):
        areas.append(int((masks > 0).sum()))
        there = "there" if state.object_scores(frame)["it"] > 0 else "gone"
        print(f"frame {frame}: {areas[-1]} of {height * width} pixels, {there}")
    return areas


if __name__ == "__main__":
    main()
