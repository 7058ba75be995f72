"""First alarms of a job, decided by further draws, and what each failure means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from parity.execution.case import Library
from parity.execution.execute import Outcome
from parity.run.goldens import GoldenClient
from parity.run.job import Job, another_draw
from parity.run.judging import Row, bound_of
from parity.verdict.compare import Comparison, Verdict
from parity.verdict.precision import PRECISIONS
from samblocks.numerics.draws import first_alarms, settle, with_question
from samblocks.numerics.verdict import Error, above, ratio_of

_DOUBLE = "float64"

Key = tuple[str, str, str]
"""Reference, precision and output."""


def decided(
    job: Job,
    rows: Sequence[Row],
    again: Callable[[Job, Sequence[str]], Sequence[Row]],
    ours: Callable[[Job], Mapping[str, Outcome | str]],
    goldens: Mapping[str, GoldenClient],
    library: Library,
) -> list[Row]:
    """The rows of a job, with first alarms decided by more draws and the failed question named.

    Args:
        job: what was run.
        rows: its rows by the first draw.
        again: runs another draw of the job on both sides, in the named precisions, and gives its rows.
        ours: runs another draw on our side alone, in float32 and float64: what goldens are judged by.
        goldens: by the reference's name, those that answer from files: they hold the reference's errors alone.
        library: ours.
    """
    narrow = {key: row.comparison for key, row in _keyed(rows).items() if row.dtype != _DOUBLE}
    wide = {(row.reference, row.output): row.comparison for row in rows if row.dtype == _DOUBLE}
    double = {key: wide[key[0], key[2]] for key in narrow if (key[0], key[2]) in wide}
    bounds = {key: _bound(job, row) for key, row in _keyed(rows).items()}
    # Where a golden judges, our own float64 is the truth of further draws: it must have been shown to be that.
    first = first_alarms(narrow, double, bounds, need_double={key for key in narrow if key[0] in goldens})

    def draw(number: int) -> dict[Key, Comparison]:
        with another_draw(job, number, library) as drawn:
            if drawn is None:
                return {}
            found: dict[Key, Comparison] = {}
            live = [key for key in first if key[0] not in goldens]
            if live:
                compared = _keyed(again(drawn, sorted({dtype for _, dtype, _ in live})))
                found |= {key: one for key in live if (one := _of(key, compared)) is not None}
            if len(live) < len(first):
                outcomes = ours(drawn)
                for key in first:
                    if key[0] in goldens:
                        one = _by_golden(goldens[key[0]], job, number, key[2], outcomes, bounds[key])
                        found |= {} if one is None else {key: one}
            return found

    settled = settle(first, draw, bounds, same=double)
    # Float64 has rows of its own here, perhaps known to differ: it lends its words to a failure, and makes none.
    return [
        replace(row, comparison=with_question(settled.get(_key(row), row.comparison), double.get(_key(row))))
        if row.dtype != _DOUBLE
        else row
        for row in rows
    ]


def _of(key: Key, compared: Mapping[Key, Row]) -> Comparison | None:
    """The comparison of an output in a draw; that of the whole run where ours raised, none where upstream did."""
    reference, dtype, _ = key
    row = compared.get(key) or compared.get((reference, dtype, "-"))
    return row.comparison if row is not None and row.comparison.verdict is not Verdict.INCOMPARABLE else None


def _by_golden(
    golden: GoldenClient,
    job: Job,
    number: int,
    output: str,
    outcomes: Mapping[str, Outcome | str],
    bound: float,
) -> Comparison | None:
    """One output in one draw, by our own float64 as the truth and the reference's recorded error."""
    narrow, wide = (_output(outcomes[name], output) for name in ("float32", _DOUBLE))
    for found in (narrow, wide):
        if isinstance(found, str):
            return Comparison(Verdict.DIVERGED, cause=found)
    assert not isinstance(narrow, str)
    assert not isinstance(wide, str)
    if bool(wide.isfinite().all()) and not bool(narrow.isfinite().all()):
        return Comparison(Verdict.DIVERGED, cause="ours has values that are not finite")
    recorded = golden.errors(job.case, number, output)
    if recorded is None:
        return None
    rms, honest = recorded
    ratio, _, _ = ratio_of(narrow, wide, Error(rms, rms), honest=honest)
    compared = Comparison(Verdict.WITHIN, ratio)
    return (
        compared
        if ratio <= bound
        else replace(compared, verdict=Verdict.DIVERGED, cause=above(compared, bound))
    )


def _output(outcome: Outcome | str, path: str) -> Tensor | str:
    if isinstance(outcome, str):
        return outcome
    return outcome.outputs.get(path, f"ours has no output {path!r}")


def _bound(job: Job, row: Row) -> float:
    used = PRECISIONS.get(row.dtype)
    return job.case.bound if used is None else bound_of(job.case, used, row.output)


def _keyed(rows: Sequence[Row]) -> dict[Key, Row]:
    return {_key(row): row for row in rows}


def _key(row: Row) -> Key:
    return row.reference, row.dtype, row.output
