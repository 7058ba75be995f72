"""`samblocks export NAME|FILE -o DIR`: the parts of a model as files of another runtime, with a parity card."""

from __future__ import annotations

import argparse
import shlex

from samblocks.cli import values
from samblocks.cli.places import check_folder
from samblocks.files import is_free

HELP = (
    "write a model's parts as ONNX, OpenVINO or torch.export files, with a card that says how equal they are"
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model", type=values.some, metavar="NAME|FILE", help="a name of `samblocks list`, or a checkpoint"
    )
    parser.add_argument(
        "-o", "--output", type=values.path, required=True, metavar="DIR", help="a folder that is not there"
    )
    parser.add_argument("--format", choices=("onnx", "openvino", "exported"), default="onnx")
    parser.add_argument("--precision", choices=("f32", "bf16", "int8"), default="f32")
    parser.add_argument("--part", action="append", metavar="PART", help="only this part; repeatable")
    parser.add_argument(
        "--picture",
        action="append",
        type=values.path,
        default=[],
        metavar="FILE",
        help="where samples, and int8's ranges, come from",
    )
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the images")
    parser.add_argument(
        "--frames",
        type=values.count,
        default=0,
        metavar="N",
        help="track a made-up clip of so many frames with the files and put the drift on the card (SAM 2)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export and print the figures; 1 if they do not hold."""
    import samblocks
    from samblocks.engines import verify_script
    from samblocks.engines.export import export

    check_folder(arguments.output)
    if not is_free(arguments.output):
        raise ValueError(f"-o {arguments.output} is there already: give a folder that is empty or not there")
    model = samblocks.load(arguments.model, image_size=arguments.image_size)
    card = export(
        model,
        arguments.output,
        arguments.format,
        arguments.part,
        arguments.precision,
        pictures=arguments.picture,
        frames=arguments.frames,
        command=shlex.join(_command(arguments)),
    )
    wrong = verify_script.failures(card, card["rows"])
    print(verify_script.text(card, card["rows"], wrong))
    return 1 if wrong else 0


def _command(arguments: argparse.Namespace) -> list[str]:
    """What makes the same files again."""
    found = ["samblocks", "export", str(arguments.model), "-o", str(arguments.output)]
    found += ["--format", arguments.format, "--precision", arguments.precision]
    for option, given in (("--part", arguments.part or ()), ("--picture", arguments.picture)):
        found += [word for value in given for word in (option, str(value))]
    for option, value in (("--image-size", arguments.image_size), ("--frames", arguments.frames)):
        found += [option, str(value)] if value else []
    return found
