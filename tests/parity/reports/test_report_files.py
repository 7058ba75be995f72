"""JUnit, GitHub annotations and SARIF of a run, and the options of `parity run` that write them."""

import argparse
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from parity.cases import all_cases
from parity.errors import UsageError
from parity.reports import files, github, junit, overview, sarif, summary, terminal
from parity.run.job import Job
from parity.run.judging import Row
from parity.verdict.compare import Comparison, Verdict
from parity.verdict.error_map import ErrorMap

CASE = "LayerNorm2d/map"
VERSIONS = {"meta": {"sam2": "1.1.0"}}
MAP = ErrorMap((4, 4), (0, 1), 4, 4, 1.0, bytes(16))


def row(verdict: Verdict, ratio: float | None = None, case: str = CASE, **more: Any) -> Row:
    fields: dict[str, Any] = {"reference": "meta", "dtype": "float32", "output": "out"}
    how = {name: more.pop(name) for name in ("cause", "max_abs", "index", "error_map") if name in more}
    return Row(case, **(fields | more), comparison=Comparison(verdict, ratio, **how))


ROWS = [
    row(Verdict.DIVERGED, 31.5, cause="R is above 2", max_abs=2e-4, index=(0, 3)),
    row(Verdict.WITHIN, 1e-16, dtype="float64"),
    row(Verdict.EXACT, case="MLP/defaults", max_abs=0.0),
    row(Verdict.NO_COUNTERPART, case="MLP/x", output="-", dtype="-", cause="has no MLP"),
    row(Verdict.INCOMPARABLE, reference="timm", cause="raised a < b & c, \x1b[31m 100%:\nno"),
]

RAN = overview.Ran(4, 1.0, {}, (), 1)


def test_the_example_case_exists() -> None:
    assert CASE in all_cases()


def test_junit_has_a_test_case_for_each_case_and_reference() -> None:
    root = ET.fromstring(junit.text(ROWS, VERSIONS, 12.0).encode())
    suites = {suite.get("name"): suite for suite in root}
    meta, timm = suites["parity.meta"], suites["parity.timm"]
    assert (meta.get("tests"), meta.get("failures"), meta.get("skipped")) == ("3", "1", "1")
    assert (timm.get("tests"), timm.get("failures")) == ("1", "1")
    versions = {p.get("name"): p.get("value") for p in meta.findall("properties/property")}
    assert versions == {"version.sam2": "1.1.0"}
    first = meta.findall("testcase")[0]
    assert (first.get("classname"), first.get("name")) == ("parity.meta.LayerNorm2d", "map")
    assert {p.get("name"): p.get("value") for p in first.iter("property")} == {
        "verdict": "DIVERGED",
        "outputs": "2",
        "R": "31.5",
        "relative_difference_float64": "1e-16",
        "max_abs": "0.0002",
    }
    failure = first.find("failure")
    assert failure is not None
    assert failure.get("type") == "DIVERGED"
    assert failure.text == "out (float32): DIVERGED, R 31.50, max |Δ| 2.0e-04 at [0, 3]: R is above 2"
    skipped = [case.find("skipped") for case in meta.findall("testcase")]
    assert [entry.get("message") for entry in skipped if entry is not None] == ["has no MLP"]


def test_annotations_name_the_line_of_the_case_and_escape_what_upstream_says() -> None:
    root = Path(__file__).parents[3]
    lines = list(github.lines(ROWS, root))
    assert len(lines) == 2
    assert lines[0].startswith("::error file=parity/cases/common.py,line=")
    number = int(lines[0].partition("line=")[2].partition(",")[0])
    source = (root / "parity/cases/common.py").read_text().splitlines()
    assert "map" in "".join(source[number - 1 : number + 4])
    assert "title=LayerNorm2d/map against meta::DIVERGED: LayerNorm2d/map against meta: R 31.50" in lines[0]
    assert lines[1].endswith("\\x1b[31m 100%25: no")


def test_every_format_says_the_same_of_a_line() -> None:
    (line, *_) = summary.summarize(ROWS)
    suites = ET.fromstring(junit.text(ROWS, VERSIONS).encode())
    failure = suites.find("testsuite/testcase/failure")
    assert failure is not None
    said = {
        "junit": failure.get("message"),
        "sarif": sarif.document(ROWS, "")["runs"][0]["results"][0]["message"]["text"],
        "github": next(github.lines(ROWS)).partition("::error ")[2].partition("::")[2],
        "terminal": "".join(next(overview.failures(ROWS))[:2]).replace(" ", ": ", 1),
    }
    assert set(said.values()) == {line.message}
    assert line.message == (
        "DIVERGED: LayerNorm2d/map against meta: R 31.50, float64 1.0e-16, max |Δ| 2.0e-04; "
        "out (float32): R is above 2"
    )


