"""What the fixture `parity` gives to a test; `samblocks.pytest_plugin` declares it, and imports pytest alone.

    def test_block(parity):
        parity.check(candidate, reference, (x,))            # live, side by side
        parity.golden("block", candidate, (x,), reference)  # by a file, recorded once with --parity-record

Results travel as user properties of the test's report, so that they survive pytest-xdist and stand in a JUnit file;
`--parity-json` and `--parity-html` gather them.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from parity.errors import UsageError
from parity.run.goldens import GoldenError
from parity.testing import failure, golden_file, golden_names
from parity.testing.call import Ask
from parity.testing.check import How, check
from parity.testing.fingerprint import fingerprint, project_files
from parity.testing.held import Held, Record
from parity.testing.judge import Result
from parity.testing.reach import Function
from parity.testing.values import Inputs

PROPERTY = "parity"
"""Name of the user properties that results travel in."""

CACHE = "parity"
"""Folder of pytest's cache for what held."""

_SILENT = 30.0
"""Seconds after which a check that still runs says what it is doing."""


class Parity:
    """What the fixture gives to a test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        config = request.config
        self._node, self._config, self._file = request.node, config, request.path
        self._count = 0
        self._error_map = bool(config.getoption("--parity-html"))
        cache = getattr(config, "cache", None)  # none with -p no:cacheprovider
        self._held = Held(cache.mkdir(CACHE)) if cache is not None else None
        self._started = self._said = time.monotonic()

    def check(
        self, candidate: Function, reference: Function, inputs: Inputs | Callable[[int], Inputs], **how: Any
    ) -> None:
        """Fail the test unless `parity.check` holds; it takes the same arguments."""
        __tracebackhide__ = True
        at = self._next_place()
        key = fingerprint(self._name, candidate, reference, inputs, how)
        if self._held_before(key):
            return
        try:
            found = check(
                candidate, reference, inputs, **{"error_map": self._error_map, "progress": self._tell, **how}
            )
        except UsageError as error:
            found, why = None, str(error)
        if found is None:  # not while the error is handled, which pytest would show a second time
            pytest.fail(f"{why} ({at})", pytrace=False)
        self._settle(found, at, golden=False)
        if self._held is not None:
            self._held.keep(key, project_files(self._file), _record(found, self._name, error_map=False))

    def golden(
        self,
        name: str,
        candidate: Function,
        inputs: Inputs | Callable[[int], Inputs],
        reference: Function | None = None,
        *,
        build: Callable[[], Any] | None = None,
        bound: float = 2.0,
        gradients: bool | str = False,
        seed: int | None = None,
        fill: bool = False,
        truth: Any = None,
        strict_sight: bool = False,
    ) -> None:
        """Fail the test unless the candidate agrees with the golden `goldens/<name>.safetensors` beside it.

        In a test with parameters their id is added to the name: `goldens/<name>[8-relu].safetensors`. With
        --parity-record the golden is first recorded from `reference`, which may be None otherwise: so the reference
        need not be installed where tests run. The other arguments are those of `parity.check`.
        """
        __tracebackhide__ = True
        at = self._next_place()
        how = How(
            Ask(gradients, seed),
            build=build,
            bound=bound,
            error_map=self._error_map,
            fill=fill,
            truth=truth,
            strict_sight=strict_sight,
            progress=self._tell,
        )
        parameters = getattr(getattr(self._node, "callspec", None), "id", "")
        file = golden_names.file_of(self._file.parent / "goldens", name, parameters)
        try:
            if self._config.getoption("--parity-record"):
                if reference is None:
                    raise GoldenError(f"--parity-record: golden {name!r} has no reference to record from")
                golden_names.refuse_another_tests(file, self._node.nodeid, self._config.rootpath)
                golden_file.record(file, candidate, reference, inputs, how, self._node.nodeid)
            found = golden_file.judge_by(file, candidate, inputs, how)
        except (GoldenError, UsageError) as error:
            found, why = None, str(error)
        if found is None:
            pytest.fail(f"{why} ({at})", pytrace=False)
        self._settle(found, at, golden=True)

    @property
    def _name(self) -> str:
        return f"{self._node.nodeid}#{self._count}"

    def _next_place(self) -> failure.Place:
        self._count += 1
        self._started = time.monotonic()
        return failure.place(self._node.nodeid, self._count, self._config.rootpath, depth=2)

    def _settle(self, found: Result, at: failure.Place, *, golden: bool) -> None:
        __tracebackhide__ = True
        self._report(_record(found, self._name, error_map=True))
        if not found:
            pytest.fail(failure.text(found, at, record=golden), pytrace=False)

    def _report(self, records: Sequence[Record]) -> None:
        self._node.user_properties.extend((PROPERTY, json.dumps(record)) for record in records)

    def _held_before(self, key: str) -> bool:
        """Whether the check held in an earlier run; what it found then is reported again."""
        if not self._config.getoption("--parity-resume") or self._held is None:
            return False
        records = self._held.records(key)
        if records is None:
            return False
        self._report([{**record, "resumed": True} for record in records])
        return True

    def _tell(self, what: str) -> None:
        """Say what is run, if nothing was said for long: also where there is no terminal."""
        now = time.monotonic()
        if now - max(self._said, self._started) < _SILENT:
            return
        self._said = now
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            seconds = now - self._started
            print(f"\nparity: {self._name}: {what} (after {seconds:.0f} s)", file=sys.stderr, flush=True)


def _record(found: Result, name: str, *, error_map: bool) -> list[Record]:
    """One record for each output."""
    records: list[Record] = []
    for finding in found.findings:
        comparison = finding.comparison
        record: dict[str, Any] = {
            "id": name,
            "output": finding.output,
            "verdict": str(comparison.verdict),
            "ratio": _plain(comparison.ratio),
            "max_abs": _plain(comparison.max_abs),
            "index": list(comparison.index) if comparison.index is not None else None,
            "cause": comparison.cause,
            "draws": comparison.draws,
            "relative": _plain(finding.relative),
        }
        if error_map and comparison.error_map is not None:
            record["error_map"] = comparison.error_map.record()
        if found.unseen:
            record["unseen"] = list(found.unseen)
        if found.notes:
            record["notes"] = list(found.notes)
        records.append(record)
    return records


def _plain(value: float | None) -> float | str | None:
    # JSON has no infinity: a word is better than a file that strict readers refuse.
    return value if value is None or math.isfinite(value) else str(value)
