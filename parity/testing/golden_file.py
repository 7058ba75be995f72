"""Goldens of other projects: outputs of a reference in a file, with where they come from, to judge a candidate by.

Recorded on one machine and judged on another: beside the outputs and their truth stands the reference's error in each
of 16 further draws, as numbers. A first alarm is decided by these, with the candidate's own float64 as the truth, once
that was shown to be the golden's.
"""

import functools
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MethodType
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from parity.run.goldens import GoldenError
from parity.testing.call import Ask, run
from parity.testing.check import How, truth_by
from parity.testing.draws import Sides, another, drawn_inputs, filled, joined, numbers, pooled
from parity.testing.judge import Result, first_alarms, is_another, judge, result
from parity.testing.reach import Function
from parity.testing.repeat import FIRST, first_run, fresh
from parity.testing.rounding import explained, hashes, names_of, own, own_by_hash
from parity.testing.sight import unseen
from parity.testing.values import Inputs, digest
from parity.testing.wide import candidate_run
from parity.verdict.compare import Comparison, Verdict
from samblocks.files import write_atomically
from samblocks.numerics.draws import settle
from samblocks.numerics.matmul import matmul_error, matmul_error_ratio
from samblocks.numerics.rule import MANY
from samblocks.numerics.verdict import Error, above, error, ratio_of

_UPSTREAM, _TRUTH = "upstream/", "truth/"

_SLOW = 10.0
"""Seconds of the first runs of a reference after which its further draws are of one input each."""


@dataclass(frozen=True)
class Golden:
    """What a file holds.

    Attributes:
        upstream: the reference's outputs by path.
        truth: the same in float64.
        note: where they come from, and what was seen when they were recorded.
    """

    upstream: dict[str, Tensor]
    truth: dict[str, Tensor]
    note: Mapping[str, Any]

    @property
    def matmul(self) -> float:
        """How many times less exact matrix products are here than where the golden was recorded."""
        return matmul_error_ratio(float(self.note.get("matmul_error", 0.0)))

    def error(self, number: int, output: str) -> Error | None:
        """The reference's error in a further draw; None where there is none."""
        recorded = self.note.get("errors", {}).get(output)
        found = recorded[number - 1] if recorded else None
        return None if found is None else Error(*found)


def record(
    file: Path, candidate: Function, reference: Function, inputs: Inputs, how: How, test: str = ""
) -> None:
    """Write the reference's outputs and their float64 truth; whole or not at all.

    Args:
        file: where to.
        candidate: what will be judged by it.
        reference: what it is recorded from.
        inputs: of both; a function of the draw's number gives further ones.
        how: as in `parity.check`.
        test: the test that the golden belongs to.

    Raises:
        GoldenError: when the reference is the candidate's own code: such a golden would prove nothing.
        UsageError: when the reference is not the same in every run, or has no truth.
    """
    origin = package_of(reference)
    if _code(reference) == _code(candidate):
        raise GoldenError(
            f"{file.name}: the reference is the candidate itself ({origin}); a golden is recorded from the code "
            "that the candidate must equal"
        )
    sides = Sides(candidate, reference, inputs)
    first = replace(sides, inputs=drawn_inputs(inputs, 0))
    first = filled(first, 0) if how.fill else first
    candidate, reference, given = first.parts
    began = time.monotonic()
    theirs = first_run("reference", reference, given, how.ask)
    wide = truth_by(reference, given, how)
    slow = time.monotonic() - began > _SLOW
    judged = [value.shape for value in theirs.outcome.outputs.values() if value.is_floating_point()]
    count = 1 if slow else pooled(judged)
    alone = own(reference, candidate) if how.build is None and how.truth is None else {}
    note = {
        "recorded_from": f"{origin}.{getattr(sides.reference, '__qualname__', type(sides.reference).__qualname__)}",
        "version": _version(origin),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": torch.backends.cpu.get_cpu_capability(),
        "matmul_error": str(matmul_error()),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "test": test,
        "inputs": digest(given),
        "order": list(theirs.outcome.outputs),
        "pooled": str(count),
        "errors": _errors(sides, how, count),
        "rounding": explained([(reference, wide.outputs, alone)], given, how.ask),
        "reference_weights": hashes(reference),
        "candidate_weights": hashes(candidate),
        "unseen": unseen(reference, given, how.ask, theirs),
    }
    tensors = {_UPSTREAM + name: value.contiguous() for name, value in theirs.outcome.outputs.items()}
    tensors |= {_TRUTH + name: value.contiguous() for name, value in wide.outputs.items()}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in note.items()}
    with write_atomically(file, make_folder=True) as stream:
        stream.write(safetensors.torch.save(tensors, texts))


