"""Put samblocks inside Ultralytics' SAM 2, ask both for masks, and take it out again.

  pip install ultralytics
  python examples/swap_in_ultralytics.py                             # fresh weights, at a small size
  python examples/swap_in_ultralytics.py --weights sam2.1_t.pt --picture photo.jpg --size 1024

Ultralytics goes by a file's name: it must be one of its own, such as sam2.1_t.pt.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from ultralytics import SAM

import samblocks
from samblocks.swap.report import SwapReport


def picture() -> np.ndarray:
    """A bright disc before a dark, noisy background: [H, W, 3], blue first."""
    down, across = np.mgrid[:240, :320]
    disc = (down - 120) ** 2 + (across - 150) ** 2 < 60**2
    noise = np.random.default_rng(0).integers(0, 40, (240, 320, 3))
    return np.where(disc[..., None], (60, 160, 220), noise + np.array((70, 50, 30))).astype(np.uint8)


def main() -> tuple[torch.Tensor, torch.Tensor, SwapReport]:
    """Predict before and after the swap; both masks, and what was swapped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="a file of Ultralytics; by default fresh weights")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--size", type=int, default=256, help="of the model's input (default: 256)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or Path(folder, "sam2.1_t.pt")
        if arguments.weights is None:
            samblocks.save(samblocks.build("sam2.1_hiera_tiny"), weights, layout="ultralytics")
        shown = str(arguments.picture) if arguments.picture else picture()
        host = SAM(str(weights))

        def masks() -> torch.Tensor:
            ask = {"points": [[150, 120]], "labels": [1], "imgsz": arguments.size, "conf": 0.0}
            (found,) = host.predict(shown, **ask, verbose=False, save=False, device="cpu")
            return found.masks.data.clone()

        theirs = masks()
        with samblocks.swap_blocks(host.model) as report:
            print(report)
            ours = masks()
    print(
        f"{theirs.numel()} pixels, {int(theirs.sum())} of them in the mask; {int((ours != theirs).sum())} differ"
    )
    return theirs, ours, report


if __name__ == "__main__":
    main()
