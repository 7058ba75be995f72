"""Cases × references × precisions: run both sides, compare, and yield one row for each output."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from parity.errors import WorkerError
from parity.execution.execute import Outcome, execute, execute_on
from parity.execution.large_cases import room_for
from parity.run import known
from parity.run.alarms import decided
from parity.run.equivalents import errors_of_equivalents
from parity.run.goldens import Golden, GoldenClient
from parity.run.job import Job
from parity.run.judging import Row, judge
from parity.run.samblocks_library import library as own_library
from parity.run.truth_cache import TruthCache
from parity.verdict import outlier, precision
from parity.verdict.outlier import Outlier
from parity.verdict.precision import DOUBLE, PRECISIONS, SINGLE, Precision
from parity.workers.reply import Answering, Reply

# How many cases the workers may be ahead of the comparison: enough to keep all cores busy, although cases take a
# hundredth of a second or ten; few enough for memory.
_AHEAD, _AHEAD_IF_LARGE = 12, 3


@dataclass(frozen=True)
class _Answers:
    """A worker's replies on one case: in each working precision, and the truth."""

    replies: dict[Precision, Reply]
    truth: Reply | None


def run(
    work: Sequence[Job],
    clients: Sequence[Answering],
    *,
    dtypes: Sequence[Precision | torch.dtype] = (SINGLE, DOUBLE),
    truths: TruthCache | None = None,
    finished: Callable[[Job, Sequence[Row]], None] | None = None,
    error_map: bool = False,
    outlier_found: Callable[[Outlier], None] | None = None,
    device: str = "cpu",
) -> Iterator[Row]:
    """Yield the rows of each job against each reference, in order.

    Args:
        work: what to run.
        clients: the references' workers; each works through the jobs on its own, a few ahead.
        dtypes: working precisions; float64 is judged by the truth itself, a low one against upstream in the same.
        truths: where truths are kept.
        finished: called after each job with its rows.
        error_map: keep with each comparison where the difference sits.
        outlier_found: called for each job on which one of three or more libraries stands apart.
        device: where ours runs; the workers were told when they were started.
    """
    truths = truths or TruthCache(None)
    wanted = [precision.of(entry) for entry in dtypes]
    one_at_a_time = Lock()

    def turn(job: Job) -> AbstractContextManager[object]:
        return one_at_a_time if job.case.large else nullcontext()

    def ask(client: Answering, job: Job, with_truth: bool) -> _Answers:
        try:
            with turn(job):
                return _ask(client, job, wanted, truths, with_truth)
        except WorkerError as error:  # what the others say still counts
            return _Answers({}, Reply("raised", f"{type(error).__name__}: {error}", {}, ()))

    def again(job: Job, names: Sequence[str], *, only: str | None = None) -> list[Row]:
        used = [PRECISIONS[name] for name in names]
        nothing = TruthCache(None)
        with turn(job), room_for(job.case):
            teller = _teller(job, clients)
            asked = {
                client: lane.submit(_ask, client, job, used, nothing, teller in (None, client))
                for client, lane in lanes.items()
                if client.reference.name not in by_files and only in (None, client.reference.name)
            }
            ours = _ours(job, used, device)
            answers = _shared(teller, {client: future.result() for client, future in asked.items()})
        return _rows(job, ours, answers, error_map=False)

    def ours_alone(job: Job) -> dict[str, Outcome | str]:
        return {used.name: outcome for used, outcome in _ours(job, (SINGLE, DOUBLE), device).items()}

    def settled(job: Job, rows: Sequence[Row], *, only: str | None = None) -> list[Row]:
        return decided(job, rows, partial(again, only=only), ours_alone, by_files, own_library())

    def accounted_for(job: Job, rows: Sequence[Row], answers: Mapping[Answering, _Answers]) -> list[Row]:
        """The rows decided, and what is known to differ excused as far as its cause explains it."""
        by_name: dict[str, list[Row]] = {client.reference.name: [] for client in answers}
        by_name |= _by_reference(rows)
        imitations = {name: known.imitation(job, name) for name in by_name}
        plain = settled(job, [row for row in rows if imitations[row.reference] is None])
        by_name |= _by_reference(plain)
        for name, imitation in imitations.items():
            if imitation is not None and known.differ(by_name[name]):
                with turn(job), room_for(job.case):
                    ours = _ours(imitation, wanted, device)
                left = known.left(by_name[name], _rows(imitation, ours, answers, error_map, only=name))
                # Nobody else does what is imitated: further draws are asked of this reference alone.
                imitated = settled(imitation, left, only=name)
                by_name[name] = known.shown(job.case, name, by_name[name], imitated)
        # Other weights may hide what is known to differ, and a low precision may drown it.
        shows = job.filled and any(not each.low for each in wanted)
        return [
            row
            for name, found in by_name.items()
            for row in [*found, *(known.missing(job.case, name, found) if shows else ())]
        ]

    by_files = {client.reference.name: client for client in clients if isinstance(client, GoldenClient)}
    with ExitStack() as stack:
        lanes = {client: stack.enter_context(_lane()) for client in clients}
        waiting: deque[tuple[Job, dict[Answering, Future[_Answers]]]] = deque()
        upcoming = iter(work)
        while True:
            while _more_can_wait(waiting) and (job := next(upcoming, None)) is not None:
                teller = _teller(job, clients)
                asked = {c: lane.submit(ask, c, job, _tells(c, job, teller)) for c, lane in lanes.items()}
                waiting.append((job, asked))
            if not waiting:
                return
            job, asked = waiting.popleft()
            with turn(job), room_for(job.case):
                ours = _ours(job, wanted, device)
            answers = _shared(
                _teller(job, clients), {client: future.result() for client, future in asked.items()}
            )
            rows = accounted_for(job, _rows(job, ours, answers, error_map), answers)
            if outlier_found is not None and (found := _outlier(job, ours, answers)) is not None:
                outlier_found(found)
            if finished is not None:
                finished(job, rows)
            yield from rows