def read(file: Path) -> Golden:
    """Read a golden.

    Raises:
        GoldenError: when there is none, or it is damaged.
    """
    if not file.exists():
        raise GoldenError(f"{file} does not exist; record it once from the reference: pytest --parity-record")
    try:
        with safe_open(file, framework="pt") as stored:
            note = dict(stored.metadata())
            for key in ("order", "errors", "rounding", "reference_weights", "candidate_weights", "unseen"):
                if key in note:
                    note[key] = json.loads(note[key])
            upstream = {name: stored.get_tensor(_UPSTREAM + name) for name in note["order"]}
            wide = {name: stored.get_tensor(_TRUTH + name) for name in note["order"]}
            return Golden(upstream, wide, {"inputs": note["inputs"], **note})
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as damage:
        raise GoldenError(f"{file} is damaged ({damage}); record it anew: pytest --parity-record") from None


def judge_by(file: Path, candidate: Function, inputs: Inputs, how: How) -> Result:
    """Hold a candidate against a golden.

    Raises:
        GoldenError: when there is none, it is damaged, or it was recorded with other inputs.
        UsageError: when the candidate is not the same in every run.
    """
    golden = read(file)
    sides = Sides(candidate, candidate, inputs)
    first = replace(sides, inputs=drawn_inputs(inputs, 0))
    first = filled(first, 0) if how.fill else first
    used, _, given = first.parts
    if golden.note["inputs"] != digest(given):
        raise GoldenError(
            f"{file} is stale: it was recorded with other inputs ({about(golden)}); make inputs that are the same in "
            "every run, or record it anew: pytest --parity-record"
        )
    ours = first_run("candidate", used, given, how.ask)
    double = candidate_run(used, given, how.ask)
    judged = {
        "double": None if double.why_not else double.outputs,
        "bound": how.bound,
        "error_map": how.error_map,
        "matmul": golden.matmul,
    }
    changed = ours.outcome.changed
    found = judge(ours.outcome.outputs, golden.upstream, golden.truth, changed=changed, **judged)  # type: ignore[arg-type]
    notes = []
    if golden.matmul > 1.0:
        notes.append(
            f"matrix products are {golden.matmul:.2g} times less exact here than where the golden was recorded: so "
            "many times counts the reference's error"
        )
    if any(map(is_another, found.findings)):
        rounding, names = _rounding(golden, used, given, how.ask, double.outputs)
        again = judge(
            ours.outcome.outputs,
            golden.upstream,
            golden.truth,
            changed=changed,
            rounding=rounding,
            **judged,  # type: ignore[arg-type]
        )
        if sum(map(is_another, again.findings)) < sum(map(is_another, found.findings)):
            found = again
            names = names or "the reference's tables"
            notes.append(f"in float64 it differs, by no more than the rounding of {names} explains")
    if double.why_not:
        notes.append(f"the candidate was not compared in float64, where it raises {double.why_not}")
    # Our own float64 is the truth of further draws: it must have been shown to be that.
    alarms = first_alarms(found, how.bound, need_double=True)
    if alarms:
        settled = settle(
            alarms,
            lambda number: _draw(golden, sides, how, list(alarms), number),
            dict.fromkeys(alarms, how.bound),
            same=alarms,
        )
        findings = [replace(f, comparison=settled.get(f.output, f.comparison)) for f in found.findings]
        found = result(findings)
    if not found:
        notes += [f"the golden was {about(golden)}", _staleness(golden, used)]
    unseen_then = tuple(golden.note.get("unseen", ()))
    return replace(found, notes=tuple(notes), unseen=unseen_then, strict=how.strict_sight)


def about(golden: Golden) -> str:
    """When, from what, where and by which test a golden was recorded."""
    note = golden.note
    parts = [
        f"recorded from {note['recorded_from']} {note['version']}, torch {note['torch']}, on {note['platform']}"
    ]
    if "processor" in note:
        parts.append(f"({note['processor']})")
    if "recorded" in note:
        made = datetime.fromisoformat(note["recorded"])
        days = (datetime.now(UTC) - made).days
        parts.append(f"on {made.date()}, {days} day{'' if days == 1 else 's'} ago")
    if note.get("test"):
        parts.append(f"by {note['test']}")
    return " ".join(parts)


def _staleness(golden: Golden, candidate: Function) -> str:
    """Whether a golden that does not hold is stale, or the candidate has diverged from it."""
    since = []
    before = golden.note.get("candidate_weights")
    if before is not None and before != hashes(candidate):
        now = hashes(candidate)
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        since.append(f"the candidate's weights changed ({names_of(names)})")
    package = str(golden.note["recorded_from"]).split(".")[0]
    installed = _version(package)
    if installed not in ("unversioned", golden.note["version"]):
        since.append(f"{package} {installed} is installed now")
    if since:
        return (
            f"it may be stale: since then {', and '.join(since)}; if that was meant, pytest --parity-record"
        )
    if before is None:
        return (
            "it does not say which weights it was recorded with; pytest --parity-record makes one that does"
        )
    return (
        "it is not stale: inputs and weights are those it was recorded with, so the candidate's code diverged"
    )


