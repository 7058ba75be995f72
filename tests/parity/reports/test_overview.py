"""What a person reads of a run: every failure, what is known, a line a block, and one that says it all."""

import io
from typing import Any

import pytest
from torch import nn

from parity.execution.case import Case, shown
from parity.reports import overview, summary, terminal
from parity.reports.overview import Ran
from parity.run.job import Job
from parity.run.judging import Row
from parity.verdict.compare import Comparison, Verdict
from parity.verdict.outlier import Outlier


def row(case: str, verdict: Verdict, ratio: float | None = None, reference: str = "meta", **more: Any) -> Row:
    fields: dict[str, Any] = {"dtype": "float32", "output": "out"}
    how = {name: more.pop(name) for name in ("cause", "max_abs") if name in more}
    return Row(case, reference, **(fields | more), comparison=Comparison(verdict, ratio, **how))


HELD = [
    row("MLP/a", Verdict.EXACT, max_abs=0.0),
    row("MLP/a", Verdict.EXACT, dtype="float64", max_abs=0.0),
    row("MLP/a", Verdict.NO_COUNTERPART, reference="timm", output="-", dtype="-", cause="timm has no MLP"),
    row("Attention/b", Verdict.WITHIN, 1.25, max_abs=2e-7),
    row("Attention/b", Verdict.WITHIN, 3e-16, dtype="float64"),
    row("Attention/c", Verdict.WITHIN, 0.75),
    row("Attention/c", Verdict.KNOWN, 4000.0, reference="timm", cause="another\n  epsilon", max_abs=0.5),
]


def text(
    rows: list[Row],
    *,
    missing: dict[str, str] | None = None,
    outliers: tuple[Outlier, ...] = (),
    matmul: dict[str, float] | None = None,
    **how: bool,
) -> str:
    status = summary.status(rows, incomplete=bool(missing))
    ran = Ran(len({row.id for row in rows}), 12.4, missing or {}, outliers, status, matmul or {})
    stream = io.StringIO()
    terminal.show(overview.lines(rows, ran, **how), stream)
    return stream.getvalue()


def test_a_run_that_holds() -> None:
    assert text(HELD).splitlines() == [
        "known to differ, and seen to differ still, by no more than the cause explains:",
        "KNOWN timm, 1 case of Attention: another epsilon; R 4.0e+03, max |Δ| 5.0e-01",
        "",
        "verdict        block     cases  worst R  float64  references (=: every bit)",
        "EXACT          MLP           1        =        =  meta",
        "WITHIN         Attention     2     1.25  3.0e-16  meta, timm",
        "",
        "PASSED: 3 cases against meta, timm in 12 s: 1 KNOWN, 2 WITHIN, 1 EXACT, 1 NO COUNTERPART; "
        "worst R 1.25 (Attention/b against meta); float64 within 3.0e-16",
    ]


def test_references_of_more_exact_products_are_named() -> None:
    said = (
        "matrix products are 1.8 times less exact here than in meta's process: so many times counts its error"
    )
    assert said in text(HELD, matmul={"meta": 1.768}, failures_only=True)
    assert "matrix products" not in text(HELD)


def test_a_block_that_is_known_to_differ_has_no_figures() -> None:
    """They would say how far upstreams are from each other."""
    rows = [row("MLP/a", Verdict.KNOWN, 4e6, max_abs=0.5, cause="another epsilon"), HELD[2]]
    assert "KNOWN          MLP       1                    meta" in text(rows).splitlines()


def test_what_failed_comes_first_with_its_figures() -> None:
    failed = row("MLP/d", Verdict.DIVERGED, 31.5, cause="R is above 2", max_abs=2e-4)
    found = text([*HELD, failed]).splitlines()
    assert found[:2] == [
        "DIVERGED MLP/d against meta: R 31.50, max |Δ| 2.0e-04; out (float32): R is above 2",
        "",
    ]
    assert "DIVERGED       MLP           2    31.50        =  meta" in found
    assert found[-1].startswith(
        "FAILED: 4 cases against meta, timm in 12 s: 1 DIVERGED, 1 KNOWN, 2 WITHIN, 1 EXACT"
    )
    assert "worst R 31.50 (MLP/d against meta)" in found[-1]
    assert text([*HELD, failed], failures_only=True).splitlines() == [*found[:2], found[-1]]


