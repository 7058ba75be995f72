"""`samblocks segment IMAGE… --model NAME|FILE -o DIR|OUT.png`: masks of pictures, for clicks, boxes, or everything.

Clicks are one object together; each box is an object of its own. For each picture an overlay, the masks and a
description in JSON are written. Pictures are files that Pillow reads (pip install 'samblocks[images]'), or arrays in
.npy files, which need no Pillow.

  samblocks segment truck.jpg --model sam2.1_hiera_tiny --point 520,375 -o truck_mask.png
  samblocks segment truck.jpg --model sam_vit_b.pth --point 520,375 --point 80,90,0 --multimask -o out
  samblocks segment a.jpg b.jpg --model mobile_sam --box 75,275,1725,850 --format rle -o out
  samblocks segment *.jpg --model sam2.1_hiera_large --everything --device cuda --dtype bfloat16 -o out
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samblocks.errors import counted

if TYPE_CHECKING:
    from samblocks.predict.image import ImagePredictor
    from samblocks.predict.masks import Masks
    from samblocks.predict.pictures import Pixels

HELP = "find masks in pictures and write them, with an overlay"
DTYPES = ("float32", "bfloat16", "float16")
FORMATS = ("png", "rle", "geojson", "npz")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="pictures, or arrays in .npy files"
    )
    parser.add_argument("--model", required=True, metavar="NAME|FILE", help="as for samblocks.load")
    parser.add_argument(
        "--point",
        action="append",
        type=_point,
        default=[],
        metavar="X,Y[,LABEL]",
        help="a click in the picture's pixels; label 1, the default, is on the object, 0 on the background",
    )
    parser.add_argument(
        "--box", action="append", type=_box, default=[], metavar="X0,Y0,X1,Y1", help="a box around an object"
    )
    parser.add_argument(
        "--mask", type=Path, metavar="FILE", help="an earlier mask: a picture, or logits in a .npy file"
    )
    parser.add_argument("--multimask", action="store_true", help="three masks for each prompt")
    parser.add_argument("--everything", action="store_true", help="all masks, without a prompt")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="DIR|OUT.png",
        help="a folder, or the overlay's file",
    )
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the masks (default: png)")
    parser.add_argument(
        "--device", help="where the model runs; by default on CUDA where it is, else on the CPU"
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; by default float32")


def run(arguments: argparse.Namespace) -> int:
    """Segment each picture; what is done is kept if it is interrupted."""
    overlays = _overlay_files(arguments)
    import torch

    from samblocks.predict.image import ImagePredictor
    from samblocks.predict.results import write_results

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = None if arguments.dtype is None else getattr(torch, arguments.dtype)
    _say(f"loading {arguments.model}")
    predictor = ImagePredictor(arguments.model, device=device, dtype=dtype)
    facts = {
        "model": str(arguments.model),
        "everything": arguments.everything,
        "points": [list(point) for point in arguments.point],
        "boxes": [list(box) for box in arguments.box],
        "mask": None if arguments.mask is None else str(arguments.mask),
    }
    done = 0
    try:
        for image, file in overlays.items():
            _say(f"{done + 1}/{len(overlays)} {image}")
            picture = _read(image)
            masks = (
                _everything(predictor, picture, f"{done + 1}/{len(overlays)} {image}")
                if arguments.everything
                else _prompted(predictor, picture, arguments)
            )
            written = write_results(
                file,
                picture,
                masks,
                {"image": str(image), **facts},
                format=arguments.format,
                sheet=arguments.everything,
            )
            done += 1
            _say("")
            print(
                f"{image}: {len(masks)} mask{'' if len(masks) == 1 else 's'} -> {', '.join(map(str, written[-2:]))}"
            )
    except KeyboardInterrupt:
        _say("")
        print(f"samblocks: {done} of {len(overlays)} pictures are done and kept", file=sys.stderr)
        raise
    return 0


def _overlay_files(arguments: argparse.Namespace) -> dict[Path, Path]:
    """The overlay's file for each picture, once everything that can be wrong with the arguments was looked at."""
    prompted = bool(arguments.point or arguments.box or arguments.mask)
    if arguments.everything == prompted:
        raise ValueError("give either --everything, or prompts: --point, --box or --mask")
    if arguments.everything and arguments.multimask:
        raise ValueError("--multimask is for prompts; --everything always asks for several masks")
    if len(arguments.box) > 1 and arguments.point:
        raise ValueError("--point goes with one --box at most: of several boxes each is an object of its own")
    for image in (*arguments.images, *filter(None, [arguments.mask])):
        if not image.is_file():
            raise ValueError(f"there is no file {image}")
        if image.suffix != ".npy":
            _need_pillow(image)
    output: Path = arguments.output
    if output.suffix == ".png" and not output.is_dir():
        if len(arguments.images) > 1:
            raise ValueError(
                f"-o {output} is one file, for {counted(len(arguments.images), 'picture')}: name a folder"
            )
        return {arguments.images[0]: output}
    if output.exists() and not output.is_dir():
        raise ValueError(f"-o {output} is neither a folder nor a .png file")
    files: dict[Path, Path] = {}
    for image in arguments.images:
        file = output / f"{image.stem}.png"
        if file in files.values():
            raise ValueError(
                f"two pictures are called {image.stem}: their masks would be written to one place"
            )
        if file.exists() and file.samefile(image):
            raise ValueError(f"the overlay would be written over {image}: name another folder")
        files[image] = file
    return files


