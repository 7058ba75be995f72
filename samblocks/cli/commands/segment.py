"""`samblocks segment IMAGE… --model NAME|FILE -o DIR|OUT.png`: masks of pictures, for clicks, boxes, or everything.

Clicks are one object together; each box is an object of its own. For each picture an overlay, the masks and a
description in JSON are written. Pictures are files that Pillow reads (pip install 'samblocks[images]'), or arrays in
.npy files, which need no Pillow.

  samblocks segment truck.jpg --model sam2.1_hiera_tiny --point 510,245 -o truck_mask.png
  samblocks segment truck.jpg --model sam_vit_b.pth --point 510,245 --point 80,90,0 --multimask -o out
  samblocks segment a.jpg b.jpg --model mobile_sam --box 75,275,1725,850 --format rle -o out
  samblocks segment *.jpg --model sam2.1_hiera_large --everything --device cuda --dtype bfloat16 -o out
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samblocks.cli import values
from samblocks.cli.places import check_file, check_folder
from samblocks.errors import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from samblocks.predict.image import ImagePredictor
    from samblocks.predict.masks import Masks
    from samblocks.predict.pictures import Pixels

HELP = "find masks in pictures and write them, with an overlay"
DTYPES = ("float32", "bfloat16", "float16")
FORMATS = ("png", "rle", "geojson", "npz")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "images", nargs="+", type=values.path, metavar="IMAGE", help="pictures, or arrays in .npy files"
    )
    parser.add_argument(
        "--model", required=True, type=values.some, metavar="NAME|FILE", help="as for samblocks.load"
    )
    parser.add_argument(
        "--point",
        action="append",
        type=values.point,
        default=[],
        metavar="X,Y[,LABEL]",
        help="a click in the picture's pixels; label 1, the default, is on the object, 0 on the background",
    )
    parser.add_argument(
        "--box",
        action="append",
        type=values.box,
        default=[],
        metavar="X0,Y0,X1,Y1",
        help="a box around an object",
    )
    parser.add_argument(
        "--mask",
        type=values.path,
        metavar="FILE",
        help="an earlier mask: a picture, or logits in a .npy file",
    )
    parser.add_argument("--multimask", action="store_true", help="three masks for each prompt")
    parser.add_argument("--everything", action="store_true", help="all masks, without a prompt")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=values.path,
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
    mask = None if arguments.mask is None else _mask(arguments.mask)
    first = arguments.images[0]
    _check_prompts(arguments, first, _read(first), mask)  # so that a slip costs no loading of weights
    import torch

    from samblocks.predict.image import ImagePredictor
    from samblocks.predict.results import write_results

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = None if arguments.dtype is None else getattr(torch, arguments.dtype)
    _say(f"loading {arguments.model}")
    predictor = ImagePredictor(arguments.model, device=device, dtype=dtype)
    if predictor.device.type == "meta":
        raise ValueError("--device meta computes nothing: leave it out for the CPU")
    facts = {
        "model": str(arguments.model),
        "everything": arguments.everything,
        "points": [list(point) for point in arguments.point],
        "boxes": [list(box) for box in arguments.box],
        "mask": None if arguments.mask is None else str(arguments.mask),
    }
    done = 0
    taken = {path.resolve() for path in (*arguments.images, *filter(None, [arguments.mask]))}
    try:
        for image, file in overlays.items():
            what = f"{done + 1}/{len(overlays)} {image}"
            _say(what)
            picture = _read(image)
            _check_prompts(arguments, image, picture, mask)
            masks = (
                _everything(predictor, picture, what)
                if arguments.everything
                else _prompted(predictor, picture, arguments, mask)
            )
            written = write_results(
                file,
                picture,
                masks,
                {"image": str(image), **facts},
                format=arguments.format,
                sheet=arguments.everything,
                taken=taken,
                points=arguments.point,
                boxes=arguments.box,
            )
            taken.update(path.resolve() for path in written)
            done += 1
            _say("")
            print(f"{image}: {counted(len(masks), 'mask')} -> {', '.join(map(str, written[-2:]))}")
    except KeyboardInterrupt:
        _say("")
        print(f"samblocks: {_kept(done, overlays)}", file=sys.stderr)
        raise
    except ValueError as error:
        _say("")
        if not done:
            raise
        raise ValueError(f"{error}; {_kept(done, overlays)}") from None
    return 0


def _kept(done: int, overlays: Mapping[Path, Path]) -> str:
    return f"{done} of {counted(len(overlays), 'picture')} are done and kept"


def _overlay_files(arguments: argparse.Namespace) -> dict[Path, Path]:
    """The overlay's file for each picture, once everything that can be wrong with the arguments was looked at."""
    prompted = bool(arguments.point or arguments.box or arguments.mask)
    if arguments.everything == prompted:
        raise ValueError("give either --everything, or prompts: --point, --box or --mask")
    if arguments.everything and arguments.multimask:
        raise ValueError("--multimask is for prompts; --everything always asks for several masks")
    if len(arguments.box) > 1 and arguments.point:
        raise ValueError("--point goes with one --box at most: of several boxes each is an object of its own")
    inputs = [*arguments.images, *filter(None, [arguments.mask])]
    for image in inputs:
        _check_input(image)
    output: Path = arguments.output
    if output.suffix.lower() == ".png" and not output.is_dir():
        if len(arguments.images) > 1:
            raise ValueError(
                f"-o {output} is one file, for {counted(len(arguments.images), 'picture')}: name a folder"
            )
        check_file(output, inputs=inputs)
        return {arguments.images[0]: output}
    check_folder(output)
    files: dict[Path, Path] = {}
    for image in arguments.images:
        file = output / f"{image.stem}.png"
        if file in files.values():
            raise ValueError(
                f"two pictures are called {image.stem}: their masks would be written to one place"
            )
        check_file(file, inputs=inputs)
        files[image] = file
    return files


