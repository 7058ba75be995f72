"""How contestants take turns: with processes that answer by rote, and once with real ones."""

import sys
from pathlib import Path

import pytest
import torch

from parity.bench import measure
from parity.bench.contestants import LOW, OURS, Contestant, python_of
from parity.bench.measure import Settings, best, error
from parity.bench.report import Entry, Figure
from parity.bench.rows import find
from parity.errors import WorkerError

MINE, MINE_LOW = Contestant(OURS, OURS), Contestant(OURS, OURS, precision=LOW)
META, OPENVINO = Contestant("meta", "meta"), Contestant("openvino", "meta", "openvino")
OPENVINO_LOW = Contestant("openvino", "meta", "openvino", LOW)
TRUTH = {"0": torch.tensor([1.0, 2.0], dtype=torch.float64)}


class Rote:
    """Processes that answer what they were taught; `log` is who was asked, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.seconds: dict[str, list[float]] = {}
        self.results: dict[str, torch.Tensor] = {}
        self.dies: set[str] = set()
        self.open: set[str] = set()
        self.most = 0
        rote = self

        class Process:
            def __init__(self, name, python, entry, arguments, **more):
                self.name, self.calls = name, 0
                rote.open.add(name)
                rote.most = max(rote.most, len(rote.open))

            def __enter__(self):
                return self

            def __exit__(self, *exc):
                rote.open.discard(self.name)

            def ask(self, header, tensors=None, *, about):
                if self.name == "yardstick":
                    rates = {"float32": {"MKL": 8.0, "oneDNN": 10.0}, "bfloat16": {"oneDNN": 20.0}}
                    return {"status": "ok", "rates": rates, "operations": 20}, {}
                rote.log.append(self.name)
                if header.get("set up"):
                    if self.name in rote.dies:
                        return {"status": "raised", "message": "meta has no such thing"}, {}
                    figures = {"status": "ok", "seconds": 0.5, "highest": 7e8}
                    return figures, {"0": rote.results.get(self.name, TRUTH["0"])}
                self.calls += 1
                times = rote.seconds.get(self.name, [1.0])
                seconds = times[(self.calls - 1) % len(times)]
                if seconds < 0:
                    raise WorkerError("it was ended by the system")
                found = {"seconds": 2 * seconds, "processor": seconds, "peak": 1e6, "highest": 8e8}
                return {"status": "ok", **found}, {}

        def ask(name, python, module, request, *, packages=None, timeout=0.0):
            rote.log.append(f"{name}: {request['task']}")
            if request["task"] == "truth":
                return {}, TRUTH
            return {"file": "model", "seconds": 3.0}, {}

        monkeypatch.setattr(measure, "Process", Process)
        monkeypatch.setattr(measure, "ask", ask)
        monkeypatch.setattr(measure, "python_of", lambda *_: Path(sys.executable))

    def run(self, entrants, name="sam2-decoder-1", **settings) -> dict[Contestant, Entry]:
        rates: list = []
        chosen = Settings(size=128, **{"rounds": 3, **settings})
        found = list(measure.run([find(name)], entrants, chosen, rates))
        self.products = best(rates)
        return {entry.contestant: entry for entries in found for entry in entries}


@pytest.fixture
def rote(monkeypatch):
    return Rote(monkeypatch)


def test_sides_take_turns_and_ratios_are_those_of_rounds(rote):
    """The median of the rounds' ratios, not the ratio of medians: each round's pair ran under the same load."""
    rote.seconds = {"samblocks": [1.0, 10.0, 4.0], "meta": [2.0, 30.0, 4.0]}
    found = rote.run([MINE, META])
    assert rote.log == ["samblocks", "meta"] * 4 + ["meta: truth"]
    assert found[META].ratio == Figure(2.0, 1.0, 3.0)
    assert found[META].processor == Figure(4.0, 2.0, 30.0)
    assert found[META].wall == Figure(8.0, 4.0, 60.0)
    assert found[MINE].ratio == Figure(1.0, 1.0, 1.0)
    assert found[META].process == 8e8
    assert found[META].error == 0.0
    assert found[MINE].rate == 20 / 4 / 10
    assert rote.products == {"float32": 10.0, "bfloat16": 20.0}


def test_low_precision_is_held_against_ours_in_the_same_and_converted_once(rote):
    rote.seconds = {"samblocks": [8.0], "samblocks bfloat16": [4.0], "meta openvino bfloat16": [2.0]}
    found = rote.run([MINE, MINE_LOW, OPENVINO, OPENVINO_LOW], judge=False)
    assert found[OPENVINO_LOW].ratio.median == 0.5
    assert found[OPENVINO_LOW].leads
    assert not found[MINE].leads
    assert [line for line in rote.log if ":" in line] == ["meta openvino: convert"]
    assert found[OPENVINO].convert == 3.0
    assert found[OPENVINO].error is None


def test_what_fails_is_not_run_and_the_others_go_on(rote):
    rote.dies = {"meta"}
    rote.seconds = {"meta openvino": [1.0, -1.0]}
    found = rote.run([MINE, META, OPENVINO])
    assert found[META].reason == "meta has no such thing"
    assert found[OPENVINO].reason == "it was ended by the system"
    assert found[OPENVINO].processor is None
    assert found[MINE].ran
    assert found[MINE].ratio is not None


def test_another_result_is_no_lead(rote):
    rote.results = {"meta": TRUTH["0"] * 1.01}
    rote.seconds = {"meta": [0.1]}
    found = rote.run([MINE, META])
    assert found[META].reason == "its result is another one: 1.0e-02 from float64"
    assert not found[META].ran
    assert error(TRUTH, {"0": torch.ones(3)}) == float("inf")
    assert error({}, TRUTH) is None


def test_heavy_rows_hold_two_in_memory(rote):
    found = rote.run([MINE, META, OPENVINO], "vit-h", judge=False)
    assert rote.most == 3  # ours, one peer, and the yardstick
    second = ["samblocks", "meta openvino: convert", "meta openvino", *["samblocks", "meta openvino"] * 3]
    assert rote.log == [*["samblocks", "meta"] * 4, *second]
    assert found[OPENVINO].ratio.median == 1.0


def test_what_is_missing_is_said_and_nothing_is_started(rote, monkeypatch):
    monkeypatch.setattr(measure, "_free", lambda: 1e9)
    found = rote.run([MINE, META])
    assert found[MINE].reason == "1.0 GB of memory are free, and 3 GB are asked for"
    monkeypatch.setattr(measure, "_free", lambda: 1e12)
    missing = "the peers' environment is missing: make peers"
    monkeypatch.setattr(measure, "python_of", lambda name, *_: missing if name == "peers" else Path("python"))
    assert rote.run([MINE, OPENVINO])[OPENVINO].reason == missing
    late = rote.run([MINE], budget=-1.0)
    assert late[MINE].reason == "not begun: -1 s were spent on the rows before"


def test_the_better_library_is_the_faster_by_its_median():
    rounds = [{"float32": {"MKL": rate, "oneDNN": 5.0}} for rate in (1.0, 4.0, 100.0)]
    assert best(rounds) == {"float32": 5.0}
    assert best([]) == {}


def test_real_processes_take_turns():
    """Ours alone, so that no upstream package is needed; the truth is ours, too."""
    settings = Settings(size=128, rounds=1, references=Path("/nowhere"), peers=Path("/nowhere"))
    rates: list = []
    [(ours, theirs)] = measure.run([find("sam2-decoder-1")], [MINE, OPENVINO], settings, rates)
    assert ours.ran
    assert 0 < ours.error < 1e-4
    assert ours.ratio == Figure(1.0, 1.0, 1.0)
    assert ours.rate > 0
    assert ours.process > ours.peak >= 0
    assert ours.set_up > 0
    assert best(rates)["float32"] > 0
    assert theirs.reason == "the peers' environment is missing: make peers"


@pytest.mark.live
def test_runtimes_run_metas_code_and_ours():
    if isinstance(missing := python_of("peers", None, None), str):
        pytest.skip(missing)
    entrants = [
        MINE,
        OPENVINO,
        Contestant("openvino", OURS, "openvino"),
        Contestant("onnxruntime", "meta", "onnxruntime"),
    ]
    [found] = measure.run([find("sam2-decoder-1")], entrants, Settings(size=128, rounds=1))
    assert [entry.reason for entry in found] == [""] * 4
    assert all(0 < entry.error < 1e-4 for entry in found)