def _need_pillow(image: Path) -> None:
    from importlib.util import find_spec

    if find_spec("PIL") is None:
        raise ValueError(f"{image} needs Pillow to be read: pip install 'samblocks[images]'")


def _read(image: Path) -> Pixels:
    import numpy as np

    from samblocks.predict.pictures import as_rgb

    if image.suffix != ".npy":
        return as_rgb(image)
    return as_rgb(np.load(image, allow_pickle=False), argument=str(image))


def _prompted(predictor: ImagePredictor, picture: Pixels, arguments: argparse.Namespace) -> Masks:
    from samblocks.predict.masks import Masks

    predictor.set_image(picture)
    points: Sequence[tuple[float, float, int]] = arguments.point
    masks, scores, _ = predictor.predict(
        point_coords=[[x, y] for x, y, _ in points] or None,
        point_labels=[label for _, _, label in points] or None,
        box=arguments.box or None,
        mask_input=None if arguments.mask is None else _logits(predictor, arguments.mask),
        multimask_output=arguments.multimask,
    )
    return Masks(masks, scores)


def _logits(predictor: ImagePredictor, file: Path) -> Any:
    """An earlier mask as the model takes it: its own logits, or a picture of the mask, brought to their size."""
    import numpy as np

    found = np.load(file, allow_pickle=False) if file.suffix == ".npy" else None
    if found is not None and np.issubdtype(found.dtype, np.floating):
        return found
    mask = _read(file)[..., 0] > 0 if found is None else found != 0
    return predictor.mask_as_input(mask)


def _everything(predictor: ImagePredictor, picture: Pixels, what: str) -> Masks:
    from samblocks.predict.generator import MaskGenerator
    from samblocks.predict.masks import Masks

    generator = MaskGenerator(predictor.model)
    records = generator.generate(picture, progress=_progress(what))
    height, width = picture.shape[:2]
    return Masks.from_records(records, (height, width))


def _progress(what: str) -> Callable[[int, int], None]:
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        left = (time.monotonic() - started) / max(done, 1) * (total - done)
        _say(f"{what}: {done} of {total} points, {left:.0f} s left")

    return tell


def _say(text: str) -> None:
    """Say what is being done, on a terminal alone, in the place of what was said before."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _point(text: str) -> tuple[float, float, int]:
    x, y, *label = _numbers(text, (2, 3))
    if label and label[0] not in (0, 1):
        raise argparse.ArgumentTypeError(f"{text!r}: a label is 1 or 0")
    return x, y, int(label[0]) if label else 1


def _box(text: str) -> tuple[float, ...]:
    x0, y0, x1, y1 = _numbers(text, (4,))
    if x1 <= x0 or y1 <= y0:
        raise argparse.ArgumentTypeError(
            f"{text!r}: the second corner must be right of the first, and below it"
        )
    return x0, y0, x1, y1


def _numbers(text: str, counts: Sequence[int]) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts:
        wanted = " or ".join(map(str, counts))
        raise argparse.ArgumentTypeError(f"{text!r}: must be {wanted} numbers with commas between them")
    return found
