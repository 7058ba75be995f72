"""Cases × references × precisions: run both sides, compare, and yield one row for each output."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from parity import outlier
from parity.case import Case
from parity.compare import Comparison, Verdict, compare, compare_double
from parity.envelopes import envelope
from parity.execute import Outcome, execute, execute_on
from parity.heat import grid
from parity.impact import Impact, impact
from parity.outlier import Outlier
from parity.own import library as own_library
from parity.references.reply import Answering, Reply
from parity.truths import TruthCache

# How many cases the workers may be ahead of the comparison: enough to keep them busy, few enough for memory.
_AHEAD = 3


@dataclass(frozen=True)
class Job:
    """A case with the tensors it runs on.

    Attributes:
        case: what to run.
        inputs: input tensors by name.
        weights: file with weights in Meta's names, instead of filled ones.
        model: a loaded model of ours, run in float32 in place of one that is made for the case.
        truth_of: the reference whose truth serves for all; by default each is judged by its own.
    """

    case: Case
    inputs: Mapping[str, Tensor] = field(repr=False)
    weights: Path | None = None
    model: nn.Module | None = field(default=None, repr=False)
    truth_of: str | None = None


@dataclass(frozen=True)
class Row:
    """The comparison of one output of one case with one reference in one precision.

    For masks, qualities and scores of whole models, also what the difference does.
    """

    id: str
    reference: str
    dtype: str
    output: str
    comparison: Comparison
    impact: Impact | None = None


@dataclass(frozen=True)
class _Answers:
    """A worker's replies on one case: in each working precision, and the truth."""

    replies: dict[torch.dtype, Reply]
    truth: Reply | None


def jobs(cases: Sequence[Case]) -> Iterator[Job]:
    """Cases on the inputs and weights that follow from their names."""
    for case in cases:
        yield Job(case, case.tensors())


def run(
    work: Sequence[Job],
    clients: Sequence[Answering],
    *,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    truths: TruthCache | None = None,
    finished: Callable[[Job, Sequence[Row]], None] | None = None,
    heat: bool = False,
    apart: Callable[[Outlier], None] | None = None,
) -> Iterator[Row]:
    """Yield the rows of each job against each reference, in order.

    Args:
        work: what to run.
        clients: the references' workers; each works through the jobs on its own, a few ahead.
        dtypes: working precisions; float64 is judged by the truth itself.
        truths: where truths are kept.
        finished: called after each job with its rows.
        heat: keep with each comparison where the difference sits.
        apart: called for each job on which one of three or more libraries stands apart.
    """
    truths = truths or TruthCache(None)
    with ExitStack() as stack:
        lanes = {client: stack.enter_context(ThreadPoolExecutor(1)) for client in clients}
        waiting: deque[tuple[Job, dict[Answering, Future[_Answers]]]] = deque()
        upcoming = iter(work)
        while True:
            while len(waiting) < _AHEAD and (job := next(upcoming, None)) is not None:
                teller = _teller(job, clients)
                asked = {
                    c: lane.submit(_ask, c, job, dtypes, truths, teller in (None, c))
                    for c, lane in lanes.items()
                }
                waiting.append((job, asked))
            if not waiting:
                return
            job, asked = waiting.popleft()
            ours = _ours(job, dtypes)
            answers = _shared(
                _teller(job, clients), {client: future.result() for client, future in asked.items()}
            )
            rows = [
                row for client, answer in answers.items() for row in _judge(job, client, ours, answer, heat)
            ]
            if apart is not None and (stranger := _stranger(job, ours, answers)) is not None:
                apart(stranger)
            if finished is not None:
                finished(job, rows)
            yield from rows


def _ours(job: Job, dtypes: Sequence[torch.dtype]) -> dict[torch.dtype, Outcome | str]:
    """Our outcome in each precision, or the sentence with which our code failed."""
    outcomes: dict[torch.dtype, Outcome | str] = {}
    weights = None
    if job.weights is not None:
        import safetensors.torch

        weights = safetensors.torch.load_file(job.weights)
    for dtype in dtypes:
        if dtype is torch.float64 and not job.case.double:
            continue
        try:
            if job.model is not None and dtype is torch.float32:
                outcomes[dtype] = execute_on(job.model, job.case, own_library(), job.inputs, dtype)
            else:
                outcomes[dtype] = execute(job.case, own_library(), job.inputs, dtype=dtype, weights=weights)
        except Exception as error:  # a block that raises is a finding to report, not the end of the run
            outcomes[dtype] = f"ours raised {type(error).__name__}: {error}"
    return outcomes


def _teller(job: Job, clients: Sequence[Answering]) -> Answering | None:
    """Who computes the truth for all; None where each computes its own."""
    return next((client for client in clients if client.reference.name == job.truth_of), None)


def _shared(teller: Answering | None, answers: dict[Answering, _Answers]) -> dict[Answering, _Answers]:
    """The answers, with the truth that one gave for all."""
    if teller is None:
        return answers
    return {client: replace(answer, truth=answers[teller].truth) for client, answer in answers.items()}


def _ask(
    client: Answering, job: Job, dtypes: Sequence[torch.dtype], truths: TruthCache, with_truth: bool
) -> _Answers:
    replies: dict[torch.dtype, Reply] = {}
    for dtype in dtypes:
        if dtype is not torch.float64:
            replies[dtype] = client.execute(job.case, job.inputs, dtype=dtype, weights=job.weights)
            if replies[dtype].status != "ok":
                return _Answers(replies, None)

    if not with_truth:
        return _Answers(replies, None)

    def compute() -> Reply:
        return client.execute(job.case, job.inputs, lift=True, weights=job.weights)

    return _Answers(replies, truths.get(client, job.case, job.inputs, job.weights, compute))


