"""`parity processors`: the tests of blocks and models, and a live run, with kernels that other processors have.

Needs a checkout: the tests are not part of the package. Exit status: 0 when all of them are green, 1 when one is not,
3 when none could be run.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity import package
from parity.errors import UsageError
from parity.execution.personalities import PERSONALITIES, THREADS, Personality

HELP = "the tests and a live run with the kernels of other processors"

_SHORT = ("tests/parity/test_blocks_by_goldens.py", "tests/parity/contracts", "tests/numerics")
_WEIGHTS = "tests/parity/test_blocks_by_goldens.py::test_goldens_were_recorded_with_these_weights"
"""What no kernel changes: it computes nothing."""

_TESTS = (*_SHORT, "tests/blocks", "tests/models", "tests/ops", "tests/swap")
_LIVE = ("run", "--quick", "--failures-only", "--reference", "meta", "--reference", "ultralytics")
_SINGLE = (*_LIVE, "--dtype", "float32")
"""Whether it is the same function is asked in float64 by the goldens under each of them, and live under one of them:
precision is what kernels change. Truths are kept, and are the same for all."""

_OLD = PERSONALITIES[-1]

_PATIENT = {"OMP_WAIT_POLICY": "passive"}
"""Threads that wait for each other sleep: those that spin keep others from work where there are more than cores."""


@dataclass(frozen=True)
class Part:
    """One process under one personality.

    Attributes:
        personality: its name, or "reference / ours" where the two sides differ.
        what: what runs.
        command: arguments of the interpreter.
        variables: what chooses the kernels.
        why_not: why it cannot be run here.
    """

    personality: str
    what: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    why_not: str = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--only",
        action="append",
        choices=[personality.name for personality in PERSONALITIES],
        metavar="NAME",
        help=f"only this one ({', '.join(personality.name for personality in PERSONALITIES)}); may be given again",
    )
    parser.add_argument(
        "--turn",
        type=int,
        metavar="N",
        help="goldens and contracts alone, under two of them: which ones by a number, so that successive ones "
        "take all in turn",
    )
    parser.add_argument("--tests-only", action="store_true", help="leave the live runs out")


def run(options: argparse.Namespace) -> int:
    """Run every part, print a line each as it ends, and the last words of those that are not green."""
    root = package.ROOT
    if not all((root / path).exists() for path in _TESTS):
        raise UsageError(f"{root} is no checkout: the tests that this runs are not there")
    started, green, red, skipped = time.monotonic(), 0, 0, 0
    tests = _TESTS if options.turn is None else _SHORT
    for part in parts(chosen(options), tests, live=not options.tests_only and options.turn is None):
        if part.why_not:
            skipped += 1
            _say(part, "NOT RUN", part.why_not)
            continue
        before = time.monotonic()
        done = subprocess.run(
            [sys.executable, *part.command],
            cwd=root,
            env={**os.environ, **_PATIENT, **part.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        words = [line for line in done.stdout.strip().splitlines() if line.strip()] or [done.stderr.strip()]
        green, red = green + (done.returncode == 0), red + (done.returncode != 0)
        _say(part, "green" if done.returncode == 0 else f"status {done.returncode}", words[-1], before)
        if done.returncode:
            print("\n".join([*words[-40:], *done.stderr.strip().splitlines()[-10:]]))
    print(f"{green} green, {red} not, {skipped} not run; {time.monotonic() - started:.0f} s")
    return 1 if red else 0 if green else 3


def parts(chosen: Sequence[Personality], tests: Sequence[str] = _TESTS, *, live: bool) -> Iterator[Part]:
    """What is run under each personality; and the sides under different ones, both ways."""
    for personality in chosen:
        why = personality.why_not()
        at_once = (
            "2" if int(personality.variables.get(THREADS, 1)) == 1 else "1"
        )  # processes of several threads
        command = ("-m", "pytest", "-q", "-n", at_once, "--deselect", _WEIGHTS, *tests)
        yield Part(personality.name, "tests", command, personality.variables, why)
        if live:
            asked = _LIVE if personality is _OLD else _SINGLE
            yield Part(personality.name, "live run", ("-m", "parity", *asked), personality.variables, why)
    if live and _OLD in chosen:
        crossed = ("-m", "parity", *_SINGLE, "--references-as", _OLD.name)
        yield Part(f"{_OLD.name} / usual", "live run", crossed, {}, _OLD.why_not())
        plain = ("-m", "parity", *_SINGLE, "--references-as", "usual")
        yield Part(f"usual / {_OLD.name}", "live run", plain, _OLD.variables, _OLD.why_not())


def chosen(options: argparse.Namespace) -> list[Personality]:
    """The personalities that are asked for: of `--only`, or of a turn."""
    if options.turn is not None:
        # Tests use one thread as it is: `make test` has run them so.
        others = [one for one in PERSONALITIES if one.variables != {THREADS: "1"}]
        return [others[(2 * options.turn + step) % len(others)] for step in (0, 1)]
    return [one for one in PERSONALITIES if not options.only or one.name in options.only]


def _say(part: Part, verdict: str, words: str, since: float | None = None) -> None:
    seconds = "" if since is None else f"{time.monotonic() - since:.0f} s"
    print(f"{part.personality:24} {part.what:9} {verdict:10} {seconds:>7}  {words}", flush=True)
