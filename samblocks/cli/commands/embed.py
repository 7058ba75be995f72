r"""`samblocks embed SOURCE --model NAME|FILE -o DIR`: what the image encoder makes of all pictures of a data set.

SOURCE is a folder, a .txt list of files, a .tar as WebDataset has it, or a .parquet file; braces mean several files.
DIR gets shards of embeddings with an index, bound to weights, preprocessing and pictures: predictors take them in place
of the pictures. Whatever is in DIR already is not done again, so that a run that was stopped, or killed, goes on.

  samblocks embed photos --model sam2.1_hiera_tiny -o embeddings
  samblocks embed 'train-{000..127}.tar' --model sam_vit_b --batch 16 --device cuda --dtype bfloat16 -o embeddings
  samblocks embed photos.parquet --column image --key id --model mobile_sam -o embeddings
  samblocks embed photos --model sam2.1_hiera_tiny --everything -o masks
  samblocks embed /shared/photos --model sam2.1_hiera_tiny --ray 8 -o /shared/embeddings
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samblocks.cli import values
from samblocks.cli.places import check_folder
from samblocks.errors import counted

if TYPE_CHECKING:
    from samblocks.predict.dataset.embed import Done, Progress
    from samblocks.predict.dataset.sources import Source

HELP = "run the image encoder, or find all masks, over a data set"
DTYPES = ("float32", "bfloat16", "float16")
UNREAD = 1
SIZES = {
    "batch": (4, "pictures in one pass"),
    "shard": (16, "pictures in a file"),
    "workers": (2, "threads that read pictures"),
}
"""By option, the usual number and what it counts."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", type=values.some, metavar="SOURCE", help="a folder, a .txt list, a .tar or a .parquet file"
    )
    parser.add_argument(
        "--model", required=True, type=values.some, metavar="NAME|FILE", help="as for samblocks.load"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=values.path,
        metavar="DIR",
        help="a new folder, or one to go on with",
    )
    for name, (usual, what) in SIZES.items():
        parser.add_argument(f"--{name}", type=values.count, metavar="N", help=f"{what} (default: {usual})")
    parser.add_argument("--column", metavar="NAME", help="the column of pictures in parquet files")
    parser.add_argument("--key", metavar="NAME", help="the column of keys in parquet files")
    parser.add_argument(
        "--everything", action="store_true", help="find all masks instead: parquet files with COCO's encoding"
    )
    parser.add_argument(
        "--ray",
        type=values.count,
        nargs="?",
        const=2,
        metavar="N",
        help="on Ray's cluster, by N workers (default: 2)",
    )
    parser.add_argument(
        "--device", help="where the model runs; by default on CUDA where it is, else on the CPU"
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; by default float32")


def run(arguments: argparse.Namespace) -> int:
    """Go over the data set; what is done is kept if it is interrupted."""
    _check(arguments)
    from samblocks.cli.progress import progress
    from samblocks.predict.dataset.sources import open_source

    try:
        source = open_source(arguments.source, column=arguments.column, key=arguments.key)
        with progress("pictures", len(source.items)) as shown:
            latest = [0, len(source.items)]

            def advance(done: int, total: int) -> None:
                latest[:] = done, total
                shown.reach(done, total)

            try:
                done = _go(arguments, source, advance)
            except KeyboardInterrupt:
                print(f"samblocks: {latest[0]} of {latest[1]} pictures are done and kept", file=sys.stderr)
                raise
    except ImportError as error:
        raise ValueError(str(error)) from None
    kept = f", {done.before} were there before" if done.before else ""
    print(f"{arguments.output}: {counted(done.now, 'picture')}{kept}")
    if done.unread:
        print(
            f"samblocks: {counted(len(done.unread), 'picture')} could not be read: "
            f"{arguments.output / 'unread.json'} says why",
            file=sys.stderr,
        )
        return UNREAD
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do nothing together, and a folder that cannot be written, before anything is loaded."""
    if arguments.everything and arguments.ray:
        raise ValueError("--everything runs on this machine alone: give it without --ray")
    for option in ("batch", "shard") if arguments.everything else ():
        if getattr(arguments, option) is not None:
            raise ValueError(f"--everything takes one picture at a time: give it without --{option}")
    if arguments.ray and arguments.workers is not None:
        raise ValueError("--ray says how many workers there are: give it without --workers")
    check_folder(arguments.output)
    if arguments.output.resolve() == Path(arguments.source).resolve():
        raise ValueError(f"-o {arguments.output} is the folder that is read: name another one")


def _go(arguments: argparse.Namespace, source: Source, advance: Progress) -> Done:
    import torch

    from samblocks.predict.dataset.embed import embed
    from samblocks.predict.loading import model_of

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = None if arguments.dtype is None else getattr(torch, arguments.dtype)
    model = functools.partial(model_of, arguments.model, device=device, dtype=dtype)
    sizes: dict[str, Any] = {name: getattr(arguments, name) or usual for name, (usual, _) in SIZES.items()}
    workers = sizes.pop("workers")
    if arguments.everything:
        from samblocks.predict.dataset.everything import needs_pyarrow, segment_everything
        from samblocks.predict.generator import MaskGenerator

        needs_pyarrow()
        generator = MaskGenerator(model(), output_mode="coco_rle")
        return segment_everything(generator, source, arguments.output, workers=workers, progress=advance)
    if arguments.ray:
        from samblocks.predict.dataset.on_ray import embed_on_ray

        gpus = 1 if device.startswith("cuda") else 0
        return embed_on_ray(
            model, source, arguments.output, workers=arguments.ray, gpus=gpus, progress=advance, **sizes
        )
    return embed(model(), source, arguments.output, workers=workers, progress=advance, **sizes)
