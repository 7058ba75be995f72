"""`parity engines`: which runtime and precision to deploy, with what it does to masks.

For each engine: time and memory beside eager's, in turn; set-up; R, pixels that flip, scores, and the overlap of masks
with those of float32, on your own weights and pictures. Exit status 1 means that an engine in float32 does not hold.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from parity import package
from parity.bench.report import surroundings
from parity.errors import UsageError, WorkerError
from parity.execution.folders import check_folder, check_outputs
from parity.execution.pictures import PHOTOGRAPH
from samblocks.files import write_text
from samblocks.variants import VARIANTS

HELP = "runtimes and precisions beside eager: time, memory, and what becomes of masks"

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="FILE", help="a model of yours; repeatable"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        choices=tuple(VARIANTS),
        help="one with filled weights; repeatable",
    )
    parser.add_argument(
        "--image", type=Path, metavar="FILE|FOLDER", help="pictures; a photograph of ours by default"
    )
    parser.add_argument(
        "--engine", action="append", default=[], metavar="BACKEND:PRECISION", help="only this; repeatable"
    )
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the model's images; by default its own"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times each side is measured (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the process (default 1)")
    parser.add_argument(
        "--peers", type=Path, metavar="DIR", help="the environment of the runtimes (default .peers)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the table as a page")


def run(options: argparse.Namespace) -> int:
    """Measure and print the table; 1 if an engine in float32 does not hold, 3 if nothing ran."""
    check_folder(options.peers, "--peers")
    check_outputs(options.json, options.html)
    from parity.bench.deployment import ENGINES, Job

    python = _interpreter(options.peers)
    if python is None:
        print("parity: the runtimes' environment is missing: make peers", file=sys.stderr)
        return 3
    if options.rounds < 1 or options.threads < 1:
        raise UsageError("--rounds and --threads must be at least 1")
    engines = [_pair(text, ENGINES) for text in options.engine] or list(ENGINES)
    pictures = _pictures(options.image)
    models = [(path, False) for path in options.checkpoint] + [(name, True) for name in options.variant]
    figures: list[dict[str, Any]] = []
    print("\n".join(table_head()), flush=True)
    for model, filled in models or [("sam2.1_hiera_tiny", True)]:
        job = Job(model, filled, pictures, engines, options.size, options.rounds, options.threads)
        for row in measured_rows(python, asdict(job), options.threads):
            figures.append(row)
            print(table_line(row), flush=True)
    document = {
        "schema": 1,
        "environment": surroundings(threads=options.threads, rounds=options.rounds),
        "pictures": pictures,
        "rows": figures,
    }
    if options.json:
        write_text(options.json, json.dumps(document, indent=1) + "\n")
    if options.html:
        from parity.reports.engine_table import page

        write_text(options.html, page(document))
    if all(row["missing"] for row in figures if not row["engine"].startswith("eager")):
        print("parity: no engine ran", file=sys.stderr)
        return 3
    bad = [
        row
        for row in figures
        if row["figures"] and row["engine"].endswith("f32") and row["figures"]["verdict"] != "WITHIN"
    ]
    return 1 if bad else 0


def measured_rows(python: Path, job: dict[str, Any], threads: int) -> Iterator[dict[str, Any]]:
    """The rows of a job, which a process of its own does."""
    environment = os.environ | {"PYTHONPATH": str(package.ROOT), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.json")
        file.write_text(json.dumps(job), encoding="utf-8")
        command = [str(python), "-m", "parity.bench.deployment", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if not line.startswith("{"):  # what a runtime prints of its own accord
                    continue
                row = json.loads(line)
                if "failed" in row:
                    raise UsageError(row["failed"])
                yield row
        if process.returncode:
            raise WorkerError(f"the process of {job['model']} ended with status {process.returncode}")


def table_head() -> list[str]:
    """Head of the table, in Markdown."""
    return [
        "| model | engine | picture | click | eager's time by its | memory | set-up | R | pixels flipped "
        "| beyond rounding | scores change | mean IoU |",
        "|" + "---|" * 12,
    ]


def table_line(row: dict[str, Any]) -> str:
    """A line of the table."""
    start = f"| `{Path(row['model']).name}` | {row['engine']} |"
    if row["missing"]:
        return f"{start} NOT RUN: {row['missing']} |" + " |" * 9
    cells = [
        f"{row['encode']:.2f} s",
        f"{row['decode']:.3f} s",
        f"{row['speed']:.2f}",
        f"{row['memory'] / 1e6:.0f} MB",
    ]
    found = row["figures"]
    if found is None:
        return f"{start} {' | '.join(cells)} |" + " |" * 6
    score = "-" if found["score"] is None else f"{found['score']:.1e}"
    cells += [f"{row['setup']:.0f} s", f"{found['ratio']:.3g}", f"{found['flipped']} of {found['pixels']}"]
    cells += [str(found["beyond"]), score, f"{found['iou']:.4f}"]
    return f"{start} {' | '.join(cells)} |"


def _interpreter(peers: Path | None) -> Path | None:
    """Where the runtimes are: the environment that was named, this one, or the one beside the project."""
    if peers is None and find_spec("openvino") is not None:
        return Path(sys.executable)
    found = (peers or package.ROOT / ".peers") / "bin" / "python"
    return found if found.exists() else None


def _pair(text: str, known: Sequence[tuple[str, str]]) -> tuple[str, str]:
    for backend, precision in known:
        if text in (backend, f"{backend}:{precision}"):
            return backend, precision
    raise UsageError(f"--engine {text} must be one of {', '.join(':'.join(pair) for pair in known)}")


def _pictures(given: Path | None) -> list[str]:
    if given is None:
        return [str(PHOTOGRAPH)]
    if not given.is_dir():
        return [str(given.absolute())]
    found = sorted(str(path.absolute()) for path in given.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UsageError(f"{given} holds no pictures ({', '.join(_SUFFIXES)})")
    return found
