"""How fast and how lean whole checkpoints are loaded, beside segment_anything's own build-and-load.

`python -m parity.bench.load` writes a `sam_vit_h` file of filled weights and then, alternately and each in a
fresh process, has both sides build the model and load it, until every page of every parameter was read once. The
file is in the page cache by then. Conversion and `inspect` of the same file are measured too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
VARIANT = "sam_vit_h"
PAGE = 1024
"""Floats on a page of memory."""

GOALS = {"speed": 8.0, "memory": 1.1, "inspect": 1.0}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print the ratios; 1 if a goal is missed, 3 without the references."""
    parser = argparse.ArgumentParser(prog="python -m parity.bench.load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times each side is measured (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each side (default 1)")
    parser.add_argument("--references", type=Path, default=ROOT / ".references" / "bin" / "python")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help="a sam_vit_h checkpoint to use instead of a made-up one")
    chosen = parser.parse_args(arguments)
    if chosen.side:
        print(json.dumps(_measure(chosen.side, chosen.file, chosen.threads)))
        return 0
    if not chosen.references.exists():
        print(f"{chosen.references} is missing: make the references first (make references)", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as folder:
        file = chosen.file or _write(Path(folder) / f"{VARIANT}.pth")
        return _report(file, chosen.rounds, chosen.threads, chosen.references)


def _write(path: Path) -> Path:
    """A checkpoint with values that follow from the names."""
    import torch
    from torch import Tensor

    from samblocks.checkpoints.content import Content
    from samblocks.checkpoints.write import write
    from samblocks.layouts import meta_tensors

    tensors = meta_tensors(VARIANT)

    def get(name: str) -> Tensor:
        count = torch.Size(tensors[name].shape).numel()
        return (torch.arange(count) % (len(name) + 90)).float().div_(1000).reshape(tensors[name].shape)

    write(path, Content(tensors, get))
    return path


def _report(file: Path, rounds: int, threads: int, references: Path) -> int:
    size = file.stat().st_size
    _read_once(file)
    ours, theirs = [], []
    for number in range(rounds):
        theirs.append(_run([str(references), "-m", "parity.references.load_whole", str(file), str(threads)]))
        ours.append(_own("load", file, threads))
        pair = f"upstream {theirs[-1]['seconds']:.2f} s, samblocks {ours[-1]['seconds']:.2f} s"
        print(f"round {number + 1}: {pair}, {theirs[-1]['seconds'] / ours[-1]['seconds']:.1f} times")
    speed = median(t["seconds"] / o["seconds"] for t, o in zip(theirs, ours, strict=True))
    peak, their_peak = (max(row["peak"] for row in rows) / size for rows in (ours, theirs))
    convert, inspect = _own("convert", file, threads), _own("inspect", file, threads)
    print(
        f"load      {speed:.1f} times faster (goal {GOALS['speed']:.0f}); peak {peak:.2f} of the file's size, ",
        end="",
    )
    print(f"upstream's {their_peak:.2f} (goal {GOALS['memory']})")
    print(f"          of that no file backs {max(row['anonymous'] for row in ours) / 2**20:.0f} MiB")
    print(
        f"convert   {convert['seconds']:.1f} s; peak {convert['peak'] / size:.2f} of the file's size", end=""
    )
    print(f" (goal {GOALS['memory']})")
    print(
        f"inspect   {inspect['seconds']:.2f} s (goal {GOALS['inspect']:.0f} s); peak {inspect['peak'] / 2**20:.0f} MiB"
    )
    good = speed >= GOALS["speed"] and max(peak, convert["peak"] / size) <= GOALS["memory"]
    return 0 if good and inspect["seconds"] <= GOALS["inspect"] else 1


def _read_once(file: Path) -> None:
    """Bring the file into the page cache."""
    with file.open("rb", buffering=0) as stream:
        while stream.read(2**24):
            pass


def _own(side: str, file: Path, threads: int) -> dict[str, float]:
    options = ["--side", side, "--file", str(file), "--threads", str(threads)]
    return _run([sys.executable, "-m", "parity.bench.load", *options])


def _run(command: list[str]) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr.strip().splitlines()[-1:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def touch(parameters: Iterator[Any]) -> float:
    """Read one number of every page of every parameter."""
    return sum(float(parameter.detach().reshape(-1)[::PAGE].sum()) for parameter in parameters)


def _load(file: Path) -> object:
    from samblocks.checkpoints import load

    model = load(file)
    touch(model.parameters())
    return model


def _convert(file: Path) -> object:
    from samblocks.checkpoints import convert_file

    return convert_file(file, file.with_name("converted.safetensors"), to="transformers")


def _inspect(file: Path) -> object:
    from samblocks.checkpoints import inspect

    return inspect(file)


SIDES: dict[str, Callable[[Path], object]] = {"load": _load, "convert": _convert, "inspect": _inspect}


def _measure(side: str, file: Path, threads: int) -> dict[str, float]:
    import torch

    from parity.bench.memory import measured
    from samblocks.checkpoints import convert_file, inspect, load  # noqa: F401 - importing is not measured

    torch.set_num_threads(threads)
    return measured(lambda: SIDES[side](file))


if __name__ == "__main__":
    raise SystemExit(main())
