"""Our outcomes of one case against one reference's: one row for each output and precision."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from parity.execution.case import Case, Known
from parity.execution.execute import Outcome
from parity.verdict.compare import Comparison, Verdict, compare, compare_double
from parity.verdict.error_map import grid
from parity.verdict.mask_impact import Impact, impact
from parity.verdict.precision import SINGLE, Precision
from parity.workers.reply import Reply
from samblocks.numerics.matmul import matmul_error_ratio
from samblocks.numerics.verdict import error, largest

OF_INPUTS = "input/"
"""How the names of gradients of inputs begin."""

# Gradients through a softmax are differences of nearly equal numbers, of which a low precision leaves little: over 36
# runs with other weights our error there was 0.47 to 2.43 times upstream's, the median 0.93.
_LOW_GRADIENTS = 4.0


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


def judge(
    case: Case,
    reference: str,
    ours: Mapping[Precision, Outcome | str],
    replies: Mapping[Precision, Reply],
    truth_reply: Reply | None,
    *,
    equivalents: Mapping[str, float] = MappingProxyType({}),
    error_map: bool = False,
) -> list[Row]:
    """Compare our outcomes of one case with one reference's, and excuse as much as a known difference explains.

    One that our side can imitate is excused nowhere here: see `parity.run.known`.

    Args:
        case: what was run.
        reference: the reference's name.
        ours: our outcome in each precision, or the sentence with which our code failed.
        replies: the reference's replies; float64 is judged by the truth itself, a low precision against upstream
            in the same.
        truth_reply: the lifted run; None where nothing needed it.
        equivalents: by output, the relative error in float32 of another reference that computes the same.
        error_map: keep with each comparison where the difference sits.
    """
    full = [reply for each, reply in replies.items() if not each.low]
    for reply in (*full, truth_reply):
        if reply is not None and reply.status == "no counterpart":
            return [
                Row(case.id, reference, "-", "-", Comparison(Verdict.NO_COUNTERPART, cause=reply.message))
            ]
        if reply is not None and reply.status != "ok":
            cause = f"{reference} raised {reply.message}"
            return [Row(case.id, reference, "-", "-", Comparison(Verdict.INCOMPARABLE, cause=cause))]
    truth = truth_reply.outputs if truth_reply is not None else {}
    rows: list[Row] = []
    for each, outcome in ours.items():
        upstream = replies.get(each)
        if upstream is not None and upstream.status != "ok":
            rows.append(Row(case.id, reference, each.name, "-", _not_in(each, reference, upstream)))
            continue
        if isinstance(outcome, str):
            rows.append(Row(case.id, reference, each.name, "-", Comparison(Verdict.DIVERGED, cause=outcome)))
            continue
        if upstream is not None:
            rows += _state(case, reference, each.name, outcome, upstream)
        theirs = truth if upstream is None else upstream.outputs
        mine = _as_narrow(outcome.outputs, theirs) if each.low else outcome.outputs
        theirs = _as_narrow(theirs, mine) if each.low else theirs
        found = _outputs(
            case,
            reference,
            each,
            mine,
            theirs,
            truth,
            equivalents if each == SINGLE else {},
            matmul_error_ratio(upstream.matmul_error) if upstream is not None and each == SINGLE else 1.0,
            double=upstream is None,
        )
        rows += (_with_error_map(row, mine, theirs) for row in found) if error_map else found
    return [*_blindness(case, reference, truth), *rows]


def _not_in(low: Precision, reference: str, reply: Reply) -> Comparison:
    """A reference that has nothing to compare with in a low precision: many of upstream's modules raise there."""
    cause = reply.message if reply.status == "no counterpart" else f"{reference} raises {reply.message}"
    return Comparison(Verdict.NO_COUNTERPART, cause=f"in {low.name}: {cause}")


