"""A known difference excuses what its cause explains: no larger difference, and no other one beside it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from stand_in import Client, Library
from torch import Tensor, nn

from parity.cases.imitations import arguments, during, instead
from parity.execution.case import Case, Known, Side, uniform
from parity.run.job import jobs
from parity.run.judging import Row
from parity.run.runner import run
from parity.verdict.compare import Verdict
from parity.verdict.precision import PRECISIONS

KNOWN, DIVERGED, INCOMPARABLE = Verdict.KNOWN, Verdict.DIVERGED, Verdict.INCOMPARABLE


class Net(nn.Module):
    """A layer, a factor, and a part that can be shifted; a tensor more where it is asked for."""

    def __init__(self, factor: float = 1.0, shift: float = 0.0, count: int = 0, extra: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.factor, self.shift, self.count = factor, shift, count
        if extra:
            self.extra = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.tanh(self.linear(x))
        kinds = torch.zeros(9, dtype=torch.int64)
        kinds[: self.count] = 1
        return {"scaled": self.factor * y, "plain": y.cos() + self.shift, "kinds": kinds}


def worker(written: Case, name: str = "other", **always: Any) -> Client:
    """One that knows a case as it is written down, and differs by its arguments."""
    return Client(Library(Net, name, **always), written)


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.run.runner.own_library", lambda: Library(Net, "ours"))


def case(known: Known | None = None, **changes: Any) -> Case:
    about = {"known": {"other": known}} if known is not None else {}
    return Case(
        **{"block": "Net", "name": "n", "why": "w", "inputs": {"x": uniform(4, 3)}, **about, **changes}
    )


def rows_of(subject: Case, *, how: Mapping[str, Any] | None = None, **always: Any) -> list[Row]:
    """The rows of a case against a library that differs by its arguments."""
    return list(run(list(jobs([subject])), [worker(subject, **always)], **(how or {})))


def verdicts(rows: list[Row], dtype: str = "float64") -> dict[str, Verdict]:
    return {row.output: row.comparison.verdict for row in rows if row.dtype in (dtype, "-")}


DOUBLED = Known(cause="it gives twice as much", imitation=arguments(factor=2.0), shown="ours doubled")
AT_MOST = Known(cause="it gives some more", most={"scaled": 0.2, "kinds": 2})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_differs_by_its_cause_alone_is_known(dtype: str) -> None:
    rows = rows_of(case(DOUBLED), factor=2.0)
    assert verdicts(rows, dtype) == {"scaled": KNOWN, "plain": Verdict.EXACT, "kinds": Verdict.EXACT}
    [row] = [row for row in rows if (row.dtype, row.output) == (dtype, "scaled")]
    assert row.comparison.cause == "it gives twice as much (imitated: ours doubled)"
    assert row.comparison.ratio is not None
    assert row.comparison.ratio >= 0.5  # how far ours is as it stands
    assert row.comparison.max_abs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_differs_by_more_than_its_cause_has_diverged(dtype: str) -> None:
    rows = rows_of(case(DOUBLED), factor=2.0 + 1e-4)
    assert verdicts(rows, dtype)["scaled"] is DIVERGED
    [row] = [row for row in rows if (row.dtype, row.output) == (dtype, "scaled")]
    assert row.comparison.cause.startswith("not by its known cause alone (it gives twice as much")
    assert row.comparison.max_abs
    assert row.comparison.max_abs < 1e-3  # what is left of it


def test_another_output_than_the_cause_changes_has_diverged() -> None:
    assert verdicts(rows_of(case(DOUBLED), factor=2.0, shift=1e-3))["plain"] is DIVERGED
    assert verdicts(rows_of(case(AT_MOST), factor=1.1, shift=1e-3)) == {
        "scaled": KNOWN,
        "plain": DIVERGED,
        "kinds": Verdict.EXACT,
    }


@pytest.mark.parametrize("known", [DOUBLED, AT_MOST])
def test_a_difference_that_is_gone_is_a_complaint(known: Known) -> None:
    last = rows_of(case(known))[-1]
    assert (last.output, last.comparison.verdict) == ("-", DIVERGED)
    assert last.comparison.cause == f"known to differ, but does not any more: {known.cause}"


def test_a_difference_may_be_as_large_as_is_known_and_no_larger() -> None:
    assert verdicts(rows_of(case(AT_MOST), factor=1.2))["scaled"] is KNOWN  # a sixth of what it gives
    rows = rows_of(case(AT_MOST), factor=1.3)
    assert verdicts(rows, "float32")["scaled"] is verdicts(rows)["scaled"] is DIVERGED
    [row] = [row for row in rows if (row.dtype, row.output) == ("float64", "scaled")]
    assert row.comparison.cause.startswith(
        "larger than its cause explains: 0.23, it gives some more (bounded: 0.2 in"
    )


def test_whole_numbers_are_counted() -> None:
    assert verdicts(rows_of(case(AT_MOST), count=2))["kinds"] is KNOWN
    assert verdicts(rows_of(case(AT_MOST), count=3))["kinds"] is DIVERGED


def test_a_bound_excuses_no_other_shape_dtype_tensor_or_nan() -> None:
    def told(change: Callable[[Tensor], Tensor]) -> Callable[[Side], Any]:
        return lambda side: {
            name: change(value) if side.library.name == "other" and name == "scaled" else value
            for name, value in side.net(side.inputs["x"]).items()
        }

    wide = replace(AT_MOST, most={"*": 1e9})
    for change in (lambda x: x[:1], lambda x: x.half(), lambda x: x.log()):
        assert verdicts(rows_of(case(wide, call=told(change))), "float32")["scaled"].failed
    assert verdicts(rows_of(case(wide), extra=True, factor=2.0), "float32")["state_dict"] is INCOMPARABLE


def test_other_tensors_are_excused_where_ours_has_them_too() -> None:
    more = replace(DOUBLED, imitation=arguments(extra=True))
    assert verdicts(rows_of(case(more), extra=True), "float32")["state_dict"] is KNOWN
    assert verdicts(rows_of(case(DOUBLED), extra=True), "float32")["state_dict"] is INCOMPARABLE


def test_what_an_imitation_leaves_may_be_bounded() -> None:
    roughly = replace(DOUBLED, most={"scaled": 0.01})
    rows = rows_of(case(roughly), factor=2.01)
    assert verdicts(rows)["scaled"] is KNOWN
    assert rows[0].comparison.cause.endswith("(imitated: ours doubled; bounded: 0.01 in scaled)")
    assert verdicts(rows_of(case(roughly), factor=2.1))["scaled"] is DIVERGED


def test_an_imitation_that_raises_excuses_nothing() -> None:
    rows = rows_of(case(replace(DOUBLED, imitation=instead(lambda side: side.net.nothing))), factor=2.0)
    assert verdicts(rows)["scaled"] is DIVERGED
    assert "has no attribute 'nothing'" in rows[0].comparison.cause


def test_an_imitation_that_changes_a_module_runs_around_the_call() -> None:
    def doubled(side: Side) -> Any:
        side.net.factor = 2.0
        return torch.no_grad()

    known = replace(DOUBLED, imitation=during(doubled))
    assert verdicts(rows_of(case(known), factor=2.0))["scaled"] is KNOWN


def test_an_alarm_about_an_imitation_is_decided_by_further_draws() -> None:
    subject = case(DOUBLED)
    first = subject.tensors()["x"]

    def call(side: Side, error: Callable[[Tensor], bool]) -> Any:
        found = side.net(side.inputs["x"])
        off = side.dtype is torch.float32 and error(side.inputs["x"])
        return {
            name: 2.0 * value + 4e-7 * off if name == "scaled" else value for name, value in found.items()
        }

    for always, verdict in ((False, KNOWN), (True, DIVERGED)):
        known = replace(
            DOUBLED,
            imitation=instead(lambda side: call(side, lambda x: always or torch.equal(x, first))),  # noqa: B023
        )
        rows = rows_of(case(known), factor=2.0)
        assert verdicts(rows, "float32")["scaled"] is verdict, always


def test_a_known_difference_is_judged_by_its_own_truth() -> None:
    """By another library's the difference would be the reference's error, and ours could be as large."""
    subject = case(DOUBLED)
    for factor, verdict in ((2.0, KNOWN), (2.02, DIVERGED)):
        clients = [worker(subject, factor=factor), worker(subject, "second")]
        [job] = jobs([subject])
        rows = list(run([replace(job, truth_of="second")], clients, dtypes=[torch.float32]))
        assert verdicts([row for row in rows if row.reference == "other"], "float32")["scaled"] is verdict


def test_in_a_low_precision_rounding_is_added_to_a_bound() -> None:
    how = {"dtypes": [PRECISIONS["bfloat16"]]}
    assert verdicts(rows_of(case(AT_MOST), how=how, factor=1.2), "bfloat16")["scaled"] is KNOWN
    assert verdicts(rows_of(case(AT_MOST), how=how, factor=1.5), "bfloat16")["scaled"] is DIVERGED
    assert verdicts(rows_of(case(DOUBLED), how=how, factor=2.0), "bfloat16")["scaled"] is KNOWN
    assert verdicts(rows_of(case(DOUBLED), how=how, factor=2.5), "bfloat16")["scaled"] is DIVERGED


def test_a_cause_without_imitation_or_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an imitation, or the most that it explains"):
        Known(cause="another factor")
    with pytest.raises(ValueError, match="an imitation, and only that, is `shown`"):
        Known(cause="another factor", imitation=arguments(factor=2.0))