def test_a_cause_that_many_share_is_told_once() -> None:
    cause = "meta raised WorkerError: the meta worker died on MLP/0: Killed"
    dead = [row(f"MLP/{n}", Verdict.INCOMPARABLE, cause=cause, output="-", dtype="-") for n in range(5)]
    found = text(dead, failures_only=True).splitlines()
    assert found[0] == (
        f"INCOMPARABLE 5 cases against meta, MLP/0, MLP/1, MLP/2 and 2 more (--verbose names them): {cause}"
    )
    assert len(found) == 3
    assert len([line for line in text(dead, every_row=True).splitlines() if line.endswith(cause)]) == 6
    assert len(text(dead[:3], failures_only=True).splitlines()) == 5


def test_every_row_is_there_where_it_is_wanted() -> None:
    found = text(HELD, every_row=True)
    for line in (
        "NO COUNTERPART MLP/a       timm",
        "EXACT          MLP/a       meta",
        "float32: 1 outputs bit-equal",
    ):
        assert line in found
    assert found.endswith(text(HELD))


def test_what_did_not_run_is_told_once() -> None:
    why = "the references' environment is missing:\nmake references"
    rows = [
        row(f"MLP/{n}", Verdict.NOT_RUN, reference="timm", cause=why, output="-", dtype="-") for n in range(9)
    ]
    found = text(rows, missing={"timm": why}).splitlines()
    assert "NOT RUN timm: the references' environment is missing: make references" in found
    assert found[-1] == "NOTHING RAN: 9 cases in 12 s: 9 NOT RUN"
    assert sum("make references" in line for line in found) == 1
    found = text([*rows, *HELD], missing={"timm": why}).splitlines()
    assert found[-1].startswith("INCOMPLETE: 12 cases against meta in 12 s")
    assert text([], failures_only=True) == "NOTHING RAN: 0 cases in 12 s: nothing to compare\n"


def test_who_stands_apart_is_counted_and_ours_is_named() -> None:
    outliers = tuple(
        Outlier(f"MLP/{name}", name, "out", 0.5, 1e-8, ("a", "b")) for name in ("samblocks", "timm", "meta")
    )
    found = text(HELD, outliers=outliers)
    assert "where three or more libraries ran a case: meta in 1, samblocks in 1, timm in 1\n" in found
    assert "  MLP/samblocks: samblocks stands apart from a, b" in found
    assert "MLP/timm" not in found
    assert "  MLP/timm: timm stands apart from a, b" in text(HELD, outliers=outliers, every_row=True)
    assert "stand apart" not in text(HELD, outliers=outliers, failures_only=True)


def test_a_module_in_a_sentence_is_its_name() -> None:
    assert shown(nn.Sequential(nn.Linear(2, 3), nn.GELU())) == "a Sequential"
    assert (shown(nn.GELU), shown(0.5), shown("x"), shown((1, 2))) == ("GELU", "0.5", "'x'", "(1, 2)")


def test_progress_in_a_log_is_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("parity.reports.terminal.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    with terminal.progress(40, stream) as advance:
        for number in range(40):
            clock[0] += 2.0
            failed = [
                row("MLP/7", Verdict.DIVERGED, 3.0),
                row("MLP/7", Verdict.DIVERGED, 3.0, reference="timm"),
            ]
            advance(Job(Case(block="MLP", name=str(number), why="w"), {}), failed if number == 7 else HELD)
    assert stream.getvalue().splitlines() == [
        "failed: MLP/7 against meta, timm",
        "15/40 cases in 30 s, 1 failed, last MLP/14",
        "30/40 cases in 60 s, 1 failed, last MLP/29",
    ]


def test_figures_that_are_not_finite_are_shown() -> None:
    rows = [row("MLP/a", Verdict.DIVERGED, float("inf"), max_abs=float("nan"), cause="R is above 2")]
    assert "R inf, max |Δ| nan" in text(rows)