def _check_input(image: Path) -> None:
    if image.is_dir():
        raise ValueError(f"{image} is a folder: name the pictures in it")
    if not image.exists():
        raise ValueError(f"there is no file {image}: check the path")
    if not image.is_file():
        raise ValueError(f"{image} is a pipe or a device: write it to a file first")
    if not _holds_array(image):
        _need_pillow(image)


def _need_pillow(image: Path) -> None:
    from importlib.util import find_spec

    if find_spec("PIL") is None:
        raise ValueError(f"{image} needs Pillow to be read: pip install 'samblocks[images]'")


def _holds_array(file: Path) -> bool:
    return file.suffix.lower() == ".npy"


def _read(image: Path) -> Pixels:
    from samblocks.predict.picture_files import read_array, upright
    from samblocks.predict.pictures import as_rgb

    found = read_array(image, str(image)) if _holds_array(image) else upright(image, str(image))
    return as_rgb(found, argument=str(image))


def _mask(file: Path) -> NDArray[Any]:
    """An earlier mask: logits as the file has them, floating-point, or bool [H, W], true where a pixel is not 0."""
    import numpy as np

    from samblocks.predict.picture_files import in_colour, read_array, upright

    what = f"--mask {file}"
    if _holds_array(file):
        found = read_array(file, what)
        if np.issubdtype(found.dtype, np.floating):
            return found
        if found.dtype.kind not in "biu":
            raise ValueError(f"{what} holds {found.dtype}; it must be numbers, 0 outside the mask")
    else:
        picture = upright(file, what)
        deep = picture.mode == "F" or picture.mode.startswith("I")
        found = np.asarray(picture if deep else in_colour(picture))
    mask = np.asarray(found != 0)
    mask = np.asarray(mask.any(-1)) if mask.ndim == 3 else mask
    if not mask.any():
        raise ValueError(f"{what} is empty, every pixel of it is 0: mark the object in it")
    return mask


def _check_prompts(
    arguments: argparse.Namespace, image: Path, picture: Pixels, mask: NDArray[Any] | None
) -> None:
    """Refuse what does not lie on the picture."""
    size = picture.shape[:2]
    values.check_inside(arguments.point, arguments.box, (size[0], size[1]), str(image))
    if mask is not None and mask.dtype.kind == "b" and mask.shape != size:
        raise ValueError(
            f"--mask {arguments.mask} has shape {mask.shape}, height first; it must have that of {image}, {size}"
        )


def _prompted(
    predictor: ImagePredictor, picture: Pixels, arguments: argparse.Namespace, mask: NDArray[Any] | None
) -> Masks:
    from samblocks.predict.masks import Masks

    predictor.set_image(picture)
    points: Sequence[values.Point] = arguments.point
    given = mask
    if mask is not None and mask.dtype.kind == "b":
        given = predictor.mask_as_input(mask)
    try:
        masks, scores, _ = predictor.predict(
            point_coords=[[x, y] for x, y, _ in points] or None,
            point_labels=[label for _, _, label in points] or None,
            box=arguments.box or None,
            mask_input=given,
            multimask_output=arguments.multimask,
        )
    except ValueError as error:
        if mask is None:
            raise
        raise ValueError(f"--mask {arguments.mask}: {error}") from None
    return Masks(masks, scores)


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
