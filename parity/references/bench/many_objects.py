"""Many objects in one pass beside Meta's loop over them: time, memory and masks of both predictors of videos.

    .references/bin/python -m parity.references.bench.many_objects --size 1024 --objects 16 --frames 3

Each side is a process of its own, with one thread, the same filled weights and the same clicks on the same photographs.
Memory is the highest that the process had, beyond what it had with the model loaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.bench.memory import measured
from parity.execution import fill, pictures
from parity.references.hosts.driver import filled

_VARIANT = "sam2.1_hiera_tiny"
_SIDES = {"meta": "Meta's loop", "loop": "our loop", "ours": "ours, one pass"}


def main() -> int:
    """Run all sides, one after the other, and print the table."""
    options = _options()
    if options.side:
        _child(options)
        return 0
    found: dict[str, tuple[dict[str, Any], np.ndarray]] = {}
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        for side in options.sides.split(","):
            file = Path(folder) / f"{side}.npy"
            told = subprocess.run(
                [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--side", side, "--out", str(file)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[side] = json.loads(told.stdout.splitlines()[-1]), np.load(file)
    _table(options, found)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=1024, help="side of the model's images")
    parser.add_argument("--objects", type=int, default=16)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--sides", default="meta,ours", help=f"of {', '.join(_SIDES)}, with commas")
    parser.add_argument("--side", choices=tuple(_SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    predictor = _predictor(options.side, options.size)
    frames = _clip(options.frames)
    height, width = frames.shape[1:3]
    places = fill.uniform("places of objects", (options.objects, 2), 0.1, 0.9) * [width, height]
    logits: list[np.ndarray] = []
    times: list[float] = []

    def run() -> None:
        state = predictor.init_state(frames)
        for number, place in enumerate(places):
            predictor.add_new_points_or_box(state, 0, number, points=[place], labels=[1])
        tracked = predictor.propagate_in_video(state)
        for _ in range(options.frames):
            started = time.process_time()
            _, _, masks = next(tracked)
            times.append(time.process_time() - started)
            logits.append(masks[:, 0].numpy(force=True).copy())

    told = measured(run)
    np.save(options.out, np.stack(logits))
    print(json.dumps({**told, "tracked": times[1:]}))


def _predictor(side: str, size: int) -> Any:
    if side == "meta":
        from parity.references.meta.library import library as meta

        return meta().function("SAM2VideoPredictor")(filled(meta().model(_VARIANT, size, {})))
    from parity.run.samblocks_library import library as own
    from samblocks.predict import VideoPredictor

    return VideoPredictor(filled(own().model(_VARIANT, size, {})), batch_objects=side == "ours")


def _clip(frames: int) -> np.ndarray:
    """Photographs of a room, in turn."""
    seen = [pictures.read(file) for file in pictures.FRAMES]
    return np.stack([seen[number % len(seen)] for number in range(frames)])


def _table(options: argparse.Namespace, found: dict[str, tuple[dict[str, Any], np.ndarray]]) -> None:
    print(f"{_VARIANT} at {options.size}, {options.objects} objects, {options.frames} frames, one thread")
    for side, (told, _) in found.items():
        frames = ", ".join(f"{seconds:.2f}" for seconds in told["tracked"])
        print(
            f"{_SIDES[side]}: {told['processor']:.1f} s of processor time, a tracked frame {frames} s; "
            f"peak memory {told['peak'] / 1e6:.0f} MB"
        )
    base, truth = next(iter(found.items()))[0], next(iter(found.values()))[1]
    shares = [float((mask > 0).mean()) for mask in truth.reshape(-1, *truth.shape[-2:])]
    mixed = sum(0.05 < share < 0.95 for share in shares)
    print(f"{mixed} of {len(shares)} masks have 5 to 95 % foreground")
    for side, (_, logits) in found.items():
        if side == base:
            continue
        for number, (mine, other) in enumerate(zip(logits, truth, strict=True)):
            error, flips = np.abs(mine - other), (mine > 0) != (other > 0)
            beyond = int((flips & (np.abs(other) > error.max())).sum())
            print(
                f"{_SIDES[side]} beside {_SIDES[base]}, frame {number}: logits within {error.max():.1e} of "
                f"{np.abs(other).max():.3g}, {int(flips.sum())} of {flips.size} pixels flip, {beyond} beyond that error"
            )


if __name__ == "__main__":
    raise SystemExit(main())