def _more_can_wait(waiting: Sequence[tuple[Job, object]]) -> bool:
    """Whether workers may be given another case."""
    return len(waiting) < (_AHEAD_IF_LARGE if any(job.case.large for job, _ in waiting) else _AHEAD)


@contextmanager
def _lane() -> Iterator[ThreadPoolExecutor]:
    """A thread for one worker; when the run is interrupted, the worker is ended, not waited for."""
    lane = ThreadPoolExecutor(1)
    try:
        yield lane
    except BaseException:
        lane.shutdown(wait=False, cancel_futures=True)
        raise
    lane.shutdown()


def _rows(
    job: Job,
    ours: Mapping[Precision, Outcome | str],
    answers: Mapping[Answering, _Answers],
    error_map: bool,
    *,
    only: str | None = None,
) -> list[Row]:
    """The rows of one draw of a job against every reference, or against one."""
    honest = _equivalents(answers)
    return [
        row
        for client, answer in answers.items()
        if only in (None, client.reference.name)
        for row in judge(
            job.case,
            client.reference.name,
            ours,
            answer.replies,
            answer.truth,
            equivalents=honest.get(client.reference.name, {}),
            error_map=error_map,
        )
    ]


def _ours(job: Job, wanted: Sequence[Precision], device: str) -> dict[Precision, Outcome | str]:
    """Our outcome in each precision, or the sentence with which our code failed."""
    outcomes: dict[Precision, Outcome | str] = {}
    weights = None
    if job.weights is not None:
        import safetensors.torch

        weights = safetensors.torch.load_file(job.weights)
    for each in wanted:
        if each == DOUBLE and not job.case.double:
            continue
        try:
            if job.model is not None and each == SINGLE:
                outcomes[each] = execute_on(
                    job.model, job.case, own_library(), job.inputs, each.dtype, device
                )
            else:
                outcomes[each] = execute(
                    job.case,
                    own_library(),
                    job.inputs,
                    dtype=each.dtype,
                    autocast=each.autocast,
                    weights=weights,
                    device=device,
                )
        except Exception as error:  # a block that raises is a finding to report, not the end of the run
            outcomes[each] = f"ours raised {type(error).__name__}: {error}"
    return outcomes


def _teller(job: Job, clients: Sequence[Answering]) -> Answering | None:
    """Who computes the truth for all; None where each computes its own."""
    return next((client for client in clients if client.reference.name == job.truth_of), None)


def _tells(client: Answering, job: Job, teller: Answering | None) -> bool:
    """Whether a reference computes the truth: one that is known to differ is judged by its own."""
    return teller in (None, client) or client.reference.name in job.case.known


def _shared(teller: Answering | None, answers: dict[Answering, _Answers]) -> dict[Answering, _Answers]:
    """The answers, with the truth that one gave for all who have none of their own."""
    if teller is None:
        return answers
    shared = answers[teller].truth
    return {client: replace(answer, truth=answer.truth or shared) for client, answer in answers.items()}


def _by_reference(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.reference, []).append(row)
    return found


def _equivalents(answers: Mapping[Answering, _Answers]) -> dict[str, dict[str, float]]:
    """By reference and output, the error of another one that computes the same and is less exact in float32."""
    whole = {
        client.reference.name: Golden(answer.replies[SINGLE].outputs, answer.truth.outputs, {})
        for client, answer in answers.items()
        if SINGLE in answer.replies and answer.replies[SINGLE].status == "ok"
        if answer.truth is not None and answer.truth.status == "ok"
    }
    return {name: errors_of_equivalents(whole, name) for name in whole} if len(whole) > 1 else {}


def _ask(
    client: Answering, job: Job, wanted: Sequence[Precision], truths: TruthCache, with_truth: bool
) -> _Answers:
    replies: dict[Precision, Reply] = {}
    for each in wanted:
        if each != DOUBLE:
            replies[each] = client.execute(
                job.case, job.inputs, dtype=each.dtype, autocast=each.autocast, weights=job.weights
            )
            if replies[each].status != "ok" and not each.low:
                return _Answers(replies, None)

    silent = bool(replies) and all(reply.status != "ok" for reply in replies.values())
    if not with_truth or silent:
        return _Answers(replies, None)

    def compute() -> Reply:
        return client.execute(job.case, job.inputs, lift=True, weights=job.weights)

    return _Answers(replies, truths.get(client, job.case, job.inputs, job.weights, compute))


def _outlier(
    job: Job, ours: Mapping[Precision, Outcome | str], answers: Mapping[Answering, _Answers]
) -> Outlier | None:
    """The library that stands apart: judged in float64 where it ran, for there rounding hides nothing."""
    for each in (DOUBLE, *(each for each in ours if not each.low)):
        own = ours.get(each)
        if not isinstance(own, Outcome):
            continue
        outputs: dict[str, Mapping[str, Tensor]] = {own_library().name: own.outputs}
        for client, answer in answers.items():
            reply = answer.truth if each == DOUBLE else answer.replies.get(each)
            if reply is not None and reply.status == "ok":
                outputs[client.reference.name] = reply.outputs
        return outlier.find(job.case.id, outputs)
    return None
