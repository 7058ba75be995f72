"""The benchmarks' arithmetic, tables and manners; the figures themselves are nobody's business here."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from parity.__main__ import main
from parity.bench import components, forward, load
from parity.bench.components import COMPONENTS, Component
from parity.bench.forward import Timing, summary
from parity.bench.load import Loading
from parity.commands import bench
from parity.errors import WorkerError
from parity.run import samblocks_library

FAST = Loading(2 * 10**9, 20.0, 2.0, 10.0, 2.0, 1.02, 0.01, 6.0, 1.01, 3.5, 0.5)


def test_a_goal_that_is_missed_is_named():
    assert FAST.missed == []
    slow = Loading(2 * 10**9, 20.0, 4.0, 5.0, 2.0, 1.2, 0.01, 6.0, 1.01, 1.5, 1.5)
    assert slow.missed == ["speed", "memory", "inspect"]
    greedy = Loading(2 * 10**9, 20.0, 2.0, 10.0, 2.0, 1.02, 0.01, 6.0, 1.3, 0.5, 0.5)
    assert greedy.missed == ["memory"]


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    """Not the ratio of medians: each round's pair ran under the same load."""
    pairs = [((2.0, 8e6), (1.0, 2e6)), ((30.0, 8e6), (10.0, 8e6)), ((4.0, 9e6), (4.0, 3e6))]
    assert summary("x", pairs) == Timing("x", 4.0, 4.0, 2.0, 1.0, 3.0, 3.0)


def test_tables():
    lines = list(bench.loading(FAST))
    assert "20.00 s | 2.00 s | 10.0 times faster | 8" in lines[2]
    assert all(line.count("|") == 6 for line in lines)
    lines = list(bench.passes([Timing("x", 4.0, 2.0, 2.0, 1.0, 3.0, 5.0)]))
    assert lines[-1] == "| x | 4.00 s | 2.00 s | 2.00 (1.00, 3.00) | 5.00 |"
    assert f"torch {torch.__version__}" in bench.header(1, 3)


def test_every_page_of_every_parameter_is_read():
    layer = nn.Linear(load.PAGE, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(3.0)[:, None].expand(3, load.PAGE))
        layer.bias.fill_(10.0)
    assert load.touch(layer.parameters()) == 0 + 1 + 2 + 10


def test_memory_of_a_call_is_that_beyond_what_was_there():
    # In a fresh process, as it is meant: in one that has run much, what is freed may be taken again.
    code = "import torch; from parity.bench.memory import measured; print(measured(lambda: torch.ones(16 * 2**20)))"
    found = ast.literal_eval(
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    assert 60 * 2**20 < found["peak"] < 200 * 2**20
    assert found["seconds"] > 0


def test_a_component_runs_the_same_every_time():
    [decoder] = (found for found in COMPONENTS if found.name.endswith("one click"))
    run = decoder.make(samblocks_library.library())
    with torch.no_grad():
        first, second = run(), run()
    assert torch.equal(first[0], second[0])
    assert first[0].shape == (1, 3, 256, 256)


def test_two_processes_take_turns(monkeypatch):
    """Ours on both sides, so that no upstream package is needed."""
    with forward.Side("samblocks", Path(sys.executable), "parity.run.samblocks_library", 1) as one:
        one.make([found.name for found in COMPONENTS].index("SAM prompts and decoder, one click"))
        seconds, peak = one.measure("one click")
        assert seconds > 0
        assert peak > 0
        with pytest.raises(WorkerError, match="the samblocks worker died on nonsense: IndexError"):
            one.ask({"make": 1000}, about="nonsense")


def test_components_have_names_of_their_own():
    assert len({found.name for found in COMPONENTS}) == len(COMPONENTS)
    assert all(isinstance(found, Component) for found in COMPONENTS)
    assert components.random("a", 2, 3).shape == (2, 3)


def test_usage(capsys, tmp_path):
    assert main(["bench", "--rounds", "0"]) == 2
    assert "--rounds" in capsys.readouterr().err
    assert main(["bench", "--references", str(tmp_path)]) == 3
    assert "make references" in capsys.readouterr().err