def _stranger(
    job: Job, ours: Mapping[torch.dtype, Outcome | str], answers: Mapping[Answering, _Answers]
) -> Outlier | None:
    """The library that stands apart: judged in float64 where it ran, for there rounding hides nothing."""
    for dtype in (torch.float64, *ours):
        own = ours.get(dtype)
        if not isinstance(own, Outcome):
            continue
        outputs: dict[str, Mapping[str, Tensor]] = {own_library().name: own.outputs}
        for client, answer in answers.items():
            reply = answer.truth if dtype is torch.float64 else answer.replies.get(dtype)
            if reply is not None and reply.status == "ok":
                outputs[client.reference.name] = reply.outputs
        return outlier.find(job.case.id, outputs)
    return None


def _judge(
    job: Job, client: Answering, ours: Mapping[torch.dtype, Outcome | str], answers: _Answers, heat: bool
) -> list[Row]:
    reference, case = client.reference.name, job.case
    for reply in (*answers.replies.values(), answers.truth):
        if reply is not None and reply.status == "no counterpart":
            return [
                Row(case.id, reference, "-", "-", Comparison(Verdict.NO_COUNTERPART, cause=reply.message))
            ]
        if reply is not None and reply.status != "ok":
            cause = f"{reference} raised {reply.message}"
            return [Row(case.id, reference, "-", "-", Comparison(Verdict.INCOMPARABLE, cause=cause))]
    truth = answers.truth.outputs if answers.truth is not None else {}
    rows: list[Row] = []
    for dtype, outcome in ours.items():
        name = str(dtype).removeprefix("torch.")
        if isinstance(outcome, str):
            rows.append(Row(case.id, reference, name, "-", Comparison(Verdict.DIVERGED, cause=outcome)))
            continue
        upstream = answers.replies.get(dtype)
        if upstream is not None:
            rows += _state(case, reference, name, outcome, upstream)
        theirs = truth if upstream is None else upstream.outputs
        found = _outputs(case, reference, name, outcome.outputs, theirs, truth, double=upstream is None)
        rows += (_heated(row, outcome.outputs, theirs) for row in found) if heat else found
    return [*_blindness(case, reference, truth), *_with_known(case, reference, rows)]


def _outputs(
    case: Case,
    reference: str,
    dtype: str,
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    *,
    double: bool,
) -> Iterator[Row]:
    for path in [*theirs, *(path for path in ours if path not in theirs)]:
        if path not in ours or path not in theirs:
            whose = "ours" if path not in ours else reference
            result = Comparison(Verdict.INCOMPARABLE, cause=f"{whose} has no output {path!r}")
        elif double:
            result = compare_double(ours[path], theirs[path], bound=0.0 if case.exact else case.bound64)
        else:
            result = compare(
                ours[path],
                theirs[path],
                truth.get(path),
                bound=case.bound,
                exact=case.exact,
                envelope=envelope(reference, case.id, path) if dtype == "float32" else 0.0,
            )
        effect = None
        if case.variant is not None and not double and path in ours and path in theirs:
            effect = impact(path, ours[path], theirs[path], truth.get(path))
        yield Row(case.id, reference, dtype, path, result, effect)


def _heated(row: Row, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Row:
    """The row with where its difference sits, if there is one."""
    if row.comparison.verdict is Verdict.EXACT or row.output not in ours or row.output not in theirs:
        return row
    where = grid(ours[row.output], theirs[row.output])
    return replace(row, comparison=replace(row.comparison, heat=where))


def _state(case: Case, reference: str, dtype: str, ours: Outcome, theirs: Reply) -> list[Row]:
    """A row if the two modules' tensors differ in name or shape: then their weights are not compatible."""
    difference = sorted(set(ours.state) ^ set(theirs.state))
    if not difference:
        return []
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in difference[:4])
    cause = f"{len(difference)} tensors differ in name or shape, e.g. {shown}"
    return [Row(case.id, reference, dtype, "state_dict", Comparison(Verdict.INCOMPARABLE, cause=cause))]


def _blindness(case: Case, reference: str, truth: Mapping[str, Tensor]) -> list[Row]:
    """A row if the case says of the truth's outputs that nothing could be seen in them."""
    if case.check is None or not truth:
        return []
    try:
        case.check(truth)
    except AssertionError as blind:
        result = Comparison(Verdict.INCOMPARABLE, cause=f"the case is blind: {blind}")
        return [Row(case.id, reference, "float64", "-", result)]
    return []


def _with_known(case: Case, reference: str, rows: list[Row]) -> list[Row]:
    """Excuse what is known to differ, and complain when it no longer does."""
    cause = case.known.get(reference)
    if cause is None:
        return rows
    differing = [row for row in rows if row.comparison.verdict.failed and row.output != "-"]
    if not differing:
        gone = Comparison(Verdict.DIVERGED, cause=f"known to differ, but does not any more: {cause}")
        return [*rows, Row(case.id, reference, "-", "-", gone)]
    return [
        replace(row, comparison=replace(row.comparison, verdict=Verdict.KNOWN, cause=cause))
        if row in differing
        else row
        for row in rows
    ]