def test_annotations_are_counted_beyond_what_is_shown() -> None:
    rows = [row(Verdict.DIVERGED, 3.0, case=f"B/c,{n}:") for n in range(13)]
    lines = list(github.lines(rows))
    assert len(lines) == github.MOST + 1
    assert lines[-1] == "::error title=parity::3 more comparisons did not hold; see the report"
    assert lines[0].startswith("::error title=B/c%2C0%3A against meta::")  # no such case: no file


def test_sarif_has_the_shape_of_2_1_0() -> None:
    root = Path(__file__).parents[3]
    document = json.loads(json.dumps(sarif.document(ROWS, "1.2.3", root), allow_nan=False))
    assert set(document) == {"$schema", "version", "runs"}
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["version"] == "1.2.3"
    rules = [rule["id"] for rule in driver["rules"]]
    assert rules == ["parity/diverged", "parity/incomparable"]
    assert len(run["results"]) == 2
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] == "error"
        assert result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert (root / place["artifactLocation"]["uri"]).is_file()
        assert place["region"]["startLine"] >= 1
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
    infinite = sarif.document([row(Verdict.DIVERGED, float("inf"))], "")
    assert "R" not in infinite["runs"][0]["results"][0]["properties"]


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    files.add(parser)
    return parser.parse_args(arguments)


def test_every_report_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    names = {"--json": "a.json", "--html": "b.html", "--junit": "c.xml", "--sarif": "d.sarif"}
    chosen = options(*(part for name, file in names.items() for part in (name, str(tmp_path / "out" / file))))
    files.check(chosen)
    rows = [*ROWS, row(Verdict.DIVERGED, 5.0, case="MLP/y", error_map=MAP)]
    files.write(chosen, rows, VERSIONS, 1.0, ["MLP/y: timm stands apart"])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(names.values())
    page = (tmp_path / "out" / "b.html").read_text()
    assert page.count("data:image/png") == 1
    assert "MLP/y: timm stands apart" in page
    assert "error_map" not in (tmp_path / "out" / "a.json").read_text()
    assert capsys.readouterr().out == ""


def test_a_github_workflow_gets_annotations_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    files.write(options(), ROWS, VERSIONS, 1.0)
    assert capsys.readouterr().out.count("::error ") == 2
    monkeypatch.delenv("GITHUB_ACTIONS")
    files.write(options("--github"), ROWS, VERSIONS, 1.0)
    assert capsys.readouterr().out.count("::error ") == 2


def test_what_would_fail_after_the_run_is_said_before_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        files.check(options("--json", str(tmp_path)))
    with pytest.raises(UsageError, match="--html writes, which was not asked for"):
        files.check(options("--mutants", "m.json"))
    (tmp_path / "m.json").write_text("[1")
    with pytest.raises(UsageError, match="is not what `parity mutants --json` writes"):
        files.check(options("--html", str(tmp_path / "p.html"), "--mutants", str(tmp_path / "m.json")))
    files.check(options("--html", str(tmp_path / "new" / "folder" / "p.html")))
    assert not (tmp_path / "new").exists()


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_shows_the_table_and_how_far_the_run_is(
    monkeypatch: pytest.MonkeyPatch, rich: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    if rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setattr(terminal, "find_spec", lambda name: None)
    screen = Screen()
    job = Job(all_cases()[CASE], {})
    with terminal.progress(2, screen) as advance:
        advance(job, ROWS)
        advance(job, [])
    assert ("2/2" in screen.getvalue()) is rich  # the other way is a line every now and then
    assert ("1 failed" if rich else "failed: LayerNorm2d/map against meta, timm") in screen.getvalue()
    table = Screen()
    terminal.show(overview.lines(ROWS, RAN), table)
    for text in ("LayerNorm2d/map", "31.50", "DIVERGED", "R is above 2"):
        assert text in table.getvalue()
    assert ("\x1b[1;31mDIVERGED" in table.getvalue()) is rich


def test_a_file_gets_plain_text() -> None:
    stream = io.StringIO()
    terminal.show(overview.lines(ROWS, RAN, failures_only=True), stream)
    assert stream.getvalue().splitlines()[0].startswith("DIVERGED LayerNorm2d/map against meta: R 31.50")
    assert "MLP/defaults" not in stream.getvalue()
    assert not set("\r\x1b") & set(stream.getvalue())