def _errors(sides: Sides, how: How, count: int) -> dict[str, list[tuple[float, float] | None]]:
    """The reference's error by output in each further draw; None where one cannot be run."""
    found: dict[str, list[tuple[float, float] | None]] = {}
    for draw in range(1, MANY + 1):
        how.progress(f"recording draw {draw}")
        outputs, wide = [], []
        for number in numbers(draw, count):
            drawn = another(replace(sides, candidate=sides.reference), number, fill=how.fill)
            if drawn is None or not how.varies:
                return {}
            try:
                outputs.append(run(fresh(drawn.reference), drawn.inputs, how.ask, FIRST).outputs)
                wide.append(truth_by(drawn.reference, drawn.inputs, how).outputs)
            except Exception:  # values that the reference does not take
                break
        else:
            truth = joined(wide)
            for name, value in joined(outputs).items():
                known = name in truth and truth[name].shape == value.shape
                if known and (value.is_floating_point() or value.is_complex()):
                    theirs = error(value, truth[name])
                    every = found.setdefault(name, [None] * MANY)
                    every[draw - 1] = (_rounded(theirs.rms), _rounded(theirs.worst))
    return found


def _draw(golden: Golden, sides: Sides, how: How, outputs: list[str], draw: int) -> dict[str, Comparison]:
    """The candidate in a further draw, by its own float64 and the reference's recorded error."""
    errors = {name: golden.error(draw, name) for name in outputs}
    if all(one is None for one in errors.values()):
        return {}
    how.progress(f"draw {draw}")
    every, truths = [], []
    for number in numbers(draw, int(golden.note.get("pooled", 1))):
        drawn = another(sides, number, fill=how.fill)
        if drawn is None:
            return {}
        try:
            every.append(run(fresh(drawn.candidate), drawn.inputs, how.ask, FIRST).outputs)
        except Exception as failure:  # the reference took these values
            cause = f"the candidate raised {type(failure).__name__}: {failure}"
            return dict.fromkeys(outputs, Comparison(Verdict.DIVERGED, cause=cause))
        truths.append(candidate_run(drawn.candidate, drawn.inputs, how.ask).outputs)
    narrow, wide = joined(every), joined(truths)
    return {
        name: _compared(narrow[name], wide[name], theirs, how.bound, golden.matmul)
        for name, theirs in errors.items()
        if theirs is not None and name in wide and name in narrow and wide[name].shape == narrow[name].shape
    }


def _compared(ours: Tensor, truth: Tensor, theirs: Error, bound: float, matmul: float) -> Comparison:
    if bool(truth.isfinite().all()) and not bool(ours.isfinite().all()):
        return Comparison(Verdict.DIVERGED, cause="ours has values that are not finite")
    ratio, worst, _ = ratio_of(ours, truth, theirs, matmul=matmul)
    found = Comparison(Verdict.WITHIN, ratio, error(ours, truth).worst, worst=worst)
    if (found.excess or 0.0) <= bound:
        return found
    return replace(found, verdict=Verdict.DIVERGED, cause=above(found, bound))


def _rounding(
    golden: Golden, candidate: Function, inputs: Inputs, ask: Ask, double: Mapping[str, Tensor]
) -> tuple[dict[str, float], str]:
    """What the rounding of tensors explains that the candidate, or the reference, held alone."""
    allowed = dict(golden.note.get("rounding", {}))
    if "reference_weights" not in golden.note:
        return allowed, ""
    alone = own_by_hash(candidate, set(golden.note["reference_weights"].values()))
    for name, value in explained([(candidate, double, alone)], inputs, ask).items():
        allowed[name] = max(allowed.get(name, 0.0), value)
    return allowed, names_of(alone)


def package_of(function: Function) -> str:
    """The top-level package that a callable, or a module's class, is defined in."""
    owner = type(function) if isinstance(function, nn.Module) else function
    return str(getattr(owner, "__module__", type(function).__module__)).split(".")[0]


def _code(function: Function) -> Any:
    """What makes two callables the same code."""
    if isinstance(function, functools.partial):
        return _code(function.func)
    if isinstance(function, MethodType):
        return type(function.__self__), function.__func__
    return type(function) if isinstance(function, nn.Module) else function


def _version(package: str) -> str:
    names = metadata.packages_distributions().get(package)
    return metadata.version(names[0]) if names else "unversioned"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
