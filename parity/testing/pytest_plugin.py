"""A pytest plugin: the fixture `parity`, which holds your code against the code it must equal.

    def test_block(parity):
        parity.check(candidate, reference, (x,))            # live, side by side
        parity.golden("block", candidate, (x,), reference)  # by a file, recorded once with --parity-record

Nothing here imports torch until the fixture is used. Results travel as user properties of the test's report, so
that they survive pytest-xdist and stand in a JUnit file; `--parity-json` and `--parity-html` gather them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.testing.check import Inputs, Result

_PROPERTY = "parity"
_CACHE = "parity/passed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options."""
    group = parser.getgroup("parity", "numerical equality with a reference")
    group.addoption(
        "--parity-record", action="store_true", help="record goldens from the reference of each test"
    )
    group.addoption("--parity-json", type=Path, metavar="FILE", help="write all results as JSON")
    group.addoption("--parity-html", type=Path, metavar="FILE", help="write all results as one HTML page")
    group.addoption(
        "--parity-resume",
        action="store_true",
        help="do not repeat checks that held in an earlier run with the same inputs, weights and code",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Gather results where the session is run from, not in pytest-xdist's workers."""
    if config.getoption("--parity-html"):
        from parity.errors import UsageError
        from parity.extras import need_plots

        try:  # before the session, not after it
            need_plots("--parity-html")
        except UsageError as missing:
            raise pytest.UsageError(str(missing)) from None
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gathering(config), "parity-gathering")


class Parity:
    """What the fixture gives to a test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._folder = request.path.parent / "goldens"
        self._count = 0
        self._heat = bool(request.config.getoption("--parity-html"))

    def check(
        self, candidate: Callable[..., Any], reference: Callable[..., Any], inputs: "Inputs", **how: Any
    ) -> None:
        """Fail the test unless `parity.check` holds; it takes the same arguments."""
        from parity.testing.check import check
        from parity.testing.fingerprint import fingerprint

        key = fingerprint(self._next_name(), candidate, reference, inputs, how)
        if self._held_before(key):
            return
        self._settle(check(candidate, reference, inputs, **{"heat": self._heat, **how}), key)

    def golden(
        self,
        name: str,
        candidate: Callable[..., Any],
        inputs: "Inputs",
        reference: Callable[..., Any] | None = None,
        *,
        build: Callable[[], Any] | None = None,
        bound: float = 2.0,
    ) -> None:
        """Fail the test unless the candidate agrees with the golden `goldens/<name>.safetensors` beside it.

        With --parity-record the golden is first recorded from `reference`, which may be None otherwise: so the
        reference need not be installed where tests run.
        """
        from parity.testing import golden_file

        self._next_name()
        file = self._folder / f"{name}.safetensors"
        if self._request.config.getoption("--parity-record"):
            if reference is None:
                pytest.fail(f"--parity-record: golden {name!r} has no reference to record from")
            golden_file.record(file, candidate, reference, inputs, build)
        self._settle(golden_file.judge_by(file, candidate, inputs, bound, heat=self._heat), None)

    def _next_name(self) -> str:
        self._count += 1
        return f"{self._request.node.nodeid}#{self._count}"

    def _settle(self, result: "Result", key: str | None) -> None:
        for finding in result.findings:
            comparison = finding.comparison
            record: dict[str, Any] = {
                "id": f"{self._request.node.nodeid}#{self._count}",
                "output": finding.output,
                "verdict": str(comparison.verdict),
                "ratio": comparison.ratio,
                "max_abs": comparison.max_abs,
                "index": list(comparison.index) if comparison.index is not None else None,
                "cause": comparison.cause,
                "draws": comparison.draws,
            }
            if comparison.heat is not None:
                record["heat"] = comparison.heat.record()
            self._request.node.user_properties.append((_PROPERTY, json.dumps(record)))
        if not result:
            pytest.fail(f"parity does not hold:\n{result}", pytrace=False)
        if key is not None:
            self._request.node.user_properties.append((_CACHE, key))

    def _held_before(self, key: str) -> bool:
        config = self._request.config
        if not config.getoption("--parity-resume") or config.cache is None:
            return False
        return key in config.cache.get(_CACHE, [])


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Parity:
    """Hold a candidate against a reference: `check` side by side, `golden` by a file."""
    return Parity(request)


class _Gathering:
    """Collects what tests found, and writes it at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._records: list[dict[str, Any]] = []
        self._held: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test's findings from its report, and leave there what a JUnit file should say of them."""
        properties: list[tuple[str, object]] = []
        for name, value in report.user_properties:
            if name == _PROPERTY:
                record = json.loads(str(value))
                if report.when == "call":
                    self._records.append(record)
                value = json.dumps({key: entry for key, entry in record.items() if key != "heat"})
            elif name == _CACHE and report.when == "call":
                self._held.append(str(value))
            properties.append((name, value))
        report.user_properties = properties

    def pytest_sessionfinish(self) -> None:
        """Write the reports, and remember what held."""
        if self._held and self._config.cache is not None:
            before = self._config.cache.get(_CACHE, [])
            self._config.cache.set(_CACHE, sorted({*before, *self._held}))
        if not self._records:
            return
        as_json, as_html = self._config.getoption("--parity-json"), self._config.getoption("--parity-html")
        if as_json or as_html:
            from parity.testing import session_html

            if as_json:
                session_html.write_json(self._records, as_json)
            if as_html:
                session_html.write_html(self._records, as_html)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line: how many outputs were compared, and how the worst of them did."""
        if self._records:
            ratios = [record["ratio"] for record in self._records if record["ratio"] is not None]
            worst = f", largest R {max(ratios):.3g}" if ratios else ""
            terminalreporter.write_line(f"parity: {len(self._records)} outputs compared{worst}")