def _as_narrow(outputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs in the other side's dtype where that is narrower: libraries differ in what they keep in float32."""
    found = dict(outputs)
    for path, value in outputs.items():
        other = others.get(path)
        if other is not None and value.is_floating_point() and other.is_floating_point():
            found[path] = value.to(other.dtype) if other.dtype.itemsize < value.dtype.itemsize else value
    return found


def _outputs(
    case: Case,
    reference: str,
    used: Precision,
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    equivalents: Mapping[str, float],
    matmul: float,
    *,
    double: bool,
) -> Iterator[Row]:
    known = case.known.get(reference)
    known = known if known is not None and known.imitation is None else None
    for path in [*theirs, *(path for path in ours if path not in theirs)]:
        if path not in ours or path not in theirs:
            whose = "ours" if path not in ours else reference
            result = Comparison(Verdict.INCOMPARABLE, cause=f"{whose} has no output {path!r}")
        elif double:
            result = compare_double(ours[path], theirs[path], bound=0.0 if case.exact else case.bound64)
        elif used.low and _chosen(case, path):
            cause = f"in {used.name} it is a matter of rounding which mask is chosen"
            result = Comparison(Verdict.NO_COUNTERPART, cause=cause)
        elif used.low and not theirs[path].is_floating_point() and not torch.equal(ours[path], theirs[path]):
            result = Comparison(
                Verdict.NO_COUNTERPART, cause=f"in {used.name} a decision is a matter of rounding"
            )
        else:
            result = compare(
                ours[path],
                theirs[path],
                truth.get(path),
                bound=bound_of(case, used, path),
                exact=case.exact,
                honest=max(_half_a_unit(used), equivalents.get(path, 0.0)),
                matmul=matmul,
            )
        if known is not None and result.verdict.failed and path in ours and path in theirs:
            result = _excused(
                known, path, result, ours[path], theirs[path], None if double else truth.get(path)
            )
        effect = None
        if case.variant is not None and not double and path in ours and path in theirs:
            effect = impact(path, ours[path], theirs[path], truth.get(path), among=ours)
        yield Row(case.id, reference, used.name, path, result, effect)


def _chosen(case: Case, path: str) -> bool:
    """Whether an output follows from a choice among masks by their scores.

    Within 8 bits another mask wins now and then, in upstream as in ours. In a model that tracks, what follows is
    another object's.
    """
    return case.block == "SAM2Model" or (case.block == "SAM2MaskDecoder" and path.startswith("one/"))


def bound_of(case: Case, used: Precision, path: str) -> float:
    """The largest R of one draw that holds."""
    gradient = path == "parameters" or path.startswith(OF_INPUTS)
    return max(case.bound, _LOW_GRADIENTS) if used.low and gradient else case.bound


def _half_a_unit(used: Precision) -> float:
    """Half a unit in the last place under autocast: an output may be float32, but it went through less."""
    return torch.finfo(used.autocast).eps / 2 if used.autocast else 0.0


def _with_error_map(row: Row, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Row:
    """The row with where its difference sits, if there is one."""
    if row.comparison.verdict is Verdict.EXACT or row.output not in ours or row.output not in theirs:
        return row
    where = grid(ours[row.output], theirs[row.output])
    return replace(row, comparison=replace(row.comparison, error_map=where))


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


def _excused(
    known: Known, path: str, found: Comparison, ours: Tensor, theirs: Tensor, truth: Tensor | None
) -> Comparison:
    """A difference that a cause explains as it is known, a larger one as diverged.

    Args:
        known: the cause.
        path: the output's name.
        found: the comparison, which failed.
        ours: our output.
        theirs: the reference's, in the same precision.
        truth: the reference's in float64, where that is another one.
    """
    most = known.most_of(path)
    if most is None or found.max_abs is None:  # of other shapes or dtypes nothing was measured
        return found
    if ours.is_floating_point():
        size = largest(theirs if truth is None else truth)
        seen = found.max_abs / size if size > 0 else float("inf")
        # The reference's own rounding, and twice as much for ours.
        slack = 0.0 if truth is None or not size else 3 * error(theirs, truth).worst / size
    else:
        seen, slack = float((ours != theirs).sum()), 0.0
    if seen <= most + slack:
        return replace(found, verdict=Verdict.KNOWN, cause=known.sentence)
    return replace(
        found, cause=f"larger than its cause explains: {seen:.2g}, {known.sentence}; {found.cause}"
    )
