"""A pytest plugin: the fixture `parity`, which holds your code against the code it must equal.

    def test_block(parity):
        parity.check(candidate, reference, (x,))            # live, side by side
        parity.golden("block", candidate, (x,), reference)  # by a file, recorded once with --parity-record

It is loaded in every pytest session of an environment that samblocks is installed in, so it imports pytest alone, and
does not touch the name `parity` before somebody uses the fixture or one of the options: a project may have a module of
that name itself, and must not notice this one.
"""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

_HARNESS = "parity"
_PROPERTY = "parity"


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
    if config.getoption("--parity-json") or config.getoption("--parity-html"):
        part("testing.session")  # what cannot work is said before the session, not after it
    if config.getoption("--parity-html"):
        try:
            part("extras").need_plots("--parity-html")
        except part("errors").UsageError as missing:
            raise pytest.UsageError(str(missing)) from None
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gathering(config), "parity-gathering")


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Any:
    """Hold a candidate against a reference: `check` side by side, `golden` by a file."""
    __tracebackhide__ = True
    return part("testing.fixture").Parity(request)


def part(name: str) -> Any:
    """A module of the harness that lies beside this package.

    Raises:
        pytest.UsageError: when another module has its name; nothing of the user's is replaced.
    """
    __tracebackhide__ = True
    ours = Path(__file__).resolve().parents[1] / _HARNESS / "__init__.py"
    other = _other(ours)
    if other is not None:
        raise pytest.UsageError(
            f"the fixture and the options `parity` need {ours}, but the name {_HARNESS!r} belongs to {other} in this "
            "project; rename that module, or keep its folder out of sys.path"
        )
    if _HARNESS not in sys.modules and importlib.util.find_spec(_HARNESS) is None:
        spec = importlib.util.spec_from_file_location(
            _HARNESS, ours, submodule_search_locations=[str(ours.parent)]
        )
        if spec is None or spec.loader is None:
            raise pytest.UsageError(f"{ours} cannot be imported")
        sys.modules[_HARNESS] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_HARNESS])
    return importlib.import_module(f"{_HARNESS}.{name}")


def _other(ours: Path) -> str | None:
    """Where a module of the harness's name lies that is not the harness; None where the name is free or ours."""
    module = sys.modules.get(_HARNESS)
    spec = getattr(module, "__spec__", None) if module is not None else importlib.util.find_spec(_HARNESS)
    origin = getattr(module, "__file__", None) or getattr(spec, "origin", None)
    if origin is None:
        places = list(getattr(spec, "submodule_search_locations", None) or [])
        return str(places[0]) if places else (None if module is None else repr(module))
    return None if Path(origin).resolve() == ours else str(origin)


class _Gathering:
    """Collects what tests found, and writes it at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._records: list[dict[str, Any]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test's findings from its report, and leave there what a JUnit file should say of them."""
        properties: list[tuple[str, object]] = []
        for name, value in report.user_properties:
            if name == _PROPERTY:
                record = json.loads(str(value))
                if report.when == "call":
                    self._records.append(record)
                value = json.dumps({key: entry for key, entry in record.items() if key != "error_map"})
            properties.append((name, value))
        report.user_properties = properties

    def pytest_sessionfinish(self) -> None:
        """Write the reports that were asked for, whatever was compared, and order what is remembered."""
        as_json, as_html = self._config.getoption("--parity-json"), self._config.getoption("--parity-html")
        if as_json:
            part("testing.session").write_json(self._records, as_json)
        if as_html:
            part("testing.session").write_html(self._records, as_html)
        cache = getattr(self._config, "cache", None)  # none with -p no:cacheprovider
        if self._records and cache is not None:
            part("testing.held").tidy(cache.mkdir("parity"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line: how many outputs were compared, and how the worst of them did."""
        if not self._records:
            return
        ratios = [float(record["ratio"]) for record in self._records if record["ratio"] is not None]
        worst = f", largest R {max(ratios):.3g}" if ratios else ""
        resumed = sum(bool(record.get("resumed")) for record in self._records)
        kept = f", {resumed} of them in an earlier run" if resumed else ""
        blind = {record["id"] for record in self._records if record.get("unseen")}
        unseen = f"; not everything was seen in {len(blind)} check{'s' * (len(blind) > 1)}" if blind else ""
        terminalreporter.write_line(f"parity: {len(self._records)} outputs compared{kept}{worst}{unseen}")
