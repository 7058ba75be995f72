"""The one sentence about a file that does not fit the model."""

from __future__ import annotations

from collections.abc import Sequence

from samblocks.checkpoints.advice import what_to_do
from samblocks.checkpoints.report import Gap, LoadReport
from samblocks.layouts import Detection
from samblocks.layouts.cousins import not_supported
from samblocks.layouts.tensors import shape_text

_NAMED = 20
"""Tensors listed per kind of problem; the report of `strict="explain"` has them all."""


def problems(report: LoadReport, found: Detection) -> str:
    """What is missing, unexpected and misshapen, what the file is nearest to, and what to do."""
    what = f"{report.component} of {report.variant}" if report.component else report.variant
    listed = [
        _listed("missing", [gap.name for gap in report.missing]),
        _listed("unexpected", [row.name for row in report.unexplained if not row.targets]),
        _listed("misshapen", [_misshapen(gap) for gap in report.misshapen]),
    ]
    sentence = f"{report.path} does not fit {what}: {'; '.join(filter(None, listed))}"
    advice = what_to_do(report, found)
    if words := not_supported(row.name for row in report.rows):
        advice = f"it is {words}"
    return f"{sentence}; {_nearest(report, found)}{advice and f'; {advice}'}."


def copies(found: Detection) -> str:
    """That a file holds several copies of a model, and how to say which one is meant."""
    names = [prefix.rstrip(".") or "no prefix" for prefix in sorted((found.prefix, *found.rivals))]
    return f"the tensors of a model stand under {' and under '.join(names)}: say which with envelope={names[0]!r}"


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {kind} ({', '.join(names[:_NAMED])}{more})" if names else ""


def _misshapen(gap: Gap) -> str:
    found = shape_text(gap.found or ())
    return f"{gap.name} is {found}, should be {shape_text(gap.shape)}" + (f": {gap.why}" if gap.why else "")


def _nearest(report: LoadReport, found: Detection) -> str:
    """Which variant the file is, or is nearest to."""
    names = " or ".join(found.candidates)
    kind = f"{found.layout} layout" + (f", {found.model_class}" if found.model_class else "")
    differences = len(found.missing) + len(found.unexpected) + len(found.misshapen)
    if not differences:
        if report.variant in found.candidates:
            return f"its tensors ({kind}) do fit the variant, with the sizes or parts that are named here"
        return f"its tensors are those of {names} ({kind}), every one of them"
    return f"the nearest is {names} ({kind}), from which {differences} of {len(report.rows)} tensors differ"
