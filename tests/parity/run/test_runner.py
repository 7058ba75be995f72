"""The runner's verdicts, with a second library in this process standing in for a reference."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_in import Client, Library
from torch import Tensor, nn

from parity.execution.case import Case, Known, NoCounterpart, Side, uniform
from parity.reports import summary
from parity.run.job import jobs
from parity.run.judging import Row
from parity.run.runner import run
from parity.run.truth_cache import TruthCache
from parity.verdict.compare import Verdict
from parity.verdict.precision import PRECISIONS
from parity.workers.registry import Reference
from parity.workers.reply import Reply


class Net(nn.Module):
    """A block small enough to see through: a linear layer and a factor."""

    def __init__(self, width: int = 3, factor: float = 1.0, fail: str = "") -> None:
        super().__init__()
        if fail == "missing":
            raise NoCounterpart("has no Net")
        self.linear = nn.Linear(width, width)
        self.factor = factor
        self.fail = fail
        if fail == "extra":
            self.extra = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.fail == "raise":
            raise RuntimeError("no such luck")
        return torch.tanh(self.linear(x)) * self.factor


class FakeClient(Client):
    """A reference whose Net is made with these arguments."""

    def __init__(self, **upstream: Any) -> None:
        super().__init__(Library(Net, **upstream))


def case(**changes: Any) -> Case:
    return Case(**{"block": "Net", "name": "n", "why": "w", "inputs": {"x": uniform(4, 3)}, **changes})


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.run.runner.own_library", lambda: Library(Net, "ours"))


def rows_of(subject: Case, client: FakeClient, **how: Any) -> list[Row]:
    return list(run(list(jobs([subject])), [client], **how))


def verdicts(rows: list[Row]) -> dict[str, Verdict]:
    return {row.dtype: row.comparison.verdict for row in rows}


def test_the_same_code_is_exact_in_both_precisions() -> None:
    rows = rows_of(case(), FakeClient())
    assert verdicts(rows) == {"float32": Verdict.EXACT, "float64": Verdict.EXACT}
    assert summary.status(rows) == 0


def test_another_factor_diverges_in_both_precisions() -> None:
    rows = rows_of(case(), FakeClient(factor=1 + 1e-5))
    assert verdicts(rows) == {"float32": Verdict.DIVERGED, "float64": Verdict.DIVERGED}
    assert summary.status(rows) == 1


def test_a_block_that_the_reference_lacks_is_never_passed() -> None:
    rows = rows_of(case(), FakeClient(fail="missing"))
    assert [row.comparison.verdict for row in rows] == [Verdict.NO_COUNTERPART]
    assert summary.status(rows) == 3


def test_a_reference_that_raises_cannot_be_compared() -> None:
    rows = rows_of(case(), FakeClient(fail="raise"))
    assert [row.comparison.verdict for row in rows] == [Verdict.INCOMPARABLE]
    assert "no such luck" in rows[0].comparison.cause
    assert summary.status(rows) == 1


def test_ours_raising_is_a_divergence_and_no_end_of_the_run() -> None:
    subject = case(kwargs={"width": 3})
    broken = case(name="broken", inputs={"x": uniform(4, 5)})
    rows = list(run(list(jobs([broken, subject])), [FakeClient()]))
    assert {row.id for row in rows} == {"Net/broken", "Net/n"}
    assert rows[-1].comparison.verdict is Verdict.EXACT


def test_tensors_of_another_name_are_incomparable() -> None:
    rows = rows_of(case(), FakeClient(fail="extra"))
    state = [row for row in rows if row.output == "state_dict"]
    assert state
    assert "extra" in state[0].comparison.cause
    assert summary.status(rows) == 1


def test_outputs_of_another_name_are_incomparable() -> None:
    def call(side: Side) -> dict[str, Tensor]:
        y = side.net(side.inputs["x"])
        return {"a": y} if side.library.name == "ours" else {"b": y}

    rows = rows_of(case(call=call), FakeClient())
    assert {(row.output, row.comparison.verdict) for row in rows} == {
        ("a", Verdict.INCOMPARABLE),
        ("b", Verdict.INCOMPARABLE),
    }


def test_a_blind_case_is_not_a_pass() -> None:
    def check(truth: Mapping[str, Tensor]) -> None:
        assert (truth["out"] > 5).any(), "nothing is above 5"

    rows = rows_of(case(check=check), FakeClient())
    assert rows[0].comparison.verdict is Verdict.INCOMPARABLE
    assert "nothing is above 5" in rows[0].comparison.cause
    assert summary.status(rows) == 1


def test_low_precision_is_judged_by_upstream_in_the_same_precision() -> None:
    rows = rows_of(case(), FakeClient(factor=1.5), dtypes=[torch.bfloat16])
    assert verdicts(rows) == {"bfloat16": Verdict.DIVERGED}
    assert verdicts(rows_of(case(), FakeClient(), dtypes=[torch.bfloat16])) == {"bfloat16": Verdict.EXACT}


def test_autocast_is_judged_by_upstream_under_autocast() -> None:
    lanes = [PRECISIONS["autocast-bfloat16"]]
    assert verdicts(rows_of(case(), FakeClient(), dtypes=lanes)) == {"autocast-bfloat16": Verdict.EXACT}
    off = rows_of(case(), FakeClient(factor=1.05), dtypes=lanes)
    assert verdicts(off) == {"autocast-bfloat16": Verdict.DIVERGED}
    assert off[0].comparison.ratio is not None
    single = rows_of(case(), FakeClient(factor=1.05), dtypes=[torch.float32])
    assert single[0].comparison.ratio is not None
    assert (
        single[0].comparison.ratio > 1000 * off[0].comparison.ratio
    )  # the error is held against a coarser one


def test_upstream_that_does_not_run_in_a_low_precision_is_no_failure() -> None:
    def call(side: Side) -> Tensor:
        if side.library.name != "ours" and side.dtype is torch.bfloat16:
            raise RuntimeError("expected Float")
        return side.net(side.inputs["x"])

    rows = rows_of(case(call=call), FakeClient(), dtypes=[torch.float32, torch.bfloat16])
    assert verdicts(rows) == {"float32": Verdict.EXACT, "bfloat16": Verdict.NO_COUNTERPART}
    assert "expected Float" in rows[-1].comparison.cause
    ours_alone = rows_of(
        case(call=lambda side: 1 / 0 if side.library.name == "ours" else side.net(side.inputs["x"])),
        FakeClient(),
        dtypes=[torch.bfloat16],
    )
    assert verdicts(ours_alone) == {"bfloat16": Verdict.DIVERGED}


def test_outputs_are_compared_in_the_narrower_dtype_in_a_low_precision() -> None:
    def call(side: Side) -> Tensor:
        y = side.net(side.inputs["x"])
        return y if side.library.name == "ours" else y.float()

    rows = rows_of(case(call=call), FakeClient(), dtypes=[torch.bfloat16])
    assert verdicts(rows) == {"bfloat16": Verdict.EXACT}


def test_decisions_are_not_judged_in_a_low_precision() -> None:
    def call(side: Side) -> Tensor:
        return side.net(side.inputs["x"]) > 0.01

    for lane, verdict in (("bfloat16", Verdict.NO_COUNTERPART), ("float32", Verdict.DIVERGED)):
        rows = rows_of(case(call=call), FakeClient(factor=-1.0), dtypes=[PRECISIONS[lane]])
        assert verdicts(rows) == {lane: verdict}


def test_a_known_difference_may_drown_in_a_low_precision() -> None:
    rows = rows_of(
        case(known={"stand-in": Known(cause="another factor", most={"out": 1.0})}),
        FakeClient(),
        dtypes=[torch.bfloat16],
    )
    assert verdicts(rows) == {"bfloat16": Verdict.EXACT}


def test_another_upstream_with_the_same_truth_says_what_is_honest() -> None:
    def call(side: Side) -> Tensor:
        y = side.net(side.inputs["x"])
        plain = side.dtype is not torch.float32 or side.library.name == "stand-in"
        return y if plain else y + 4e-7

    first, second = FakeClient(), FakeClient()
    second.reference, second.library = Reference("second", "", ()), Library(Net, "second")
    subject = case(call=call)
    assert rows_of(subject, first)[0].comparison.verdict is Verdict.DIVERGED
    rows = list(run(list(jobs([subject])), [first, second]))
    single = {row.reference: row.comparison for row in rows if row.dtype == "float32"}
    assert single["second"].verdict is Verdict.EXACT
    assert not single["stand-in"].verdict.failed
    second.library = Library(Net, "second", factor=1 + 1e-6)  # another function: its error says nothing
    rows = list(run(list(jobs([subject])), [first, second]))
    assert rows[0].comparison.verdict is Verdict.DIVERGED


def test_large_models_are_held_by_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Library, "model", lambda self, variant, size, options: Net(**self.always))
    inside: list[int] = []
    most = {True: 0, False: 0}

    class Watched(FakeClient):
        def execute(self, case: Case, inputs: Mapping[str, Tensor], **how: Any) -> Reply:
            inside.append(1)
            most[case.quick] = max(most[case.quick], len(inside))
            time.sleep(0.02)
            inside.pop()
            return super().execute(case, inputs, **how)

    clients: list[Any] = [Watched(), Watched(), Watched()]
    for quick in (False, True):
        subjects = [case(name=str(index), variant="huge", quick=quick) for index in range(3)]
        rows = list(run(list(jobs(subjects)), clients, dtypes=[torch.float32]))
        assert {row.comparison.verdict for row in rows} == {Verdict.EXACT}
    assert most[False] == 1
    assert most[True] > 1


def test_truths_are_kept_between_runs(tmp_path: Path) -> None:
    first, second = FakeClient(), FakeClient()
    rows_of(case(), first, truths=TruthCache(tmp_path))
    rows = rows_of(case(), second, truths=TruthCache(tmp_path))
    assert (first.asked, second.asked) == (2, 1)
    assert verdicts(rows) == {"float32": Verdict.EXACT, "float64": Verdict.EXACT}


def test_a_kept_truth_of_other_inputs_is_not_taken(tmp_path: Path) -> None:
    rows_of(case(), FakeClient(), truths=TruthCache(tmp_path))
    other = FakeClient()
    rows_of(case(inputs={"x": uniform(4, 3, low=0.0)}), other, truths=TruthCache(tmp_path))
    assert other.asked == 2


def test_nothing_run_is_not_success() -> None:
    assert summary.status([]) == 3


def test_the_json_report_has_the_documented_fields(tmp_path: Path) -> None:
    rows = rows_of(case(), FakeClient(factor=1.1))
    summary.write_json(rows, tmp_path / "out.json", {"stand-in": {"stand-in": "1"}})
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["schema"] == 1
    assert document["environment"]["references"] == {"stand-in": {"stand-in": "1"}}
    assert [list(entry)[:9] for entry in document["cases"]] == 2 * [
        ["id", "reference", "dtype", "output", "verdict", "ratio", "max_abs", "index", "cause"]
    ]
    assert document["cases"][0]["metrics"]["relative_rms"] > 0.0
    assert document["cases"][0]["verdict"] == "DIVERGED"
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


def test_the_table_is_worst_first() -> None:
    same, other = case(), case(name="other")
    rows = rows_of(same, FakeClient()) + rows_of(other, FakeClient(factor=1.1))
    table = summary.summarize(rows)
    assert [(line.verdict, line.id) for line in table] == [
        (Verdict.DIVERGED, "Net/other"),
        (Verdict.EXACT, "Net/n"),
    ]
