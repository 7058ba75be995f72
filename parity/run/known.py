"""Known differences: our side does what a reference does otherwise, and whatever is left is judged as ever."""

from collections.abc import Sequence
from dataclasses import replace

from parity.execution.case import Case
from parity.run.job import Job
from parity.run.judging import Row
from parity.verdict.compare import Comparison, Verdict

_NOTHING = "-"
"""The output of a row in which none was compared."""


def imitation(job: Job, reference: str) -> Job | None:
    """The job as our side runs it to do as a reference does; None where nothing is known that could be imitated.

    Its case has the same id, by which the reference's worker knows it: there it runs as it is written down.
    """
    known = job.case.known.get(reference)
    if known is None or known.imitation is None:
        return None
    left = {reference: replace(known, imitation=None, shown="")} if known.most else {}
    # By the truth of another library the difference would count as this one's error.
    return replace(job, case=replace(known.imitation(job.case), known=left), truth_of=None)


def differ(rows: Sequence[Row]) -> bool:
    """Whether a comparison of outputs, or of the modules' tensors, did not hold."""
    return any(row.comparison.verdict.failed and row.output != _NOTHING for row in rows)


def left(rows: Sequence[Row], imitated: Sequence[Row]) -> list[Row]:
    """The rows of an imitation that are asked for: those of outputs that hold as they are need no further draws."""
    held = {_key(row) for row in rows if not row.comparison.verdict.failed and row.dtype != "float64"}
    return [row for row in imitated if _key(row) not in held]


def shown(case: Case, reference: str, rows: Sequence[Row], imitated: Sequence[Row]) -> list[Row]:
    """The rows of a case whose difference our side imitates.

    Args:
        case: as it is written down.
        reference: of which something is known.
        rows: ours as it is against the reference.
        imitated: ours as the reference does it against the reference, decided.

    Returns:
        What holds as it is; as known what holds imitated, with the figures of the difference; and what fails
        imitated, with what is left of it.
    """
    known = case.known[reference]
    failed = {_key(row): row for row in imitated if row.comparison.verdict.failed}
    nothing_ran = next((row for row in failed.values() if row.output == _NOTHING), None)
    found = []
    for row in rows:
        key = _key(row)
        if not row.comparison.verdict.failed or row.output == _NOTHING:
            found.append(row)
        elif left := failed.pop(key, nothing_ran):
            cause = f"not by its known cause alone ({known.sentence}): {left.comparison.cause}"
            found.append(replace(row, comparison=replace(left.comparison, cause=cause)))
        else:
            excused = replace(row.comparison, verdict=Verdict.KNOWN, cause=known.sentence)
            found.append(replace(row, comparison=excused))
    held = {_key(row) for row in rows}
    return [*found, *(row for key, row in failed.items() if key not in held and row.output != _NOTHING)]


def missing(case: Case, reference: str, rows: Sequence[Row]) -> list[Row]:
    """A complaint where something is known, would show, and is not there any more."""
    known = case.known.get(reference)
    compared = [row for row in rows if row.output != _NOTHING]
    if known is None or not compared:
        return []
    if any(row.comparison.verdict is Verdict.KNOWN or row.comparison.verdict.failed for row in compared):
        return []
    gone = Comparison(Verdict.DIVERGED, cause=f"known to differ, but does not any more: {known.cause}")
    return [Row(case.id, reference, _NOTHING, _NOTHING, gone)]


def _key(row: Row) -> tuple[str, str]:
    return row.dtype, row.output
